"""Books of rollouts: every question that was asked for, who was given it, and that what was made of it was taken once.

    books = Books(log)                      # each call is checked, and told to `log` as one line
    books.asked("17", samples=8)
    attempt = books.given("17", "rollout-0", version=3)
    books.made("17", attempt, tokens=911)   # False where another attempt was faster: its rollouts are dropped
    books.taken("17", step=4)

    balance(read(folder / BOOKS))           # after the run: raises Unbalanced, or says how many of each

A question of training is named by its number, those of other calls by a name with a colon; its rollouts are named
QUESTION.SAMPLE. It is asked for, given to a worker (again, where one is lost or slow), made, and taken by one step. A
process that goes on from a checkpoint says so: what was taken after it is undone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

BOOKS = "rollout-books.jsonl"
FOR_READERS = ("opened", "joined", "left", "died")  # lines that say more and change nothing
Line = dict[str, Any]


class Unbalanced(ValueError):
    """A line that cannot follow the lines before it."""


@dataclass(slots=True)
class Entry:
    """A question that was asked for and not taken yet."""

    samples: int
    attempts: int = 0  # that were begun
    out: dict[int, tuple[str, int]] = field(default_factory=dict)  # those that may still answer: worker, version
    made: int = 0  # the attempt that has answered

    @property
    def version(self) -> int | None:
        """The oldest version that its rollouts may come from; None while nobody has it."""
        return min((version for _, version in self.out.values()), default=None)


class Books:
    """What is outstanding, and how often each thing has happened."""

    def __init__(self, log: Callable[[Line], None] = lambda _: None) -> None:
        self._log = log
        self.entries: dict[str, Entry] = {}
        self.counts = dict.fromkeys(("asked", "given", "again", "made", "late", "taken", "rollouts"), 0)

    def asked(self, question: str, samples: int) -> None:
        """A question is wanted."""
        _hold(question not in self.entries, f"question {question} is asked for twice")
        self.entries[question] = Entry(samples)
        self._note("asked", question=question, samples=samples)

    def given(self, question: str, worker: str, version: int) -> int:
        """A worker samples it under `version`, or a newer one; returns the number of the attempt."""
        entry = self._entry(question)
        _hold(not entry.made, f"question {question} is given to {worker} after it was made")
        entry.attempts += 1
        entry.out[entry.attempts] = worker, version
        self.counts["again"] += entry.attempts > 1
        self._note("given", question=question, worker=worker, version=version)
        return entry.attempts

    def lost(self, question: str, attempt: int) -> None:
        """The worker of an attempt is gone."""
        entry = self._entry(question)
        _hold(attempt in entry.out, f"attempt {attempt} at question {question} is lost, which nobody makes")
        del entry.out[attempt]
        self._note("lost", question=question, attempt=attempt)

    def made(self, question: str, attempt: int, tokens: int) -> bool:
        """An attempt has answered. False where its answer is not wanted any more."""
        entry = self.entries.get(question)
        if entry is None or entry.made or attempt not in entry.out:
            self._note("late", question=question, attempt=attempt)
            return False
        entry.made = attempt
        self._note("made", question=question, attempt=attempt, tokens=tokens)
        return True

    def late(self, question: str, attempt: int) -> None:
        """What an attempt has made is dropped."""
        wanted = self.entries.get(question)
        fit = wanted is not None and not wanted.made and attempt in wanted.out
        _hold(not fit, f"attempt {attempt} at question {question} is dropped, and was wanted")
        self._note("late", question=question, attempt=attempt)

    def taken(self, question: str, step: int) -> None:
        """Its rollouts belong to `step`."""
        entry = self._entry(question)
        _hold(bool(entry.made), f"question {question} is taken before it was made")
        del self.entries[question]
        self.counts["rollouts"] += entry.samples
        self._note("taken", question=question, step=step)

    def began(self, step: int, following: int, outstanding: Mapping[str, int]) -> None:
        """A process goes on after `step`: the next number is `following`, and those `outstanding`, with their samples,
        are asked for."""
        self.entries = {question: Entry(samples) for question, samples in outstanding.items()}
        self._log({"event": "began", "step": step, "following": following, "outstanding": dict(outstanding)})

    def _entry(self, question: str) -> Entry:
        _hold(question in self.entries, f"question {question} is not outstanding")
        return self.entries[question]

    def _note(self, event: str, **about: Any) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1
        self._log({"event": event, **about})


@dataclass(frozen=True, slots=True)
class Balance:
    """What books have come to. `taken` has the step of each question of training."""

    taken: Mapping[str, int]
    outstanding: tuple[str, ...]
    calls: int  # questions of other calls that were taken
    again: int  # attempts after a question's first
    late: int
    began: int
    workers: tuple[str, ...]  # that have joined

    @property
    def by_step(self) -> dict[int, list[str]]:
        """The questions that each step took."""
        found: dict[int, list[str]] = {}
        for question, step in self.taken.items():
            found.setdefault(step, []).append(question)
        return found


def balance(lines: Iterable[Mapping[str, Any]]) -> Balance:
    """The balance of a run's books. Raises Unbalanced at the first line that cannot be: a question that was given, made
    or taken and not asked for, taken twice, made twice, or that a process which went on has lost."""
    books, taken, wanted = Books(), dict[str, int](), set[str]()
    calls = began = 0
    workers: list[str] = []
    for line in lines:
        event, about = line["event"], {k: v for k, v in line.items() if k not in ("event", "time")}
        if event == "began":
            began += 1
            taken = {question: step for question, step in taken.items() if step <= line["step"]}
            wanted = _kept(wanted, taken, line)
        elif event in FOR_READERS:
            workers += [line["worker"]] if event == "joined" else []
            continue
        elif event == "asked":
            question = line["question"]
            _hold(question not in taken, f"question {question} is asked for after it was taken")
            wanted |= {question} if ":" not in question else set()
        elif event == "taken" and ":" in line["question"]:
            calls += 1
        elif event == "taken":
            _hold(line["question"] not in taken, f"question {line['question']} is taken twice")
            taken[line["question"]] = line["step"]
        verb = getattr(books, event, None) if event in _VERBS else None
        _hold(verb is not None, f"there is no event {event!r}")
        assert verb is not None
        _hold(verb(**about) is not False, f"{event} {about} is not wanted any more")
    outstanding = tuple(question for question in books.entries if ":" not in question)
    strange = wanted ^ {*taken, *outstanding}
    _hold(not strange, f"{len(strange)} questions, as {min(strange, default='')}, are neither taken nor outstanding")
    return Balance(taken, outstanding, calls, books.counts["again"], books.counts["late"], began, tuple(workers))


_VERBS = ("asked", "given", "lost", "made", "late", "taken", "began")


def _kept(wanted: set[str], taken: Mapping[str, int], line: Mapping[str, Any]) -> set[str]:
    """Questions asked for that a process which goes on knows of; those after its next one will be asked for again."""
    known = {question for question in wanted if int(question) < line["following"]}
    gone = known - set(taken) - set(line["outstanding"])
    _hold(not gone, f"question {min(gone, default='')} was asked for, and a process that goes on has lost it")
    _hold(not set(taken) & set(line["outstanding"]), "a question that was taken is outstanding")
    return known | set(line["outstanding"])


def read(path: Path) -> Iterator[Line]:
    """The lines of a file of books; one that was being written at the end is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def opened(path: Path) -> TextIO:
    """A file of books to go on with; a line that was broken off is taken away."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n") and data:
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8", buffering=1)


def _hold(well: bool, sentence: str) -> None:
    if not well:
        raise Unbalanced(sentence)
