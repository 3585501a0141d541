"""Books of rollouts: what may follow what, and what a reader can prove after the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aha.distributed.rollout.books import Books, Line, Unbalanced, balance, opened, read


def ordinary(books: Books, question: str, step: int, worker: str = "rollout-0") -> None:
    """A question without trouble."""
    books.asked(question, 4)
    assert books.made(question, books.given(question, worker, step - 1), 40)
    books.taken(question, step)


def begun() -> tuple[Books, list[Line]]:
    lines: list[Line] = []
    books = Books(lines.append)
    books.began(0, 0, {})
    return books, lines


def test_a_run_with_every_kind_of_trouble_balances() -> None:
    books, lines = begun()
    lines.append({"event": "joined", "worker": "rollout-0"})
    ordinary(books, "0", 1)
    books.asked("1", 4)
    first = books.given("1", "rollout-0", 1)
    books.lost("1", first)
    assert books.entries["1"].version is None
    second = books.given("1", "rollout-1", 2)
    third = books.given("1", "rollout-2", 3)  # the second one is slow
    assert books.entries["1"].version == 2, "either may answer"
    assert books.made("1", third, 50) and not books.made("1", second, 50) and not books.made("1", first, 50)
    books.taken("1", 2)
    assert not books.made("1", second, 50), "it is long gone"
    ordinary(books, "call-0:0", 0)
    books.asked("2", 4)
    found = balance(lines)
    assert found.taken == {"0": 1, "1": 2} and found.outstanding == ("2",) and found.by_step == {1: ["0"], 2: ["1"]}
    assert (found.calls, found.again, found.late, found.began, found.workers) == (1, 2, 3, 1, ("rollout-0",))
    assert books.counts["rollouts"] == 12


def test_what_was_taken_after_a_checkpoint_is_undone_and_what_was_out_is_asked_for_again() -> None:
    books, lines = begun()
    ordinary(books, "0", 1)
    books.asked("3", 4)
    ordinary(books, "1", 2)
    ordinary(books, "2", 3)  # the checkpoint is of step 2: then 2 and 3 were out, and 4 was not asked for
    books.asked("4", 4)
    later = Books(lines.append)
    later.began(2, 4, {"2": 4, "3": 4})
    for question in ("2", "3"):
        assert later.made(question, later.given(question, "rollout-7", 2), 9)
        later.taken(question, 3)
    ordinary(later, "4", 4)
    found = balance(lines)
    assert found.taken == {"0": 1, "1": 2, "2": 3, "3": 3, "4": 4} and found.began == 2 and not found.outstanding
    forgot = [
        {**line, "outstanding": {"2": 4}} if line["event"] == "began" and line["step"] else line for line in lines
    ]
    with pytest.raises(Unbalanced, match="question 3 was asked for, and a process that goes on has lost it"):
        balance(forgot)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"event": "taken", "question": "0", "step": 2}, "question 0 is taken twice"),
        ({"event": "asked", "question": "0", "samples": 4}, "asked for after it was taken"),
        ({"event": "asked", "question": "1", "samples": 4}, "asked for twice"),
        ({"event": "taken", "question": "1", "step": 2}, "taken before it was made"),
        ({"event": "taken", "question": "9", "step": 2}, "question 9 is not outstanding"),
        ({"event": "given", "question": "9", "worker": "rollout-0", "version": 1}, "question 9 is not outstanding"),
        ({"event": "made", "question": "1", "attempt": 2, "tokens": 4}, "is not wanted any more"),
        ({"event": "lost", "question": "1", "attempt": 2}, "which nobody makes"),
        ({"event": "late", "question": "1", "attempt": 1}, "and was wanted"),
        ({"event": "eaten", "question": "1"}, "no event 'eaten'"),
        ({"event": "began", "step": 1, "following": 2, "outstanding": {}}, "question 1 was asked for"),
        ({"event": "began", "step": 1, "following": 2, "outstanding": {"0": 4, "1": 4}}, "taken is outstanding"),
    ],
)
def test_lines_that_cannot_be(line: dict[str, Any], sentence: str) -> None:
    books, lines = begun()
    ordinary(books, "0", 1)
    books.asked("1", 4)
    books.given("1", "rollout-0", 1)
    balance(lines)
    with pytest.raises(Unbalanced, match=sentence):
        balance([*lines, line])


def test_a_missing_line_is_found() -> None:
    books, lines = begun()
    ordinary(books, "0", 1)
    for place in range(1, len(lines) - 1):
        with pytest.raises(Unbalanced):
            balance(lines[:place] + lines[place + 1 :])


def test_a_line_that_was_broken_off_is_left_out_and_written_over(tmp_path: Path) -> None:
    file = tmp_path / "books.jsonl"
    with opened(file) as books:
        books.write('{"event": "began"}\n{"event": "ask')
    assert list(read(file)) == [{"event": "began"}]
    with opened(file) as books:
        books.write(json.dumps({"event": "asked"}) + "\n")
    assert [line["event"] for line in read(file)] == ["began", "asked"]
    file.write_text("{")
    with opened(file) as books:
        books.write("{}\n")
    assert list(read(file)) == [{}]
