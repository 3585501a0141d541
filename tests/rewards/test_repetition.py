"""The n-gram repetition penalty: counts by hand, loops, and time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_rollouts import TASK, rollout, score

from aha.errors import UserError
from aha.rewards.repetition import Repetition, repeated_share, repetition, units
from aha.types import Abstain


def test_units() -> None:
    assert units("So 3*5=15，再看 it's\n") == ["so", "3", "*", "5", "=", "15", "，", "再", "看", "it", "'", "s"]
    assert units(" \n") == []


@pytest.mark.parametrize(
    ("parts", "n", "share"),
    [
        ("abcd", 2, 0.0),
        ("aaaa", 1, 0.75),
        ("aaaa", 2, 2 / 3),
        ("ababab", 2, 3 / 5),
        ("abcabc", 3, 1 / 4),
        ("ab", 3, 0.0),
        ("", 1, 0.0),
    ],
)
def test_by_hand(parts: str, n: int, share: float) -> None:
    assert repeated_share(list(parts), n) == pytest.approx(share)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5))
def test_against_pairs(parts: list[str], n: int) -> None:
    grams = [parts[i : i + n] for i in range(len(parts) - n + 1)]
    repeats = sum(gram in grams[:i] for i, gram in enumerate(grams))
    assert repeated_share(parts, n) == pytest.approx(repeats / len(grams) if grams else 0.0)


def test_a_loop_costs_and_honest_work_does_not() -> None:
    honest = "First 3*5=15, then 15+7=22. Let me check: 22-7=15, 15/5=3. So the answer is 22. 验算：22-7=15，对。"
    assert score(repetition(TASK, rollout(honest))) == 0.0
    assert score(repetition(TASK, rollout("let me check 3*5=15. " * 50))) < -0.9
    assert score(repetition(TASK, rollout("再看一遍。" * 100))) < -0.9


def test_ones_own() -> None:
    assert score(Repetition(n=1, weight=0.5)(TASK, rollout("a a a a"))) == -0.375
    assert isinstance(repetition(TASK, rollout("  ")), Abstain)
    with pytest.raises(UserError, match="n is 0"):
        Repetition(n=0)


def test_time_is_linear() -> None:
    began = time.process_time()
    repetition(TASK, rollout("a " * 50_000)), repetition(TASK, rollout("等" * 100_000))
    assert time.process_time() - began < 3.0
