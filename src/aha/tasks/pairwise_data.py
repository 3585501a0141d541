"""Prompts with another model's answer, for a judge who compares: AlpacaEval 2 and Arena-Hard.

    {"instruction": "...", "output": "...", "generator": "gpt4_1106_preview"}      AlpacaEval: its baseline's outputs
    {"question_id": "...", "turns": [{"content": "..."}]}                          Arena-Hard v0.1: question.jsonl
    {"uid": "...", "prompt": "...", "category": "hard_prompt"}                     Arena-Hard v2.0: question.jsonl

Dubois et al., arXiv 2404.04475; Li et al., arXiv 2406.11939. Arena-Hard's source is its folder, where the baseline's
answers stand in model_answer/BASELINE.jsonl; on a hub too. The reference of a problem is the baseline's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aha.tasks.datasets import DataTask, Kind, OnBad, Row, language_of, load, refuse
from aha.tasks.hub import FILE_ON_HUB
from aha.tasks.prompt_data import grade_prompt
from aha.tasks.rows import BadRow, Raw, RowError, local, read_file, text_under

Answers = Mapping[str, str]


def read_alpaca(raw: Raw) -> Row:
    """The baseline's answer stands beside the instruction."""
    instruction = text_under(raw.data, "instruction", "prompt").strip()
    group = str(raw.data.get("dataset") or "")
    return Row(instruction, text_under(raw.data, "output").strip(), language_of(instruction), _hidden(group))


def read_arena(raw: Raw, answers: Answers | None = None) -> Row:
    """The baseline's answer is looked up in `answers` by the question's id; where those are None, it is the row's."""
    question = _turn(raw.data).strip()
    key = _id(raw.data)
    reference = text_under(raw.data, "output") if answers is None else answers.get(key, "")
    if not reference.strip():
        raise RowError(f"has no answer of the baseline; its id is {key!r}")
    group = str(raw.data.get("category") or "")
    return Row(question, reference.strip(), language_of(question), _hidden(group))


def _hidden(group: str) -> dict[str, Any]:
    return {"whole_text": True, "group": group}


def _turn(data: Any) -> str:
    """The question: under "prompt", or the only one of its turns."""
    turns = data.get("turns") if isinstance(data, Mapping) else None
    if not isinstance(turns, list):
        return text_under(data, "prompt")
    if len(turns) != 1:
        raise RowError(f"has {len(turns)} turns; a judge compares answers to one")
    return text_under(turns[0], "content")


def _id(data: Mapping[str, Any]) -> str:
    return str(data.get("question_id") or data.get("uid") or "")


def _answer(raw: Raw) -> tuple[str, str]:
    """A question's id and a model's answer to it as Arena-Hard stores them, in either version. Raises BadRow."""
    try:
        if "choices" in raw.data:
            return _id(raw.data), str(raw.data["choices"][0]["turns"][0]["content"])
        content = raw.data["messages"][-1]["content"]
        return _id(raw.data), str(content["answer"] if isinstance(content, Mapping) else content)
    except (LookupError, TypeError) as error:
        raise BadRow(raw.file, raw.number, "is no model's answer; give the file as Arena-Hard has it") from error


def _kind(name: str, read: Callable[[Raw], Row], example: str) -> Kind:
    return Kind(
        name, example, read, grade_prompt, lambda problem: "", lambda problem, answer: None, lambda problem: None,
        test_only=True,
    )  # fmt: skip


ALPACA = _kind("alpaca-eval", read_alpaca, '{"instruction": "...", "output": "the baseline\'s answer"}')
load_alpaca = partial(load, ALPACA)


def load_arena(
    source: str, *, seed: int = 0, config: str = "", baseline: str = "gpt-4-0314", on_bad: OnBad = refuse
) -> DataTask:
    """The questions of a folder of Arena-Hard with the answers of `baseline`, or of a file whose rows have both."""
    folder = Path(source).expanduser()
    on_hub = source.startswith(FILE_ON_HUB) and not source.endswith(".jsonl")
    answers: Answers | None = None
    if folder.is_dir() or on_hub:
        place = source.rstrip("/")
        file = local(f"{place}/model_answer/{baseline}.jsonl")
        answers = dict(_answer(raw) for raw in read_file(file))
        source = f"{place}/question.jsonl"
    kind = _kind("arena-hard", partial(read_arena, answers=answers), '{"prompt": "...", "output": "its answer"}')
    return load(kind, source, seed=seed, config=config, on_bad=on_bad)
