"""Several tasks as one: each problem belongs to one of them, in fixed shares, and is graded by it.

task = Mixture((Countdown(), Logic()), (3.0, 1.0))
task.problem("train", 0).task      # the name of the task that it is of
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from aha.errors import UserError
from aha.protocols import Marks, Task
from aha.types import Outcome, Problem, Split

CYCLE = 100  # problems over which the shares are kept


def cycle_of(shares: Sequence[float]) -> tuple[int, ...]:
    """Members' numbers for `CYCLE` problems: always the one that is furthest behind its share.

    >>> cycle_of([3, 1])[:8]
    (0, 1, 0, 0, 0, 1, 0, 0)
    """
    total, given = sum(shares), [0] * len(shares)
    order = []
    for place in range(1, CYCLE + 1):
        behind = [share / total * place - count for share, count in zip(shares, given, strict=True)]
        member = max(range(len(shares)), key=lambda m: (round(behind[m], 9), -m))
        given[member] += 1
        order.append(member)
    return tuple(order)


@dataclass(frozen=True)
class Mixture:
    """The task. It never ends: a member of so many problems begins again by itself."""

    tasks: tuple[Task, ...]
    shares: tuple[float, ...]
    name: str = field(default="mixture")

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise UserError(f"two tasks are both named {max(names, key=names.count)!r}; mix tasks of different names")
        for task, share in zip(self.tasks, self.shares, strict=True):
            if share * CYCLE < sum(self.shares):
                raise UserError(
                    f"task {task.name!r} has a share of {share:g}; give at least 1 in {CYCLE}, or leave it out"
                )

    @cached_property
    def _cycle(self) -> tuple[int, ...]:
        return cycle_of(self.shares)

    @cached_property
    def _members(self) -> dict[str, Task]:
        return {task.name: task for task in self.tasks}

    def size(self, split: Split) -> int | None:
        return None

    def problem(self, split: Split, index: int) -> Problem:
        rounds, place = divmod(index, CYCLE)
        member = self._cycle[place]
        number = rounds * self._cycle.count(member) + self._cycle[:place].count(member)
        return self.tasks[member].problem(split, number)

    def member(self, problem: Problem) -> Task:
        """The task that `problem` is of."""
        return self._members[problem.task]

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        return self.member(problem).grade(problem, answer)

    def gold(self, problem: Problem) -> str:
        return self.member(problem).gold(problem)

    def wrong(self, problem: Problem) -> str:
        return self.member(problem).wrong(problem)

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        return self.member(problem).vote_key(problem, answer)

    def marks(self, problem: Problem, response: str) -> Mapping[str, float]:
        """What the problem's own task knows of a response, if it knows anything."""
        member = self.member(problem)
        return member.marks(problem, response) if isinstance(member, Marks) else {}
