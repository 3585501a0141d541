"""Advantage functions: totals of one group in, one number a rollout out.

A total of None (a reward failed) takes no part: it moves no mean, and its rollout gets no advantage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

AdvantageFunction = Callable[[Sequence[float | None]], list[float | None]]


def group_normalised(totals_G: Sequence[float | None]) -> list[float | None]:
    """GRPO, DeepSeek-R1 eq. 3: A_i = (R_i - mean(R)) / std(R), with the standard deviation of the group itself.

    A group of equal totals has advantages of 0; a group with fewer than two totals has none.

    >>> group_normalised([2.0, 0.0, None])
    [1.0, -1.0, None]
    """
    known = [t for t in totals_G if t is not None]
    if len(known) < 2:
        return [None] * len(totals_G)
    mean = math.fsum(known) / len(known)
    std = math.sqrt(math.fsum((t - mean) ** 2 for t in known) / len(known))
    if std < 1e-9:
        return [None if t is None else 0.0 for t in totals_G]
    return [None if t is None else (t - mean) / std for t in totals_G]
