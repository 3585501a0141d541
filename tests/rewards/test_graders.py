"""Rewards of a row: what each column must hold, and that a row is graded as a rollout is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aha.errors import UserError
from aha.rewards.graders import NEEDED, find_reward, grade_row
from aha.rewards.table import REWARDS
from aha.types import Abstain, Failed, Outcome, Score

NO_COMMA = [{"id": "punctuation:no_comma", "kwargs": {}}]
OPTIONS = ["12", "13", "14"]


def outcome(reward: str, completion: Any = "text", **columns: Any) -> Outcome:
    return grade_row(find_reward(reward), completion, columns)


def value(reward: str, completion: Any, **columns: Any) -> float:
    found = outcome(reward, completion, **columns)
    assert isinstance(found, Score), found
    return found.value


@pytest.mark.parametrize(
    ("reward", "row", "reason"),
    [
        ("math", {}, "the row has no 'answer'"),
        ("math", {"answer": ["3"]}, "a list under 'answer'; give str or int or float"),
        ("math", {"answer": True}, "a bool under 'answer'"),
        ("code", {}, "the row has no 'tests'"),
        ("code", {"tests": 5}, "a int under 'tests'"),
        ("code", {"tests": "{"}, "'tests' is no JSON"),
        ("code", {"tests": ["f(1)"]}, "no list of objects"),
        ("code", {"tests": []}, "the list of tests is empty"),
        ("code", {"tests": [{"call": "f(1)", "expected": 1}], "scoring": 3}, "a int under 'scoring'"),
        ("code", {"tests": [{"call": "f(1)", "expected": 1}], "code_language": "go"}, "'go' cannot be run"),
        ("choice", {"options": OPTIONS}, "the row has no 'answer'"),
        ("choice", {"answer": "Z", "options": OPTIONS}, "'Z' names none of its options"),
        ("choice", {"answer": "A", "options": ["12"]}, "give 2 to 26"),
        ("length", {}, "the row has no 'tokens'"),
        ("length", {"tokens": 5, "max_tokens": 4, "cache_tokens": 9}, "cache is 9 tokens"),
        ("language", {}, "the row has no 'language'"),
        ("language", {"language": "xx"}, "'xx' is not known"),
        ("instructions", {}, "the row has no 'instructions'"),
        ("instructions", {"instructions": "["}, "'instructions' is no JSON"),
        ("instructions", {"instructions": [{"id": "no:such"}]}, "no:such"),
        ("json-schema", {}, "the row has no 'schema'"),
        ("format", {"prefilled": 1}, "a int under 'prefilled'"),
    ],
)
def test_columns_that_cannot_be_used_are_failures(reward: str, row: dict[str, Any], reason: str) -> None:
    found = outcome(reward, **row)
    assert isinstance(found, Failed) and reason in found.reason


@pytest.mark.parametrize(
    ("reward", "column"), [("math", "answer"), ("code", "tests"), *NEEDED.items()], ids=lambda name: name
)
def test_null_is_no_opinion(reward: str, column: str) -> None:
    assert isinstance(outcome(reward, **{column: None}), Abstain)


def test_every_reward_of_the_table_is_known_but_that_of_tasks() -> None:
    assert all(find_reward(name) for name in REWARDS if name != "accuracy")
    with pytest.raises(UserError, match="unknown reward 'accuracy'"):
        find_reward("accuracy")


def test_math_reads_the_last_finished_answer() -> None:
    assert value("math", r"\boxed{3}, no: \boxed{\frac{1}{2}}", answer=0.5) == 1
    assert value("math", r"\boxed{3} and \boxed{4", answer=3) == 0
    assert value("math", "it is 3", answer=3) == 0


def test_format() -> None:
    assert value("format", "<think>a</think><answer>b</answer>") == 1
    assert value("format", "a</think><answer>b</answer>") == 0
    assert value("format", "a</think><answer>b</answer>", prefilled=True) == 1
    assert value("format", "<think>a</think><answer>b</answer>", stop_reason="length") == 0
    assert value("format-r1", "<think>a</think>b") == 1 and value("format-r1", "b") == 0


def test_language_is_of_the_thinking_or_of_a_text_without_tags() -> None:
    assert value("language", "<think>now we add them</think>然后相加", language="en") == 1
    assert value("language", "now we add them", language="en") == 1
    assert value("language", "now we add them", language="zh") == 0
    assert isinstance(outcome("language", "<think>1+1=2</think>so two", language="en"), Abstain)


def test_choice() -> None:
    for completion, expected in (
        (r"so \boxed{B}", 1), ("<answer>(B) 13</answer>", 1), ("The answer is B.", 1), ("<think>A?</think>13", 1),
        (r"so \boxed{A}", 0), (r"B, so \boxed{B", 0), ("A or B", 0), ("", 0),
    ):  # fmt: skip
        assert value("choice", completion, answer="B", options=OPTIONS) == expected, completion
    assert value("choice", "(C)", answer="14", options={"A": "12", "C": "14"}) == 1


def test_length() -> None:
    limits = {"max_tokens": 100, "cache_tokens": 50}
    assert [value("length", "", tokens=n, **limits) for n in (0, 50, 75, 100, 900)] == [0, 0, -0.5, -1, -1]
    assert value("length", "", completion_ids=[7] * 75, **limits) == -0.5
    assert value("length", "", completion_ids=[], **limits) == 0
    assert value("length", "", tokens=16_384) == 0 and value("length", "", tokens=20_480) == -1


def test_instructions_and_schema_may_be_json_text() -> None:
    for given in (NO_COMMA, json.dumps(NO_COMMA)):
        assert value("instructions", "<think>a, b</think>no comma", instructions=given) == 1
        assert value("instructions-all", "a, b", instructions=given) == 0
    pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install jsonschema")
    for schema in ({"type": "integer"}, '{"type": "integer"}'):
        assert value("json-schema", "<think>?</think>7", schema=schema) == 1
        assert value("json-schema", "seven", schema=schema) == 0


def test_tests_of_a_table_may_hold_nulls(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def grade_code(text: str, tests: Any, **settings: Any) -> Outcome:
        seen.append((tests, settings))
        return Score(1.0)

    monkeypatch.setattr("aha.rewards.code.grade_code", grade_code)
    tests = [
        {"call": "f(1)", "expected": None, "stdin": None, "stdout": None},
        {"call": None, "expected": None, "stdin": "1", "stdout": "2"},
    ]
    assert value("code", "pass", tests=json.dumps(tests)) == 1
    assert seen[0][0] == [{"call": "f(1)", "expected": None}, {"stdin": "1", "stdout": "2"}]
    assert seen[0][1] == {"scoring": "all", "language": "python", "unsafe": False}
    grade_row(find_reward("code", unsafe=True), "pass", {"tests": tests, "unsafe": False})
    grade_row(find_reward("code"), "pass", {"tests": tests, "unsafe": True})
    assert [settings["unsafe"] for _, settings in seen] == [False, True, False]  # no row may lift the sandbox
