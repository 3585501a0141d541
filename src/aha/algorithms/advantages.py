"""Advantage functions: totals of one group in, one number a rollout out.

A total of None (a reward failed) takes no part: it moves no mean, and its rollout gets no advantage. Where totals are
equal there is no signal: all advantages are 0. A group with fewer than two totals has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

AdvantageFunction = Callable[[Sequence[float | None]], list[float | None]]

SAME = 1e-9  # totals that differ by less are the same: rounding is no signal


def group_normalised(totals_G: Sequence[float | None]) -> list[float | None]:
    """GRPO, DeepSeek-R1 eq. 3: A_i = (R_i - mean(R)) / std(R), with the standard deviation of the group itself.

    >>> group_normalised([2.0, 0.0, None])
    [1.0, -1.0, None]
    """
    known = _known(totals_G)
    mean = math.fsum(known) / max(1, len(known))
    std = math.sqrt(math.fsum((t - mean) ** 2 for t in known) / max(1, len(known)))
    return _each(totals_G, lambda t: (t - mean) / std)


def group_centred(totals_G: Sequence[float | None]) -> list[float | None]:
    """Dr. GRPO, arXiv 2503.20783: A_i = R_i - mean(R). Without the division, which weighs easy and hard questions up.

    >>> group_centred([2.0, 0.0, 1.0])
    [1.0, -1.0, 0.0]
    """
    known = _known(totals_G)
    mean = math.fsum(known) / max(1, len(known))
    return _each(totals_G, lambda t: t - mean)


def leave_one_out(totals_G: Sequence[float | None]) -> list[float | None]:
    """RLOO, arXiv 2402.14740: A_i = R_i - mean of the others' R, a baseline that does not depend on the sample itself.

    >>> leave_one_out([3.0, 0.0, 0.0])
    [3.0, -1.5, -1.5]
    """
    known = _known(totals_G)
    total, others = math.fsum(known), max(1, len(known) - 1)
    return _each(totals_G, lambda t: t - (total - t) / others)


def mean_normalised(totals_G: Sequence[float | None]) -> list[float | None]:
    """MaxRL, arXiv 2602.02710: A_i = (R_i - mean(R)) / mean(R), 0 where the mean is 0: an unbiased estimate of the
    gradient of log-likelihood, to the order of the group's size, for rewards of 0 and 1.

    >>> mean_normalised([1.0, 0.0, 0.0, 0.0])
    [3.0, -1.0, -1.0, -1.0]
    """
    known = _known(totals_G)
    mean = math.fsum(known) / max(1, len(known))
    return _each(totals_G, lambda t: (t - mean) / mean if mean > SAME else 0.0)


def _known(totals_G: Sequence[float | None]) -> list[float]:
    return [t for t in totals_G if t is not None]


def _each(totals_G: Sequence[float | None], function: Callable[[float], float]) -> list[float | None]:
    """`function` of every known total, with the rules that all advantages share."""
    known = _known(totals_G)
    if len(known) < 2:
        return [None] * len(totals_G)
    if max(known) - min(known) < SAME:
        return [None if t is None else 0.0 for t in totals_G]
    return [None if t is None else function(t) for t in totals_G]
