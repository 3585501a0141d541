"""Tasks over data sets of questions with a number as answer: GSM8K's own format, from files or a hub.

    task = load_gsm8k("gsm8k/")             # a folder with train.jsonl and test.jsonl: its own splits
    task = load_gsm8k("mine.jsonl")         # one file: split by a hash of each question
    task = load_gsm8k("openai/gsm8k")       # a hub id, through the optional library `datasets`

A row is `{"question": "...", "answer": "... #### 18"}`; the reference is the number after the last `####`. A question
is never in both splits. Source of the format: Cobbe et al., arXiv 2110.14168.
"""

from __future__ import annotations

import functools
import json
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from aha.errors import UserError
from aha.tasks.number import read_number
from aha.tasks.splits import split_of
from aha.types import Message, Outcome, Problem, Score, Split

FORM = '{"question": "...", "answer": "... #### 18"}'
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One question with its worked solution and the number that it ends in."""

    question: str
    solution: str
    number: str

    @property
    def key(self) -> str:
        """What the question asks, whatever its case, width of characters and white space."""
        return "gsm8k " + " ".join(unicodedata.normalize("NFKC", self.question).casefold().split())


@dataclass(frozen=True, slots=True)
class Gsm8k:
    """The task. `dropped` counts training rows that were left out because their question is in test."""

    train: tuple[Row, ...]
    test: tuple[Row, ...]
    source: str
    dropped: int = 0
    seed: int = 0
    name: str = "gsm8k"

    def size(self, split: Split) -> int | None:
        return len(self._rows(split))

    def problem(self, split: Split, index: int) -> Problem:
        """Test in the file's order; train in another order each epoch, by the seed. Both begin anew at their end.

        Raises UserError where the split has no rows.
        """
        rows = self._rows(split)
        if not rows:
            raise UserError(f"{self.source} leaves no rows for the {split} split; give more rows or a {split}.jsonl")
        epoch, place = divmod(index, len(rows))
        number = _order(len(rows), self.seed, epoch)[place] if split == "train" else place
        row = rows[number]
        return Problem(
            id=f"{self.name}-{split}-{number}",
            task=self.name,
            messages=(Message("user", row.question),),
            reference=row.number,
            language="zh" if _HAN.search(row.question) else "en",
            hidden={"solution": row.solution},
        )

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        """1 where the one number in `answer` equals the reference exactly."""
        if answer is None:
            return Score(0.0, "no answer")
        found = read_number(answer)
        if found is None:
            return Score(0.0, f"not one number: {answer[:60]!r}")
        return Score(float(found == _reference(problem)), f"{found}, expected {problem.reference}")

    def gold(self, problem: Problem) -> str:
        return problem.reference

    def wrong(self, problem: Problem) -> str:
        return str(_reference(problem) + 1)

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        """The number that `answer` gives: equal numbers vote together."""
        found = read_number(answer)
        return None if found is None else str(found)

    def _rows(self, split: Split) -> tuple[Row, ...]:
        return self.train if split == "train" else self.test


@functools.lru_cache(maxsize=8)
def _order(size: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The rows of one epoch, in its order."""
    return tuple(random.Random(f"gsm8k {seed} {epoch}").sample(range(size), size))


def _reference(problem: Problem) -> Fraction:
    number = read_number(problem.reference)
    assert number is not None, "references are checked when they are read"
    return number


def load_gsm8k(source: str, *, seed: int = 0, config: str = "main") -> Gsm8k:
    """Read a .jsonl file, a folder with train.jsonl and test.jsonl, or a hub id (its configuration `config`).

    Raises UserError, with file, row and remedy, for what is missing, empty or not in the format.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _by_hash(source, list(_read_file(path)), seed)
    if path.is_dir():
        return _by_splits(source, list(_read_file(path / "train.jsonl")), list(_read_file(path / "test.jsonl")), seed)
    if source.startswith(("/", ".", "~")) or source.endswith((".jsonl", ".json")) or source.count("/") > 1:
        raise UserError(f"no file {source!r}; give a .jsonl file, a folder with train.jsonl and test.jsonl or a hub id")
    splits = _read_hub(source, config)
    if "train" in splits and "test" in splits:
        return _by_splits(source, splits["train"], splits["test"], seed)
    return _by_hash(source, [row for rows in splits.values() for row in rows], seed)


def _by_hash(source: str, rows: list[Row], seed: int) -> Gsm8k:
    """Split by what a question asks, so that its duplicates fall in one split."""
    train = tuple(row for row in rows if split_of(row.key) == "train")
    return Gsm8k(train, tuple(row for row in rows if split_of(row.key) == "test"), source, 0, seed)


def _by_splits(source: str, train: list[Row], test: list[Row], seed: int) -> Gsm8k:
    """The data set's own splits, without training rows whose question is in test."""
    asked = {row.key for row in test}
    kept = tuple(row for row in train if row.key not in asked)
    return Gsm8k(kept, tuple(test), source, len(train) - len(kept), seed)


def _read_file(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file; empty lines are passed over."""
    if not path.is_file():
        raise UserError(f"no file {str(path)!r}; put train.jsonl and test.jsonl in the folder, or name one .jsonl file")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); save it as UTF-8 text") from error
    empty = True
    for number, line in enumerate(lines, 1):
        if line.strip():
            empty = False
            yield _row(_json(line, f"{path} row {number}"), f"{path} row {number}")
    if empty:
        raise UserError(f"{path} is empty; give it rows such as {FORM}")


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error}); write one object a line, such as {FORM}") from error


def _row(data: Any, where: str) -> Row:
    """A checked row. Raises UserError that begins with `where`."""
    if not isinstance(data, dict):
        raise UserError(f"{where} is no JSON object; write rows such as {FORM}")
    for field in ("question", "answer"):
        if not isinstance(data.get(field), str) or not data[field].strip():
            raise UserError(f"{where} has no text under {field!r}; write rows such as {FORM}")
    solution, mark, number = data["answer"].rpartition("####")
    number = number.strip().replace(",", "").replace("$", "").removesuffix(".")
    if not mark or read_number(number) is None:
        raise UserError(f"{where} has an answer that does not end in '#### NUMBER'; write rows such as {FORM}")
    return Row(data["question"].strip(), solution.strip(), number)


def _read_hub(source: str, config: str) -> dict[str, list[Row]]:
    """Every split of a hub data set."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{source!r} is no file, and a hub id needs the library 'datasets': pip install datasets, or give a file"
        ) from error
    try:
        loaded = datasets.load_dataset(source, config)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"data set {source!r} cannot be loaded ({reason}); give a hub id or a .jsonl file") from error
    return {split: list(_checked(rows, f"{source}[{split}]")) for split, rows in loaded.items()}


def _checked(rows: Iterable[Any], where: str) -> Iterator[Row]:
    for number, data in enumerate(rows, 1):
        yield _row(data, f"{where} row {number}")
