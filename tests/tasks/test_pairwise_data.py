"""Prompts with a baseline's answer: AlpacaEval's rows, Arena-Hard's folder of both versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aha.errors import UserError
from aha.tasks.checking import check
from aha.tasks.table import make_task
from aha.types import Abstain, Score

ALPACA = [{"instruction": "Name a fruit.", "output": "Pear.", "generator": "gpt4_1106_preview", "dataset": "koala"}]


def lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_alpaca(tmp_path: Path) -> None:
    path = tmp_path / "alpaca_eval_gpt4_baseline.json"
    path.write_text(json.dumps(ALPACA), encoding="utf-8")
    report = check(str(path))
    assert (report["task"], report["checked"], report["without_gold"], report["faults"]) == ("alpaca-eval", 1, 1, [])
    task = make_task(f"alpaca-eval:{path}")
    problem = task.problem("test", 0)
    assert (problem.reference, problem.messages[0].content) == ("Pear.", "Name a fruit.")
    assert isinstance(task.grade(problem, "Apple."), Abstain) and task.grade(problem, None) == Score(0.0, "no answer")


V1 = (
    [{"question_id": "a", "category": "arena-hard-v0.1", "turns": [{"content": "How?"}]}],
    {"question_id": "a", "model_id": "m", "choices": [{"index": 0, "turns": [{"content": "So.", "token_len": 2}]}]},
)
V2 = (
    [{"uid": "a", "category": "hard_prompt", "prompt": "How?"}],
    {"uid": "a", "model": "m", "messages": [{"role": "user", "content": "How?"},
                                            {"role": "assistant", "content": {"answer": "So."}}]},
)  # fmt: skip


@pytest.mark.parametrize(("questions", "answer"), [V1, V2])
def test_arena_of_both_versions(tmp_path: Path, questions: list[Any], answer: dict[str, Any]) -> None:
    lines(tmp_path / "question.jsonl", questions)
    lines(tmp_path / "model_answer" / "m.jsonl", [answer])
    problem = make_task(f"arena-hard:{tmp_path}", options={"baseline": "m"}).problem("test", 0)
    assert (problem.messages[0].content, problem.reference) == ("How?", "So.")
    with pytest.raises(UserError, match=r"no file .*gpt-4-0314\.jsonl"):
        make_task(f"arena-hard:{tmp_path}")
    lines(tmp_path / "model_answer" / "m.jsonl", [{**answer, "question_id": "b", "uid": "b"}])
    with pytest.raises(UserError, match="row 1 has no answer of the baseline; its id is 'a'"):
        make_task(f"arena-hard:{tmp_path}", options={"baseline": "m"})
    lines(tmp_path / "model_answer" / "m.jsonl", [{"uid": "a", "messages": []}])
    with pytest.raises(UserError, match="row 1 is no model's answer"):
        make_task(f"arena-hard:{tmp_path}", options={"baseline": "m"})


def test_arena_in_one_file(tmp_path: Path) -> None:
    lines(tmp_path / "own.jsonl", [{"prompt": "How?", "output": "So."}])
    assert check(str(tmp_path / "own.jsonl"))["task"] == "arena-hard"
    assert make_task(f"arena-hard:{tmp_path / 'own.jsonl'}").problem("test", 0).reference == "So."
    lines(tmp_path / "two.jsonl", [{"turns": [{"content": "a"}, {"content": "b"}], "output": "So."}])
    with pytest.raises(UserError, match="has 2 turns"):
        make_task(f"arena-hard:{tmp_path / 'two.jsonl'}")
