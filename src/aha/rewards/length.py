"""The length reward: DAPO's soft overlong penalty, 0 down to -1 as a response nears and passes its limit.

    soft_overlong(400, maximum=512, cache=128)      # -0.125

The reward `length` has the paper's own limits. Other ones are a line in a file of your own, named `mine.py:length`:

    length = SoftOverlong(maximum=512, cache=128)
"""

from __future__ import annotations

from dataclasses import dataclass

from aha.errors import UserError
from aha.protocols import Task
from aha.types import Outcome, Rollout, Score


def soft_overlong(tokens: int, *, maximum: int, cache: int) -> float:
    """0 up to `maximum - cache` tokens, then evenly down to -1 at `maximum`, and -1 beyond it.

    Source: DAPO, arXiv 2503.14476, eq. 13.
    """
    return min(0.0, max(-1.0, (maximum - cache - tokens) / cache))


@dataclass(frozen=True, slots=True)
class SoftOverlong:
    """The reward with its limits in tokens; a response that was cut off is overlong whatever its length."""

    maximum: int = 16_384 + 4_096  # DAPO, section 4.1
    cache: int = 4_096

    def __post_init__(self) -> None:
        if not 0 < self.cache <= self.maximum:
            raise UserError(f"cache is {self.cache} tokens; give 1 to {self.maximum}, the maximum")

    def __call__(self, task: Task, rollout: Rollout) -> Outcome:
        tokens = len(rollout.completion.ids)
        if rollout.completion.stop_reason == "length":
            return Score(-1.0, f"cut off at {tokens} tokens")
        value = soft_overlong(tokens, maximum=self.maximum, cache=self.cache)
        return Score(value, f"{tokens} tokens; free up to {self.maximum - self.cache}, -1 at {self.maximum}")


length = SoftOverlong()
