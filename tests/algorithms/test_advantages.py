"""Advantages against hand-computed groups and their invariants."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.algorithms.advantages import (
    AdvantageFunction,
    group_centred,
    group_normalised,
    leave_one_out,
    mean_normalised,
)

ALL = [group_normalised, group_centred, leave_one_out, mean_normalised]
totals = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=32)


def test_hand_computed() -> None:
    # rewards 2, 1, 1, 0: mean 1, variance (1 + 0 + 0 + 1) / 4 = 1/2
    root = math.sqrt(0.5)
    assert group_normalised([2.0, 1.0, 1.0, 0.0]) == pytest.approx([1 / root, 0.0, 0.0, -1 / root])


    assert group_centred([2.0, 1.0, 1.0, 0.0]) == [1.0, 0.0, 0.0, -1.0]
    # 2 less the others' mean 2/3, 1 less 1 (twice), 0 less 4/3
    assert leave_one_out([2.0, 1.0, 1.0, 0.0]) == pytest.approx([4 / 3, 0.0, 0.0, -4 / 3])
    assert mean_normalised([1.0, 1.0, 0.0, 0.0]) == [1.0, 1.0, -1.0, -1.0]
    assert mean_normalised([1.0, 0.0, 0.0, 0.0]) == [3.0, -1.0, -1.0, -1.0]


def test_where_nothing_is_gained_maxrl_learns_nothing() -> None:
    assert mean_normalised([-1.0, 0.0, -1.0]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("function", ALL)
def test_a_failed_reward_moves_nobody(function: AdvantageFunction) -> None:
    with_failed, without = function([2.0, None, 0.0, 0.0]), function([2.0, 0.0, 0.0])
    assert with_failed == [without[0], None, without[1], without[2]]


@pytest.mark.parametrize("function", ALL)
def test_equal_totals_carry_no_signal(function: AdvantageFunction) -> None:
    assert function([1.0, 1.0, 1.0]) == [0.0, 0.0, 0.0]
    assert function([0.1 + 0.2, 0.3]) == [0.0, 0.0]  # rounding is no signal


@pytest.mark.parametrize("function", ALL)
def test_too_few_scores_make_no_advantage(function: AdvantageFunction) -> None:
    assert function([1.0, None]) == [None, None]
    assert function([None, None]) == [None, None]
    assert function([]) == []


@given(totals)
def test_sums_are_zero_and_grpo_has_a_std_of_one(group: list[float]) -> None:
    for function in ALL:
        advantages = [a for a in function(group) if a is not None]
        # MaxRL divides by a mean that may be small, and its numbers are as large as that makes them
        scale = max(1.0, *map(abs, advantages)) if function is mean_normalised else 1.0
        assert sum(advantages) == pytest.approx(0.0, abs=1e-6 * scale)
    normalised = [a for a in group_normalised(group) if a is not None]
    if any(normalised):
        assert sum(a * a for a in normalised) / len(normalised) == pytest.approx(1.0)


@given(totals, st.randoms())
def test_permuting_a_group_permutes_its_advantages(group: list[float], random: object) -> None:
    order = sorted(range(len(group)), key=lambda _: random.random())  # type: ignore[attr-defined]
    for function in ALL:
        shuffled, plain = function([group[i] for i in order]), function(group)
        assert shuffled == pytest.approx([plain[i] for i in order])


@given(totals)
def test_leave_one_out_is_the_centred_one_scaled(group: list[float]) -> None:
    """A known identity: R_i - mean of the others = n / (n - 1) (R_i - mean)."""
    n = len(group)
    assert leave_one_out(group) == pytest.approx([n / (n - 1) * (a or 0.0) for a in group_centred(group)], abs=1e-9)
