"""Tasks over data sets: rows become problems, a grader a kind of data judges the answers.

    task = load(GSM8K, "gsm8k/")            # a folder with train.jsonl and test.jsonl: its own splits
    task = load(GSM8K, "mine.jsonl")        # one file: split by a hash of each question
    task = load(MATH500, "math500.jsonl")   # a published test set: all of it is test

The kinds stand in the files `*_data.py` beside this one. A question is never in both splits.
"""

from __future__ import annotations

import functools
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aha.errors import UserError
from aha.tasks.rows import BadRow, Raw, RowError, read_splits
from aha.tasks.splits import split_of
from aha.types import Message, Outcome, Problem, Split

_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One question as a policy sees it, and what a grader needs: `hidden` becomes the problem's.

    `file` and `number` say where it was read.
    """

    question: str
    reference: str
    language: str = "en"
    hidden: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    number: int = 0

    @property
    def key(self) -> str:
        """What the question asks, whatever its case, width of characters and white space."""
        return " ".join(unicodedata.normalize("NFKC", self.question).casefold().split())


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data: how a row is read, and how an answer to it is judged.

    `read` raises RowError for a row that is not in the form of `example`, and gives None for one that is none of the
    set's questions. `gold` gives None where a row has no gold answer. `test_only` marks published test sets, `split` is
    the one of theirs that is asked. `config` is the usual configuration on a hub.
    """

    name: str
    example: str
    read: Callable[[Raw], Row | None]
    grade: Callable[[Problem, str | None], Outcome]
    wrong: Callable[[Problem], str]
    vote_key: Callable[[Problem, str], str | None]
    gold: Callable[[Problem], str | None] = lambda problem: problem.reference
    test_only: bool = False
    config: str = ""
    split: str = "test"


@dataclass(frozen=True, slots=True)
class DataTask:
    """The task. `dropped` counts rows that were left out because their question is in test already."""

    kind: Kind
    train: tuple[Row, ...]
    test: tuple[Row, ...]
    source: str
    dropped: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        return self.kind.name

    def size(self, split: Split) -> int | None:
        return len(self._rows(split))

    def problem(self, split: Split, index: int) -> Problem:
        """Test in the file's order; train in another order each epoch, by the seed. Both begin anew at their end.

        Raises UserError where the split has no rows.
        """
        rows = self._rows(split)
        if not rows and split == "train" and self.kind.test_only:
            raise UserError(f"task {self.name!r} is a test set, {self.source} has no train split; train on another")
        if not rows:
            raise UserError(f"{self.source} leaves no rows for the {split} split; give more rows or a {split}.jsonl")
        epoch, place = divmod(index, len(rows))
        number = _order(self.name, len(rows), self.seed, epoch)[place] if split == "train" else place
        row = rows[number]
        return Problem(
            id=f"{self.name}-{split}-{number}",
            task=self.name,
            messages=(Message("user", row.question),),
            reference=row.reference,
            language=row.language,
            hidden={**row.hidden, "file": row.file, "row": row.number},
        )

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        return self.kind.grade(problem, answer)

    def gold(self, problem: Problem) -> str:
        """An answer that scores 1. Raises UserError where the data has none for this problem."""
        answer = self.kind.gold(problem)
        if answer is None:
            raise UserError(f"{problem.id} has no gold answer; ask `has_gold` first")
        return answer

    def has_gold(self, problem: Problem) -> bool:
        """Whether the data says an answer that scores 1."""
        return self.kind.gold(problem) is not None

    def wrong(self, problem: Problem) -> str:
        return self.kind.wrong(problem)

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        return self.kind.vote_key(problem, answer)

    def _rows(self, split: Split) -> tuple[Row, ...]:
        return self.train if split == "train" else self.test


@functools.lru_cache(maxsize=8)
def _order(name: str, size: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The rows of one epoch, in its order."""
    return tuple(random.Random(f"{name} {seed} {epoch}").sample(range(size), size))


OnBad = Callable[[BadRow], None]


def refuse(error: BadRow) -> None:
    """Stop at a bad row."""
    raise error


def load(kind: Kind, source: str, *, seed: int = 0, config: str = "", on_bad: OnBad = refuse) -> DataTask:
    """The task over the rows of `source`: a file, a folder or a hub id (its configuration `config`).

    `on_bad` gets each bad row, which is then left out. Raises UserError for a source that is missing
    or empty, and, as `on_bad` is by default, for the first bad row: file, row and remedy.
    """
    splits = read_splits(source, config or kind.config)
    if kind.test_only and kind.split in splits:
        splits = {"": splits[kind.split]}
    read = {split: list(_checked(kind, raws, on_bad)) for split, raws in splits.items()}
    if kind.test_only:
        train, test, dropped = _all_test(read)
    elif "train" in read and "test" in read:
        train, test, dropped = _own_splits(read["train"], read["test"])
    else:
        train, test, dropped = _by_hash(kind.name, [row for rows in read.values() for row in rows])
    return DataTask(kind, tuple(train), tuple(test), source, dropped, seed)


def _checked(kind: Kind, raws: Sequence[Raw], on_bad: OnBad) -> Iterable[Row]:
    for raw in raws:
        try:
            if isinstance(raw.data, RowError):
                raise raw.data
            row = kind.read(raw)
        except RowError as error:
            remedy = "" if ";" in str(error) else f"; write rows such as {kind.example}"
            on_bad(BadRow(raw.file, raw.number, f"{error}{remedy}"))
        else:
            if row is not None:
                yield replace(row, file=raw.file, number=raw.number)


Splits = tuple[Sequence[Row], Sequence[Row], int]  # train, test, rows dropped


def _by_hash(name: str, rows: list[Row]) -> Splits:
    """Split by what a question asks, so that its duplicates fall in one split."""
    split = [split_of(f"{name} {row.key}") for row in rows]
    train, test = ([row for row, s in zip(rows, split, strict=True) if s == wanted] for wanted in ("train", "test"))
    return train, test, 0


def _own_splits(train: list[Row], test: list[Row]) -> Splits:
    """The data set's own splits, without training rows whose question is in test."""
    asked = {row.key for row in test}
    kept = [row for row in train if row.key not in asked]
    return kept, test, len(train) - len(kept)


def _all_test(splits: Mapping[str, list[Row]]) -> Splits:
    """Every row, without those that another file has already."""
    rows = [row for found in splits.values() for row in found]
    first: dict[str, str] = {}
    kept = [row for row in rows if first.setdefault(row.key, row.file) == row.file]
    return [], kept, len(rows) - len(kept)


def language_of(question: str) -> str:
    """Chinese where a question holds Han characters, else English."""
    return "zh" if _HAN.search(question) else "en"
