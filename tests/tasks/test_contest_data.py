"""LiveCodeBench: programs and methods against published tests, which are packed; pickles that are not run."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from aha.rewards.sandbox import available
from aha.tasks.checking import check
from aha.tasks.contest_data import private_cases, same_lines
from aha.tasks.datasets import DataTask
from aha.tasks.rows import RowError
from aha.tasks.table import make_task
from aha.types import Failed, Outcome, Score

needs_sandbox = pytest.mark.skipif(available() is not None, reason=str(available()))

PRIVATE = [
    {"input": "1\n", "output": "1\n", "testtype": "stdin"},
    {"input": "4\n", "output": "10.0\n", "testtype": "stdin"},
]


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def row(**changes: Any) -> dict[str, Any]:
    return {
        "question_title": "Sums", "question_content": "Add up 1 to N.", "platform": "atcoder", "question_id": "abc1_a",
        "contest_date": "2024-10-05T00:00:00", "starter_code": "", "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "3\n", "output": "6\n", "testtype": "stdin"}]),
        "private_test_cases": packed(json.dumps(PRIVATE)), "metadata": "{}", **changes,
    }  # fmt: skip


METHOD = row(
    question_id="3333", contest_date="2025-01-11T00:00:00", difficulty="hard",
    starter_code="class Solution:\n    def pair(self, nums: List[int], k: int) -> List[float]:\n        ",
    public_test_cases=json.dumps([{"input": "[1, 2, 3]\n2", "output": "[2, 4.0]", "testtype": "functional"}]),
    private_test_cases=json.dumps([{"input": "[5, null]\n1", "output": "[1, 5]", "testtype": "functional"}]),
    metadata=json.dumps({"func_name": "pair"}),
)  # fmt: skip
GOOD_METHOD = (
    "```python\nclass Solution:\n    def pair(self, nums: List[int], k: int) -> List[float]:\n"
    "        return (k, nums[k - 1] * float(k))\n```"
)


def made(tmp_path: Path, rows: list[Any], **options: Any) -> DataTask:
    path = tmp_path / "test6.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    task = make_task(f"livecodebench:{path}", options=options)
    assert isinstance(task, DataTask)
    return task


def grade(task: DataTask, index: int, answer: str | None) -> Outcome:
    return task.grade(task.problem("test", index), answer)


def test_the_window_of_days_and_the_question(tmp_path: Path) -> None:
    rows = [
        row(contest_date=f"2024-{month:02d}-01T00:00:00", question_content=f"In {month}?") for month in range(6, 12)
    ]
    asked = made(tmp_path, rows, since="2024-08-01", until="2024-10-01")
    questions = [asked.problem("test", i).messages[0].content for i in range(asked.size("test") or 0)]
    assert [q.partition("?")[0] for q in questions] == ["In 8", "In 9"] and "stdin" in questions[0]
    assert made(tmp_path, rows).size("test") == 6
    method = made(tmp_path, [METHOD]).problem("test", 0)
    assert "def pair(self" in method.messages[0].content and method.hidden["group"] == "hard"
    assert check(str(tmp_path / "test6.jsonl"), 1)["task"] == "livecodebench"


@needs_sandbox
def test_programs(tmp_path: Path) -> None:
    task = made(tmp_path, [row()])
    for right in (
        "```python\nn = int(input())\nprint(n * (n + 1) // 2)\n```",
        "Prose.\n```python\nif __name__ == '__main__':\n    print(sum(range(int(input()) + 1)), end='')\n```",
        "```python\nfrom __future__ import annotations\nprint(reduce(add, range(1, int(stdin.read()) + 1)))\n```",
    ):
        assert grade(task, 0, right) == Score(1.0, "passed all of 3 tests"), right
    for wrong in ("print(6)", "```python\nprint(int(input()) * 2)\n```", "```python\nexit(3)\n```", "no code", ""):
        outcome = grade(task, 0, wrong)
        assert isinstance(outcome, Score) and outcome.value == 0, wrong
    assert grade(task, 0, None) == Score(0.0, "no answer")
    assert "test 2 of 3" in str(grade(task, 0, "```python\nprint(6)\n```"))


@needs_sandbox
def test_methods(tmp_path: Path) -> None:
    task = made(tmp_path, [METHOD])
    assert grade(task, 0, GOOD_METHOD) == Score(1.0, "passed all of 2 tests")  # a tuple, and 1 for 1.0, as published
    plain = "def pair(nums, k):\n    return [k, nums[k - 1] * k]"
    assert grade(task, 0, plain) == Score(1.0, "passed all of 2 tests")
    for wrong in ("def pair(nums, k):\n    return [k, 0]", "def other(): pass", "class Solution: pass", "x = ("):
        outcome = grade(task, 0, wrong)
        assert isinstance(outcome, Score) and outcome.value == 0, wrong


@needs_sandbox
def test_the_limit_is_each_tests_own(tmp_path: Path) -> None:
    tests = [{"input": str(i), "output": str(i), "testtype": "functional"} for i in range(3)]
    slow = row(public_test_cases=json.dumps(tests), private_test_cases="", metadata=json.dumps({"func_name": "f"}))
    answer = "calls = 0\ndef f(x):\n    global calls\n    calls += 1\n    return x if calls == 1 else -1"
    assert grade(made(tmp_path, [slow]), 0, answer) == Score(1.0, "passed all of 3 tests")


def test_private_tests_as_text_and_packed() -> None:
    cases = [{"input": c["input"], "output": c["output"]} for c in PRIVATE]
    assert list(private_cases(json.dumps(PRIVATE))) == list(private_cases(packed(json.dumps(PRIVATE)))) == cases
    long = [{"input": "x" * 70_000, "output": "é"}]  # other opcodes, and a frame of its own
    assert list(private_cases(packed(json.dumps(long)))) == long and private_cases("") == ()


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("value", [Payload(), ["[]", "[]"], {"a": "[]"}, 5, b"[]", "{}", "[3]", "no json"])
def test_other_pickles_are_refused_and_not_run(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RowError):
        private_cases(packed(value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["%%%", "aGVsbG8=", base64.b64encode(zlib.compress(b"")).decode(), packed("[]")[:20]])
def test_what_cannot_be_unpacked(text: str, tmp_path: Path) -> None:
    with pytest.raises(RowError):
        private_cases(text)
    outcome = grade(made(tmp_path, [row(private_test_cases=text)]), 0, "print(1)")
    assert isinstance(outcome, Failed) and "livecodebench-test-0" in outcome.reason


def test_a_pickle_in_parts_of_old_protocols() -> None:
    for protocol in range(1, 6):
        text = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(PRIVATE), protocol))).decode()
        assert len(private_cases(text)) == 2


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("1\n2\n", "1\n2", True), ("a  \nb", "  a\nb\n\n", True), ("0.5", "0.500", True), ("1e3", "1000", True),
        ("50000000000000001", "50000000000000000", False), ("a\nb", "a b", False), ("NaN", "nan", False),
        ("", "0", False),
    ],
)  # fmt: skip
def test_lines(expected: str, got: str, same: bool) -> None:
    assert same_lines(expected, got) is same
