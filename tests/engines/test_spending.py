"""Limits a minute and a limit of money, with a clock of our own and with threads."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.engines.spending import Pacer, Purse, Usage
from aha.errors import RunFailed


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_spaced() -> None:
    clock = Clock()
    pacer = Pacer(requests_a_minute=30, tokens_a_minute=0, clock=clock)
    assert [pacer.take(10**9) for _ in range(3)] == [0.0, 2.0, 4.0]
    clock.now += 5.0
    assert pacer.take(1) == 1.0
    clock.now += 60.0
    assert [pacer.take(1) for _ in range(2)] == [0.0, 2.0], "what was not used is not saved up"


def test_tokens_are_spaced_and_those_that_were_not_used_given_back() -> None:
    clock = Clock()
    pacer = Pacer(requests_a_minute=0, tokens_a_minute=600, clock=clock)
    assert [pacer.take(100), pacer.take(50), pacer.take(10)] == [0.0, 10.0, 15.0]
    pacer.give_back(40)
    assert pacer.take(0) == pytest.approx(12.0)
    assert Pacer(0, 0, clock).take(10**9) == 0.0


def test_a_hold_is_for_all_that_come_after() -> None:
    clock = Clock()
    pacer = Pacer(requests_a_minute=60, tokens_a_minute=0, clock=clock)
    pacer.hold(30.0)
    pacer.hold(10.0)
    assert [pacer.take(1), pacer.take(1)] == [30.0, 31.0]


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 500)), max_size=30), st.integers(1, 100))
def test_no_minute_has_more_requests_than_the_limit(asked: list[tuple[float, int]], limit: int) -> None:
    clock = Clock()
    pacer = Pacer(requests_a_minute=limit, tokens_a_minute=0, clock=clock)
    begun = []
    for later, tokens in asked:
        clock.now += later
        begun.append(clock.now + pacer.take(tokens))
    assert all(two - one >= 60.0 / limit - 1e-6 for one, two in pairwise(begun))


def test_money_is_set_aside_before_it_is_spent() -> None:
    purse = Purse(most=1.0, spent=0.25)
    assert purse.take(0.5) and not purse.take(0.5, given_up=lambda: True)
    purse.settle(0.5, 0.125)
    assert purse.spent == 0.375 and purse.take(0.5)
    purse.settle(0.5, 0.5)
    with pytest.raises(RunFailed, match=r"0\.875 dollars are spent, .*of up to 0\.25, could pass most_dollars=1;"):
        purse.take(0.25)
    assert Purse(most=None, spent=0.0).take(1e9)


@pytest.mark.parametrize("cost", [0.0, 3.0, 10.0])
def test_whatever_requests_cost_the_sum_stays_within_the_most(cost: float) -> None:
    """Twenty threads of requests of up to 10 dollars: those that would pass 100 wait for what others leave."""
    purse = Purse(most=100.0, spent=0.0)
    seen: list[float] = []

    def spend() -> None:
        try:
            for _ in range(5):
                purse.take(10.0)
                purse.settle(10.0, cost)
                seen.append(purse.spent)
        except RunFailed:
            seen.append(-1.0)

    threads = [threading.Thread(target=spend) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert max(seen) <= 100.0
    if cost:  # the next would fit no more; without a price all hundred were made
        assert purse.spent + 10.0 > 100.0 and -1.0 in seen
    else:
        assert len(seen) == 100 and -1.0 not in seen


def test_usage_adds_up() -> None:
    assert Usage(1, 0, 10, 5, 0.5) + Usage(2, 1, 1, 1, 0.25) == Usage(3, 1, 11, 6, 0.75)
