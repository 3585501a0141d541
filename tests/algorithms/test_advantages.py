"""GRPO's advantages against hand-computed groups and their invariants."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.algorithms.advantages import group_normalised

totals = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=32)


def test_hand_computed() -> None:
    # rewards 2, 1, 1, 0: mean 1, variance (1 + 0 + 0 + 1) / 4 = 1/2
    root = math.sqrt(0.5)
    assert group_normalised([2.0, 1.0, 1.0, 0.0]) == pytest.approx([1 / root, 0.0, 0.0, -1 / root])


def test_a_failed_reward_moves_nobody() -> None:
    assert group_normalised([2.0, None, 0.0]) == [1.0, None, -1.0]


def test_equal_totals_carry_no_signal() -> None:
    assert group_normalised([1.0, 1.0, 1.0]) == [0.0, 0.0, 0.0]
    assert group_normalised([0.1 + 0.2, 0.3]) == [0.0, 0.0]  # rounding is no signal


def test_too_few_scores_make_no_advantage() -> None:
    assert group_normalised([1.0, None]) == [None, None]
    assert group_normalised([None, None]) == [None, None]


@given(totals)
def test_sum_is_zero_and_std_is_one(group: list[float]) -> None:
    advantages = [a for a in group_normalised(group) if a is not None]
    assert sum(advantages) == pytest.approx(0.0, abs=1e-6)
    if any(advantages):
        assert sum(a * a for a in advantages) / len(advantages) == pytest.approx(1.0)


@given(totals, st.randoms())
def test_permuting_a_group_permutes_its_advantages(group: list[float], random: object) -> None:
    order = sorted(range(len(group)), key=lambda _: random.random())  # type: ignore[attr-defined]
    shuffled = group_normalised([group[i] for i in order])
    plain = group_normalised(group)
    assert shuffled == pytest.approx([plain[i] for i in order])
