"""Advantages of single tokens: rewards and values of one response in, generalised advantage estimates out."""

from __future__ import annotations

import math
from collections.abc import Sequence

SMALLEST = 1e-8  # a standard deviation below it is rounding


def gae(rewards_T: Sequence[float], values_T: Sequence[float], lambda_: float) -> list[float]:
    """A_t = sum over l of lambda^l delta_(t+l) with delta_t = r_t + V_(t+1) - V_t, discount 1 and V = 0 after the end
    (Schulman et al., arXiv 1506.02438, eq. 16). With lambda 1 it is the sum of the rewards to come less V_t.

    >>> gae([0.0, 0.0, 1.0], [0.5, 0.5, 0.5], 1.0)
    [0.5, 0.5, 0.5]
    >>> gae([0.0, 0.0, 1.0], [0.5, 0.5, 0.5], 0.0)
    [0.0, 0.0, 0.5]
    """
    advantages = [0.0] * len(rewards_T)
    after = value_after = 0.0
    for t in reversed(range(len(rewards_T))):
        after = rewards_T[t] + value_after - values_T[t] + lambda_ * after
        advantages[t], value_after = after, values_T[t]
    return advantages


def whitened(rows: Sequence[Sequence[float]], masks: Sequence[Sequence[int]]) -> list[list[float]]:
    """The numbers of all rows that their masks choose, less their mean and over their standard deviation; the others
    stay as they are (REINFORCE++, arXiv 2501.03262, eq. 6).

    >>> whitened([[0.0, 3.0], [1.0, 1.0, 3.0]], [[0, 1], [1, 1, 1]])
    [[0.0, 1.0], [-1.0, -1.0, 1.0]]
    """
    chosen = [x for row, mask in zip(rows, masks, strict=True) for x, on in zip(row, mask, strict=True) if on]
    mean = math.fsum(chosen) / max(1, len(chosen))
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in chosen) / max(1, len(chosen)))
    scale = 1 / std if std > SMALLEST else 0.0
    return [
        [(x - mean) * scale if on else x for x, on in zip(row, mask, strict=True)]
        for row, mask in zip(rows, masks, strict=True)
    ]


def kl_of_token(estimator: str, logprob: float, reference: float) -> float:
    """Schulman's k1, k2 or k3 of KL(policy || reference), of a token that the policy drew.

    >>> [round(kl_of_token(k, -1.0, -1.5), 4) for k in ("k1", "k2", "k3")]
    [0.5, 0.125, 0.1065]
    """
    gap = logprob - reference
    if estimator == "k1":
        return gap
    return gap * gap / 2 if estimator == "k2" else math.expm1(-gap) + gap


def overlong_penalty(length: int, limit: int, buffer: int) -> float:
    """DAPO eq. 13, arXiv 2503.14476: 0 up to `limit - buffer` tokens, from there down to -1 at `limit`.

    >>> [overlong_penalty(n, limit=100, buffer=20) for n in (80, 90, 100)]
    [0.0, -0.5, -1.0]
    """
    return -max(0, length - (limit - buffer)) / buffer if buffer else 0.0
