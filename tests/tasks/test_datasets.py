"""GSM8K's format: rows that are read or refused in one sentence, splits that cannot overlap, exact grading."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.tasks.datasets import DataTask, Row
from aha.tasks.maths_data import GSM8K, load_gsm8k
from aha.tasks.rows import BadRow
from aha.types import Score


def row(question: str, answer: str = "2+2=4\n#### 4") -> dict[str, str]:
    return {"question": question, "answer": answer}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def task(tmp_path: Path) -> DataTask:
    return load_gsm8k(write(tmp_path / "all.jsonl", [row(f"Question {i}?", f"#### {i}") for i in range(80)]))


def value(task: DataTask, answer: str | None, index: int = 0) -> float:
    outcome = task.grade(task.problem("train", index), answer)
    assert isinstance(outcome, Score)
    return outcome.value


def test_one_file_is_split_by_its_questions(task: DataTask, tmp_path: Path) -> None:
    assert task.size("train") == 80 - (task.size("test") or 0) and 2 < (task.size("test") or 0) < 30
    assert not {r.key for r in task.train} & {r.key for r in task.test}
    backwards = load_gsm8k(write(tmp_path / "b.jsonl", [row(f"Question {i}?", f"#### {i}") for i in range(79, -1, -1)]))
    assert {r.key for r in backwards.test} == {r.key for r in task.test}


def test_duplicates_of_a_question_fall_in_one_split(tmp_path: Path) -> None:
    forms = ("How many eggs {}?", "how  MANY eggs {}? ", "Ｈow many\u00a0eggs {}?")
    task = load_gsm8k(write(tmp_path / "d.jsonl", [row(f.format(i)) for i in range(30) for f in forms]))
    assert len(task.train) % 3 == len(task.test) % 3 == 0 and task.test
    assert not {r.key for r in task.train} & {r.key for r in task.test}


def test_a_folder_keeps_its_own_splits_without_what_is_in_both(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [row("A?"), row("B?"), row("b? "), row("C?")])
    write(tmp_path / "test.jsonl", [row("B?"), row("D?")])
    task = load_gsm8k(str(tmp_path))
    assert [r.question for r in task.train] == ["A?", "C?"] and task.dropped == 2
    assert [task.problem("test", i).messages[0].content for i in range(3)] == ["B?", "D?", "B?"]


def test_each_epoch_holds_every_row_in_another_order(task: DataTask) -> None:
    size = task.size("train") or 0
    epochs = [[task.problem("train", e * size + i).id for i in range(size)] for e in range(3)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs) and len(set(epochs[0])) == size
    assert epochs[0] != epochs[1] != epochs[2]
    assert [task.problem("train", i).id for i in range(size)] == epochs[0]


def test_gold_scores_1_and_wrong_0(task: DataTask) -> None:
    for split in ("train", "test"):
        for i in range(task.size(split) or 0):
            problem = task.problem(split, i)
            right, wrong = (task.grade(problem, answer(problem)) for answer in (task.gold, task.wrong))
            assert isinstance(right, Score) and isinstance(wrong, Score) and (right.value, wrong.value) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("gold", "answer", "score"),
    [
        ("18", "18", 1), ("18", "18 dollars", 1), ("18", "$18.00", 1), ("1,800", "1800", 1), ("$1,800.", "1,800", 1),
        ("-3", "−3", 1), ("0.5", "1/2", 1), ("50", "50%", 1), ("18", "18 or 19", 0), ("18", "19", 0), ("18", None, 0),
        ("18", "", 0), ("18", "eighteen", 0), ("92", "9²", 0), ("18", "9" * 5000, 0),
    ],
)  # fmt: skip
def test_grading_is_numeric_and_exact(tmp_path: Path, gold: str, answer: str | None, score: int) -> None:
    write(tmp_path / "train.jsonl", [row("A?", f"so #### 5 no\n#### {gold}")])
    write(tmp_path / "test.jsonl", [row("B?")])
    assert value(load_gsm8k(str(tmp_path)), answer) == score


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=st.text())
def test_grading_never_crashes(task: DataTask, answer: str) -> None:
    assert value(task, answer) in (0.0, 1.0)


def test_equal_numbers_vote_together(task: DataTask) -> None:
    problem = task.problem("train", 0)
    assert len({task.vote_key(problem, a) for a in ("18", "$18.00", "18 dollars", "36/2")}) == 1
    assert task.vote_key(problem, "18 or 19") is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty; give it rows"),
        ([row("A?"), "{not json"], "row 2 is not JSON"),
        (["[" * 100_000], "row 1 is not JSON"),
        (["[1]"], "row 1 is no JSON object"),
        ([row("A?"), {"answer": "#### 1"}], "row 2 has no text under 'question'"),
        ([{"question": "A?"}], "row 1 has no text under 'answer'"),
        ([{"question": "A?", "answer": 5}], "row 1 has no text under 'answer'"),
        ([row("A?", "it is 4")], "row 1 has an answer that does not end in '#### NUMBER'"),
        ([row("A?", "#### four")], "row 1 has an answer that does not end in '#### NUMBER'"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_gsm8k(write(tmp_path / "bad.jsonl", rows))
    assert message in str(error.value) and "bad.jsonl" in str(error.value) and ";" in str(error.value)


def test_bad_rows_are_listed_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [row("A?"), "{not json", row("B?", "four"), "", row("C?"), {"question": "D?"}]
    bad: list[BadRow] = []
    task = load_gsm8k(write(tmp_path / "mixed.jsonl", rows), on_bad=bad.append)
    assert sorted(r.question for r in (*task.train, *task.test)) == ["A?", "C?"]
    assert [error.number for error in bad] == [2, 3, 6]
    assert all(str(error).startswith(f"{tmp_path / 'mixed.jsonl'} row {error.number} {error.reason}") for error in bad)


def test_rows_are_counted_as_an_editor_counts_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n\r\n" + json.dumps(row("A?")).encode() + b"\r\n\xff\n")
    bad: list[BadRow] = []
    task = load_gsm8k(str(tmp_path / "a.jsonl"), on_bad=bad.append)
    assert [(r.question, r.number) for r in (*task.train, *task.test)] == [("A?", 3)]
    assert [(error.number, error.reason) for error in bad] == [
        (4, "is not UTF-8 (invalid start byte at byte 0); save it as UTF-8 text")
    ]


def test_missing_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file '/no/such\.jsonl'; give"):
        load_gsm8k("/no/such.jsonl")
    write(tmp_path / "train.jsonl", [row("A?")])
    with pytest.raises(UserError, match=r"no file '.*test\.jsonl'; put"):
        load_gsm8k(str(tmp_path))
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="save it as UTF-8"):
        load_gsm8k(str(tmp_path / "latin.jsonl"))


def test_an_empty_split_is_refused_when_asked_for() -> None:
    task = DataTask(GSM8K, (), (Row("A?", "4"),), "here.jsonl")
    assert task.size("train") == 0 and task.problem("test", 0).reference == "4"
    with pytest.raises(UserError, match=r"here\.jsonl leaves no rows for the train split"):
        task.problem("train", 0)


def fake_hub(monkeypatch: pytest.MonkeyPatch, load: Callable[[str, str], Any]) -> None:
    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": [row("A?"), row("B?")], "test": [row("B?")]}
    fake_hub(monkeypatch, lambda name, config: splits if (name, config) == ("openai/gsm8k", "main") else {})
    task = load_gsm8k("openai/gsm8k")
    assert (len(task.train), len(task.test), task.dropped) == (1, 1, 1)
    splits.pop("test")
    splits["train"] = [row(f"Question {i}?") for i in range(80)]
    assert load_gsm8k("openai/gsm8k").test


def test_hub_errors_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, config: str) -> Any:
        raise FileNotFoundError("no such data set")

    fake_hub(monkeypatch, refuse)
    with pytest.raises(UserError, match="'nobody/nothing' cannot be loaded \\(no such data set\\); give"):
        load_gsm8k("nobody/nothing")
    fake_hub(monkeypatch, lambda name, config: {"train": [{"text": "x"}]})
    with pytest.raises(UserError, match=r"nobody/nothing\[train\] row 1 has no text under 'question'"):
        load_gsm8k("nobody/nothing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="needs the library 'datasets': pip install"):
        load_gsm8k("openai/gsm8k")
