"""Multiple-choice exams as they are published: lists, letters and cells; GPQA's order; rows that are refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from aha.errors import UserError
from aha.tasks.checking import check
from aha.tasks.datasets import DataTask
from aha.tasks.table import make_task
from aha.types import Score

GPQA = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Record ID")


def made(spec: str, **options: Any) -> DataTask:
    task = make_task(spec, options=options)
    assert isinstance(task, DataTask)
    return task


def cells(path: Path, rows: list[Any]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def value(task: DataTask, index: int, answer: str | None) -> float:
    outcome = task.grade(task.problem("test", index), answer)
    assert isinstance(outcome, Score)
    return outcome.value


def test_gpqa_has_an_order_of_its_own_for_each_question(tmp_path: Path) -> None:
    rows = [(f"Which of {i}?", f"right {i}", f"a {i}", f"b, {i}", f"c\n{i}", f"rec{i}") for i in range(40)]
    path = cells(tmp_path / "gpqa_diamond.csv", [GPQA, *rows])
    task, again = made(f"gpqa:{path}"), make_task(f"gpqa:{path}", seed=9)
    assert check(path)["faults"] == [] and check(path)["task"] == "gpqa" and task.size("test") == 40
    problems = [task.problem("test", i) for i in range(40)]
    assert problems == [again.problem("test", i) for i in range(40)]
    assert {p.reference for p in problems} == set("ABCD")
    for i, problem in enumerate(problems):
        assert problem.hidden["options"][problem.reference] == f"right {i}"
        assert f"\n{problem.reference}) right {i}" in problem.messages[0].content
    moved = cells(tmp_path / "moved.csv", [GPQA, *reversed(rows)])
    assert made(f"gpqa:{moved}").problem("test", 39).messages == problems[0].messages  # not of its place in the file


def test_mmlu_as_lists_and_as_cells_without_names(tmp_path: Path) -> None:
    row = {"question": "2+2?", "subject": "arithmetic", "choices": ["3", "4", "5", "6"], "answer": 1}
    listed = made(f"mmlu:{lines(tmp_path / 'a.jsonl', [row])}").problem("test", 0)
    (tmp_path / "test").mkdir()
    cells(
        tmp_path / "test" / "arithmetic_test.csv",
        [["2+2?", "3", "4", "5", "6", "B"], ["1+1?", "2", "3", "4", "5", "A"]],
    )
    task = made(f"mmlu:{tmp_path / 'test'}")
    problem = task.problem("test", 0)
    assert problem.messages == listed.messages and problem.reference == listed.reference == "B"
    assert problem.hidden["group"] == listed.hidden["group"] == "arithmetic" and task.size("test") == 2
    assert problem.messages[0].content == "2+2?\n\nA) 3\nB) 4\nC) 5\nD) 6"
    for answer, score in (("B", 1), ("(B)", 1), ("4", 1), ("C", 0), ("A or B", 0), (None, 0)):
        assert value(task, 0, answer) == score, answer
    assert task.vote_key(problem, "(B)") == task.vote_key(problem, "4") == "B"


def test_mmlu_pro_has_up_to_ten_options(tmp_path: Path) -> None:
    row = {
        "question": "Which?",
        "options": [f"o{i}" for i in range(10)],
        "answer": "J",
        "answer_index": 9,
        "category": "law",
    }
    path = lines(tmp_path / "pro.jsonl", [row])
    assert check(path)["task"] == "mmlu-pro" and check(path)["faults"] == []
    problem = made(f"mmlu-pro:{path}").problem("test", 0)
    assert (problem.reference, problem.hidden["group"]) == ("J", "law") and "J) o9" in problem.messages[0].content


def test_ceval_is_its_validation_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("id", "question", "A", "B", "C", "D", "answer")
    path = cells(tmp_path / "logic_val.csv", [names, (0, "哪一个？", "甲", "乙", "丙", "丁", "C")])
    assert check(path)["task"] == "ceval"
    problem = made(f"ceval:{path}").problem("test", 0)
    assert (problem.reference, problem.language, problem.hidden["group"]) == ("C", "zh", "logic")
    row = dict(zip(names, (0, "哪一个？", "甲", "乙", "丙", "丁", "C"), strict=True))
    asked: list[str] = []

    def splits(source: str, config: str) -> dict[str, Any]:
        asked.append(config)
        return {"test": [("logic", {**row, "answer": ""})], "val": [("logic", row)], "dev": [("logic", row)]}

    monkeypatch.setattr("aha.tasks.rows.hub_splits", splits)
    task = made("ceval:ceval/ceval-exam")
    assert (task.size("test"), task.problem("test", 0).hidden["group"], asked) == (1, "logic", ["*"])


@pytest.mark.parametrize(
    ("task", "row", "reason"),
    [
        ("mmlu", {"question": "Q?", "choices": ["a", "b"], "answer": 2}, "'2' as its answer, which is none of its 2"),
        ("mmlu", {"question": "Q?", "choices": ["a"], "answer": 0}, "has 1 options"),
        ("mmlu", {"question": "Q?", "answer": 0}, "'0' as its answer, which is none of its 0"),
        ("mmlu", ["Q?", "a", "A"], "fewer than four cells"),
        ("mmlu", 5, "is no JSON object"),
        ("ceval", {"question": "Q?", "A": "a", "B": "b", "answer": ""}, "such as C-Eval's val"),
        ("ceval", {"question": "Q?", "A": "a", "B": "b", "answer": "both"}, "'both' as its answer"),
        ("gpqa", {"Question": "Q?", "Correct Answer": "a"}, "no text under 'Incorrect Answer 1'"),
        ("aime", {"problem": "Q?", "answer": "1000"}, "'1000' as its answer"),
        ("aime", {"problem": "Q?", "answer": "-3"}, "no whole number from 0 to 999"),
        ("aime", "text", "is no JSON object"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, task: str, row: Any, reason: str) -> None:
    path = lines(tmp_path / "x.jsonl", [row])
    with pytest.raises(UserError) as error:
        make_task(f"{task}:{path}")
    assert f"{path} row 1 " in str(error.value) and reason in str(error.value)


def test_aime_under_any_of_its_names(tmp_path: Path) -> None:
    rows = [{"ID": "2024-I-1", "Problem": "Find it.", "Answer": 33}, {"problem": "And it?", "answer": "073"}]
    task = made(f"aime:{lines(tmp_path / 'aime.jsonl', rows)}")
    assert [task.problem("test", i).reference for i in (0, 1)] == ["33", "73"]
    assert value(task, 0, "033") == 1 and value(task, 1, "73") == 1 and value(task, 1, "74") == 0
    assert len({task.vote_key(task.problem("test", 0), answer) for answer in ("33", "033", "33.0")}) == 1
    assert check(f"aime:{tmp_path / 'aime.jsonl'}")["faults"] == []
