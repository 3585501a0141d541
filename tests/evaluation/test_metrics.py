"""The estimators against hand-computed values and brute force."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.evaluation.metrics import (
    cons_at_k,
    mean_and_stderr,
    paired_difference,
    pass_at_k,
    ratio_and_stderr,
    t_test,
)


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [
        (10, 3, 1, 0.3),
        (10, 3, 5, 0.9166667),
        (64, 1, 16, 0.25),
        (64, 32, 8, 0.9976236),
        (200, 20, 100, 0.99999967),
        (5, 0, 3, 0.0),
        (5, 3, 3, 1.0),
    ],
)
def test_pass_at_k(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=5e-8)


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(case: tuple[int, int, int]) -> None:
    n, c, k = case
    draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1), (0, 0, 1)])
def test_pass_at_k_refuses_what_cannot_be_estimated(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError):
        pass_at_k(n, c, k)


def test_mean_and_stderr_count_problems() -> None:
    values = [0.0, 0.25, 1.0, 0.5]
    mean, stderr = mean_and_stderr(values)
    assert mean == pytest.approx(0.4375) and stderr == pytest.approx(statistics.stdev(values) / 2)
    assert mean_and_stderr([0.5, 0.5]) == (0.5, 0.0)
    assert mean_and_stderr([1.0])[0] == 1.0 and math.isnan(mean_and_stderr([1.0])[1])
    with pytest.raises(ValueError, match="no problems"):
        mean_and_stderr([])


@pytest.mark.parametrize(
    ("answers", "right", "value"),
    [
        (["1", "2", "2"], [True, False, False], 0.0),
        (["1", "2", "1"], [True, False, True], 1.0),
        (["2", "1"], [False, True], 0.0),  # a tie: the first to appear
        (["1", "2"], [True, False], 1.0),
        ([None, None, "1"], [False, False, True], 1.0),
        ([None], [False], 0.0),
        ([], [], 0.0),
    ],
)
def test_cons_at_k(answers: list[str | None], right: list[bool], value: float) -> None:
    assert cons_at_k(answers, right) == value


def test_cons_at_k_votes_over_classes() -> None:
    answers, right = ["5", "18", "18.0", "$18", "5", "?"], [False, True, True, True, False, False]
    keys = {"5": "5", "18": "18", "18.0": "18", "$18": "18", "?": None}
    assert cons_at_k(answers, right, keys.get) == 1.0
    assert cons_at_k(answers, right) == 0.0
    assert cons_at_k(["?", "?"], [False, False], keys.get) == 0.0
    with pytest.raises(ValueError):
        cons_at_k(["1"], [])


def test_ratio_is_the_mean_where_all_wholes_are_alike() -> None:
    parts = [0.0, 1.0, 1.0, 0.5]
    assert ratio_and_stderr(parts, [1.0] * 4) == pytest.approx(mean_and_stderr(parts))
    assert ratio_and_stderr([2 * p for p in parts], [2.0] * 4) == pytest.approx(mean_and_stderr(parts))
    assert ratio_and_stderr([3.0, 0.0], [3.0, 1.0])[0] == 0.75
    with pytest.raises(ValueError, match="more than 0"):
        ratio_and_stderr([0.0], [0.0])


def test_paired_difference() -> None:
    first, second = [1.0, 0.5, 0.75, 0.25], [0.5, 0.5, 0.25, 0.0]
    mean, stderr, p = paired_difference(first, second)
    differences = [0.5, 0.0, 0.5, 0.25]
    assert mean == pytest.approx(0.3125) and stderr == pytest.approx(statistics.stdev(differences) / 2)
    assert p == pytest.approx(0.0796, abs=5e-4)  # t = 2.6112 with 3 degrees of freedom
    assert paired_difference(second, first)[0] == -mean
    assert paired_difference(first, first) == (0.0, 0.0, 1.0)
    assert paired_difference([1.0, 1.0], [0.0, 0.0]) == (1.0, 0.0, 0.0)
    assert math.isnan(paired_difference([1.0], [0.0])[2])


@pytest.mark.parametrize(("t", "freedom", "p"), [(12.7062, 1, 0.05), (2.2281, 10, 0.05), (2.7500, 30, 0.01), (0, 5, 1)])
def test_student(t: float, freedom: int, p: float) -> None:
    assert t_test(t, freedom) == pytest.approx(p, abs=5e-6)
    assert t_test(-t, freedom) == t_test(t, freedom)
