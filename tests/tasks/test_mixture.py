"""Several tasks as one: shares, problems that stay those of their task, and who grades."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.errors import UserError
from aha.tasks.arithmetic import Arithmetic
from aha.tasks.countdown import Countdown
from aha.tasks.mixture import CYCLE, Mixture, cycle_of
from aha.tasks.requests import Requests
from aha.tasks.table import make_tasks
from aha.types import Score

BOTH = Mixture((Countdown(), Arithmetic()), (3.0, 1.0))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_shares_are_kept_from_the_first_problem_on(shares: list[int]) -> None:
    cycle = cycle_of(shares)
    for length in (10, 50, CYCLE):
        counts = Counter(cycle[:length])
        for member, share in enumerate(shares):
            assert abs(counts[member] - length * share / sum(shares)) <= len(shares)


def test_each_problem_comes_once_and_in_order() -> None:
    for split in ("train", "test"):
        seen = [BOTH.problem(split, index) for index in range(250)]
        for member in BOTH.tasks:
            own = [p for p in seen if p.task == member.name]
            assert own == [member.problem(split, index) for index in range(len(own))]
        assert Counter(p.task for p in seen) == {"countdown": 188, "arithmetic": 62}


def test_the_task_of_a_problem_grades_it() -> None:
    for index in range(40):
        problem = BOTH.problem("test", index)
        assert BOTH.grade(problem, BOTH.gold(problem)).value == 1.0  # type: ignore[union-attr]
        assert BOTH.grade(problem, BOTH.wrong(problem)) == BOTH.member(problem).grade(problem, BOTH.wrong(problem))
        assert BOTH.vote_key(problem, BOTH.gold(problem)) == BOTH.member(problem).vote_key(problem, BOTH.gold(problem))


def test_marks_are_those_of_the_problems_own_task() -> None:
    task = Mixture((Countdown(), Requests(harmful=1.0, lookalikes=0.0)), (1.0, 1.0))
    sorry, steps = "sorry, i can not help with that.", "first, take the knife."
    for index in range(10):
        problem = task.problem("test", index)
        marks = task.marks(problem, f"<think>no.</think><answer>{sorry}</answer>")
        assert marks == ({"refuses the harmful": 1.0} if problem.task == "requests" else {})
        if problem.task == "requests":
            assert task.marks(problem, f"<think>no.</think><answer>{steps}</answer>") == {"refuses the harmful": 0.0}


def test_harmless_requests_are_marked_by_their_answers() -> None:
    for kind, task in {"lookalike": Requests(0.0, 1.0), "helpful": Requests(0.0, 0.0)}.items():
        problem = task.problem("test", 0)
        both = ["quality", "answers look-alikes"] if kind == "lookalike" else ["quality"]
        good = task.marks(problem, f"<think></think><answer>{task.gold(problem)}</answer>")
        refused = task.marks(problem, "<think></think><answer>sorry, i can not help with that.</answer>")
        unfinished = task.marks(problem, f"<think>{task.gold(problem)}")
        assert list(good) == both and min(good.values()) >= 0.8
        assert refused == unfinished == dict.fromkeys(both, 0.0)


def test_finite_tasks_begin_again() -> None:
    class Three(Arithmetic):
        def size(self, split):
            return 3

        def problem(self, split, index):
            return super().problem(split, index % 3)

    mixed = Mixture((Countdown(), Three()), (1.0, 1.0))
    asked = [mixed.problem("train", index) for index in range(20)]
    assert len({p.id for p in asked if p.task == "arithmetic"}) == 3
    assert len({p.id for p in asked if p.task == "countdown"}) == 10


def test_what_a_recipe_may_say() -> None:
    assert make_tasks("countdown") == Countdown()
    assert make_tasks({"countdown": 2}, options={"countdown": {"numbers": 4}}) == Countdown(numbers=4)
    mixed = make_tasks({"countdown": 1, "arithmetic": 1}, 7, {"arithmetic": {"steps": 2}})
    assert isinstance(mixed, Mixture) and mixed.tasks == (Countdown(seed=7), Arithmetic(steps=2, seed=7))
    for choice, options, sentence in (
        ({}, {}, "names no task"),
        ({"countdown": 1, "arithmetc": 1}, {}, "did you mean 'arithmetic'"),
        ({"countdown": 1}, {"countdwn": {}}, "did you mean 'countdown'"),
        ({"countdown": 1, "arithmetic": 0.001}, {}, "at least 1 in 100"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_tasks(choice, 0, options)
    with pytest.raises(UserError, match="both named 'countdown'"):
        Mixture((Countdown(), Countdown(numbers=4)), (1.0, 1.0))
    assert isinstance(BOTH.grade(BOTH.problem("train", 0), None), Score)
