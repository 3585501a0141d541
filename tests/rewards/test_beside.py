"""Grading beside sampling: order, exceptions, a reward that hangs, and that it really runs beside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from aha.errors import RunFailed
from aha.rewards.beside import beside


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def slow_for_the_first(n: int) -> int:
        time.sleep(0.02 if n == 0 else 0)
        return n * n

    assert beside(range(50), slow_for_the_first, threads=threads) == [n * n for n in range(50)]
    assert beside([], slow_for_the_first, threads=threads) == []


def test_work_runs_while_items_are_made() -> None:
    graded = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert graded.wait(10), "the first item was not graded before the second was made"
        yield 2

    def grade(n: int) -> int:
        graded.set()
        return n

    assert beside(items(), grade, threads=1) == [1, 2]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_bug_is_raised(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        beside([1, 0, 2], lambda n: 1 // n, threads=threads)


def test_items_that_fail_leave_no_thread_behind() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("sampling broke")

    before = threading.active_count()
    with pytest.raises(KeyError):
        beside(items(), lambda n: n, threads=3)
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_reward_that_hangs_ends_the_run_with_a_sentence() -> None:
    for_ever = threading.Event()
    with pytest.raises(RunFailed, match=r"no reward has returned for 0\.1 s"):
        beside([1], lambda _: for_ever.wait(), threads=1, patience=0.1)
    for_ever.set()
