"""Prompts with verifiable instructions: IFEval (Zhou et al., arXiv 2311.07911).

    {"key": 1001, "prompt": "... no commas ...", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}

There is no gold answer: the answer is a whole response, and 1 means that it follows every instruction.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aha.rewards.instructions import grade, unusable
from aha.tasks.datasets import Kind, Row, load
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Outcome, Problem, Score


def read_ifeval(raw: Raw) -> Row:
    """`hidden["instructions"]` is a list of `{"id", "kwargs"}`; arguments that are null do not count."""
    prompt = text_under(raw.data, "prompt")
    ids, arguments = raw.data.get("instruction_id_list"), raw.data.get("kwargs")
    if not isinstance(ids, list) or not isinstance(arguments, list) or not ids or len(ids) != len(arguments):
        raise RowError("has no instruction_id_list and kwargs of one length")
    instructions = [{"id": name, "kwargs": _given(kwargs)} for name, kwargs in zip(ids, arguments, strict=True)]
    reason = unusable(instructions)
    if reason is not None:
        raise RowError(f"has an instruction that cannot be checked ({reason})")
    return Row(prompt.strip(), "", hidden={"instructions": instructions, "whole_text": True})


def _given(kwargs: Any) -> dict[str, Any]:
    if not isinstance(kwargs, Mapping):
        raise RowError(f"has {kwargs!r} among its kwargs, which is no object")
    return {name: value for name, value in kwargs.items() if value is not None}


def grade_ifeval(problem: Problem, answer: str | None) -> Outcome:
    """1 where the response `answer` follows every instruction, strictly."""
    if answer is None:
        return Score(0.0, "no answer")
    return grade(answer, problem.hidden["instructions"], scoring="all")


IFEVAL = Kind(
    "ifeval",
    '{"prompt": "...", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}',
    read_ifeval, grade_ifeval, lambda problem: "", lambda problem, answer: None, lambda problem: None, test_only=True,
)  # fmt: skip
load_ifeval = partial(load, IFEVAL)
