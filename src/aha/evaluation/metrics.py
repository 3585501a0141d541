"""The estimators of an evaluation: pass@k, mean with its standard error, cons@k. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that one of `k` samples is right, estimated without bias from `c` right ones among `n`.

    1 - C(n-c, k) / C(n, k), Chen et al., arXiv 2107.03374, eq. 1. Raises ValueError where k > n: fewer samples than
    `k` cannot estimate it.

    >>> round(pass_at_k(10, 3, 5), 7)
    0.9166667
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples: k must be from 1 to n; draw at least {k} samples")
    if not 0 <= c <= n:
        raise ValueError(f"{c} right among {n} samples")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def mean_and_stderr(per_problem_means: Sequence[float]) -> tuple[float, float]:
    """The mean over problems, and its standard error with problems as clusters: std (ddof 1) / sqrt(problems).

    Samples of one problem are not independent, so only problems count. The error is NaN for one problem: it cannot be
    known. Raises ValueError for none. Source: Miller, "Adding Error Bars to Evals", arXiv 2411.00640, section 2.2.
    """
    n = len(per_problem_means)
    if n == 0:
        raise ValueError("no problems to take a mean over")
    mean = math.fsum(per_problem_means) / n
    if n == 1:
        return mean, math.nan
    variance = math.fsum((x - mean) ** 2 for x in per_problem_means) / (n - 1)
    return mean, math.sqrt(variance / n)


def cons_at_k(
    answers: Sequence[str | None], right: Sequence[bool], key: Callable[[str], str | None] = lambda answer: answer
) -> float:
    """1 where the class of answers with the most votes is right, else 0; the k of cons@k is the number of answers.

    `key` maps an answer to its equivalence class; None, as an answer or as a class, does not vote. Of classes with
    equally many votes the one that appeared first wins. Without votes the result is 0.
    """
    votes: dict[str, int] = {}
    verdicts: dict[str, bool] = {}
    for answer, is_right in zip(answers, right, strict=True):
        name = None if answer is None else key(answer)
        if name is not None:
            votes[name] = votes.get(name, 0) + 1
            verdicts.setdefault(name, is_right)
    return float(verdicts[max(votes, key=votes.__getitem__)]) if votes else 0.0
