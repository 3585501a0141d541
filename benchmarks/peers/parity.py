"""A reward for a random model, whose every real answer is wrong: half of all completions score, evenly at random.

Both sides grade with it, so that their groups carry a signal alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aha.protocols import Task
    from aha.types import Rollout, Score


def coin(ids: Sequence[int]) -> float:
    """0 or 1, decided by the tokens."""
    return float(zlib.crc32(" ".join(map(str, ids)).encode()) & 1)


def parity(task: Task, rollout: Rollout) -> Score:
    """`coin` as a reward of a recipe: `FILE.py:parity`."""
    from aha.types import Score

    return Score(coin(rollout.completion.ids), "a checksum of the tokens")
