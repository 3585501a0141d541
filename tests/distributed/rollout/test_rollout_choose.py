"""Which groups a step takes: hand-made cases, and simulated runs that never miss a deadline and never stop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.distributed.rollout.choose import NEVER, choose


@pytest.mark.parametrize(
    ("made", "deadlines", "size", "least", "expected"),
    [
        # nothing is urgent: the first that came
        (["3", "1", "2"], {"1": 9, "2": 9, "3": 9}, 2, None, ["3", "1"]),
        # too few
        (["3"], {"1": 9, "2": 9, "3": 9}, 2, None, None),
        # 1 is due now and comes before 3, which came first
        (["3", "2", "1"], {"1": 5, "2": 9, "3": 9}, 1, None, ["1"]),
        # it is due now and is not there
        (["3", "2"], {"1": 5, "2": 9, "3": 9}, 2, None, None),
        # three are due within two steps of one each... and one of them has to go now
        (["9", "2", "3"], {"1": 6, "2": 6, "3": 6, "9": 9}, 2, None, ["9", "2"]),
        (["9", "2", "3"], {"1": 6, "2": 6, "3": 6, "4": 6, "9": 9}, 2, None, ["2", "3"]),
        # one due now, one of two due at the next step: the earliest of each, in the order in which they came
        (["a", "b", "c"], {"a": 6, "b": 5, "c": 6}, 2, None, ["a", "b"]),
        # nobody has 1 yet: it is not due
        (["2"], {"1": NEVER, "2": 9}, 1, None, ["2"]),
        # as many as there are
        (["2"], {"1": 9, "2": 9}, 4, 0, ["2"]),
        ([], {"1": 9}, 4, 0, []),
        ([], {"1": 5}, 4, 0, None),
    ],
)
def test_hand_made_cases(
    made: list[str], deadlines: dict[str, int], size: int, least: int | None, expected: list[str] | None
) -> None:
    assert choose(made, deadlines, done=5, size=size, least=least) == expected


@settings(max_examples=150)
@given(
    size=st.integers(1, 5), ahead=st.integers(1, 4), steps=st.integers(1, 9), workers=st.integers(1, 7),
    deaths=st.floats(0, 0.4), seed=st.integers(0, 10_000),
)  # fmt: skip
def test_a_simulated_run_trains_every_question_once_and_none_too_late(
    size: int, ahead: int, steps: int, workers: int, deaths: float, seed: int
) -> None:
    """Questions take random times, some without mercy; workers take one at a time, and now and then lose it."""
    rng = random.Random(seed)
    waiting: list[str] = []
    given_at: dict[str, int] = {}  # with a worker
    made: list[str] = []
    versions: dict[str, int] = {}
    left: dict[str, int] = {}  # rounds until it is made
    trained: list[str] = []
    following = 0

    def work(version: int) -> None:
        while waiting and len(given_at) < workers:
            name = waiting.pop(0)
            given_at[name], left[name] = version, rng.choice((1, 1, 2, 30))
        for name in list(given_at):
            left[name] -= 1
            if rng.random() < deaths:
                waiting.insert(0, name)
                del given_at[name]
            elif left[name] <= 0:
                versions[name] = given_at.pop(name)
                made.append(name)

    for done in range(steps):
        out = len(waiting) + len(given_at) + len(made)
        more = min(ahead + 1, steps - done) * size - out
        waiting += [str(number) for number in range(following, following + more)]
        following += more
        for _ in range(20_000):
            known = {**{n: v + ahead for n, v in {**given_at, **versions}.items()}, **dict.fromkeys(waiting, NEVER)}
            taken = choose(made, known, done, size)
            if taken is not None:
                break
            work(done)
        assert taken is not None, "a step waits for ever"
        assert len(taken) == size and all(0 <= done - versions[name] <= ahead for name in taken)
        for name in taken:
            made.remove(name)
            del versions[name]
        trained += taken
        for _ in range(rng.randrange(4)):  # while the learner works
            work(done)
    assert sorted(map(int, trained)) == list(range(steps * size))
