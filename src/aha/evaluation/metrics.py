"""The estimators of an evaluation: pass@k, means and their differences with standard errors, cons@k. Pure functions."""

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


def ratio_and_stderr(parts: Sequence[float], wholes: Sequence[float]) -> tuple[float, float]:
    """sum(parts) / sum(wholes), a pair a problem, and its standard error with problems as clusters.

    The error is that of a ratio of means by linearisation (Cochran, Sampling Techniques, section 6.5); where all wholes
    are equal it is `mean_and_stderr`'s. Raises ValueError where the wholes add up to nothing.

    >>> ratio_and_stderr([1, 0, 1, 0], [1, 1, 1, 1]) == mean_and_stderr([1, 0, 1, 0])
    True
    """
    total = math.fsum(wholes)
    if not total > 0:
        raise ValueError("a ratio needs wholes that add up to more than 0")
    ratio = math.fsum(parts) / total
    _, stderr = mean_and_stderr(residuals(parts, wholes, ratio))
    return ratio, stderr


def residuals(parts: Sequence[float], wholes: Sequence[float], ratio: float) -> list[float]:
    """How far each problem's part is from `ratio` of its whole, in mean wholes."""
    mean = math.fsum(wholes) / len(wholes)
    return [(part - ratio * whole) / mean for part, whole in zip(parts, wholes, strict=True)]


def paired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """The mean of first - second over the same problems, its standard error, and the p of a two-sided paired t-test.

    What is hard for one is hard for the other: the error of the difference is smaller than those of the two would make
    it. p is NaN for one problem, and 1 or 0 where all differences are the same. Source: Miller, arXiv 2411.00640,
    section 4.2.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean, stderr = mean_and_stderr(differences)
    if math.isnan(stderr):
        return mean, stderr, math.nan
    if stderr == 0:
        return mean, 0.0, 1.0 if mean == 0 else 0.0
    return mean, stderr, t_test(mean / stderr, len(differences) - 1)


def t_test(t: float, freedom: int) -> float:
    """The probability of a Student t as far from 0 as `t`, on either side.

    >>> round(t_test(2.228139, 10), 6)
    0.05
    """
    import mpmath

    return float(mpmath.betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True))


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
