"""Random training rows of given lengths, the same for every side. Standard library alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

FIRST = 5  # ids below it may be special tokens


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its completion, with the completion's advantage."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    advantage: float


def rows(lengths: Sequence[Sequence[int]], vocabulary: int) -> list[Row]:
    """A row for each pair (prompt length, completion length); advantages are 1 and -1 by turns."""
    rng = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(FIRST, vocabulary) for _ in range(count))

    return [Row(ids(p), ids(c), 1.0 - 2.0 * (i % 2)) for i, (p, c) in enumerate(lengths)]


def tokens(lengths: Sequence[Sequence[int]]) -> int:
    """All tokens of the rows, without padding."""
    return sum(p + c for p, c in lengths)
