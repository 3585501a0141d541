"""The repetition reward: minus the share of n-grams that were there before.

    repeated_share(units("so 15 so 15 so 15"), n=2)     # 0.6: of five pairs three are repeats

Source: the n-gram penalties of Yeo et al., arXiv 2502.03373, section 4.3, and open-r1's form of it (1 - unique / all).
Units are words, single Han characters and kana, and signs, so that a loop of formulas counts too. The reward
`repetition` looks at 10-grams: shorter ones come back in any long and honest text. Others are a line in a file of your
own, named `mine.py:repetition`:

    repetition = Repetition(n=20, weight=0.5)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aha.errors import UserError
from aha.protocols import Task
from aha.types import Abstain, Outcome, Rollout, Score

_UNIT = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]|[^\W\u3041-\u30ff\u3400-\u9fff]+|[^\w\s]")


def units(text: str) -> list[str]:
    """The words, CJK characters and signs of `text`, without case."""
    return _UNIT.findall(text.casefold())


def repeated_share(parts: Sequence[str], n: int) -> float:
    """The share of the n-grams of `parts` that stood before in it: 0 where all differ or there is none."""
    total = len(parts) - n + 1
    if total < 1:
        return 0.0
    return 1.0 - len({tuple(parts[place : place + n]) for place in range(total)}) / total


@dataclass(frozen=True, slots=True)
class Repetition:
    """The reward: from 0 down to `-weight`. Abstains from an empty response."""

    n: int = 10
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"n is {self.n}; give the length of the n-grams, 1 or more")

    def __call__(self, task: Task, rollout: Rollout) -> Outcome:
        parts = units(rollout.text)
        if not parts:
            return Abstain("an empty response")
        share = repeated_share(parts, self.n)
        return Score(-self.weight * share, f"{share:.1%} of the {self.n}-grams are repeats")


repetition = Repetition()
