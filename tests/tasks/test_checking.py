"""`check`: faults by row with the reason, files recognised by what they hold, every row looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aha.errors import UserError
from aha.tasks.checking import check

BROKEN_TASK = '''
from aha.types import Abstain, Problem, Score


class Broken:
    """Grades its own gold as 0, a wrong answer as 1, and more by the problem's number."""

    name = "broken"

    def size(self, split):
        return 5 if split == "test" else 0

    def problem(self, split, index):
        return Problem(f"broken-{index}", self.name, (), "yes")

    def grade(self, problem, answer):
        number = int(problem.id[-1])
        if number == 1:
            raise RuntimeError("no")
        if number == 2:
            return Abstain("who knows")
        right = answer == problem.reference
        return Score(float(right if number > 2 else not right), "judged")

    def gold(self, problem):
        if problem.id == "broken-3":
            raise KeyError("lost")
        return problem.reference

    def wrong(self, problem):
        return "no"

    def vote_key(self, problem, answer):
        return None
'''


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def test_generated_tasks_are_sound() -> None:
    assert check("countdown", 10) == {
        "task": "countdown", "checked": 20, "faults": [], "without_gold": 0, "duplicates": 0,
    }  # fmt: skip
    assert check("arithmetic")["checked"] == check("arithmetic", 0)["checked"] == 400


def test_every_fault_of_a_task_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BROKEN_TASK, encoding="utf-8")
    report = check(f"{tmp_path}/mine.py:Broken")
    told = [(fault["file"], fault["reason"]) for fault in report["faults"]]
    assert report["checked"] == 5
    assert told == [
        ("broken-0", "gold answer 'yes' gives 0: judged"),
        ("broken-0", "wrong answer 'no' gives 1: judged"),
        ("broken-1", "gold answer: RuntimeError: no"),
        ("broken-1", "wrong answer: RuntimeError: no"),
        ("broken-2", "gold answer 'yes' gets no score: who knows"),
        ("broken-2", "wrong answer 'no' gets no score: who knows"),
        ("broken-3", "gold answer: KeyError: 'lost'"),
    ]


def test_all_rows_of_a_file_are_checked_and_bad_ones_listed_by_number(tmp_path: Path) -> None:
    rows: list[Any] = [{"question": f"Q{i}?", "answer": f"so #### {i}"} for i in range(500)]
    rows[3], rows[400], rows[499] = "{", {"question": "Q?"}, {"question": "Q?", "answer": "#### four"}
    path = write(tmp_path / "rows.jsonl", rows)
    for spec in (path, f"gsm8k:{path}"):
        report = check(spec)
        assert report["task"] == "gsm8k" and report["checked"] == 497
        assert [(fault["file"], fault["row"]) for fault in report["faults"]] == [(path, 4), (path, 401), (path, 500)]
        assert "no text under 'answer'" in report["faults"][1]["reason"]
    assert check(path, 5)["checked"] == 10


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [
        ("a.jsonl", '{"question": "Q?", "answer": "#### 1"}', "gsm8k"),
        ("a.jsonl", 'junk\n{"question": "Q?", "answer": "#### 1"}', "gsm8k"),
        ("mgsm_de.tsv", "Wie viele?\t18", "mgsm"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "几个？"}], "answer": "18"}', "mgsm"),
        ("a.json", '{"examples": [{"input": "not ( True ) is", "target": "False"}]}', "bbh"),
    ],
)
def test_a_file_is_known_by_its_rows(tmp_path: Path, name: str, content: str, task: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    report = check(str(tmp_path / name))
    assert (report["task"], report["checked"]) == (task, 1)
    assert check(str(tmp_path))["task"] == task


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("countdwn", "did you mean 'countdown'"),
        ("nothing.jsonl", "no file 'nothing.jsonl'"),
        ("./nothing", "no file './nothing'"),
        ("gsm8k:nothing.jsonl", "no file 'nothing.jsonl'"),
        ("{file}", "rows of no known kind; row 1 is not JSON .*; name the task before the path \\(gsm8k:"),
    ],
)
def test_what_cannot_be_checked_names_the_remedy(tmp_path: Path, spec: str, message: str) -> None:
    file = write(tmp_path / "x.jsonl", ["[", {"text": "x"}])
    with pytest.raises(UserError, match=message):
        check(spec.format(file=file))
