"""Where a step's groups come from, when workers make them: two `Source`s of `training/collect.py`.

    source = Within(pool, books)             # K = 0: a step's questions are asked for when it begins
    source = Ahead(pool, books, ahead=2)     # K = 2: questions of two more steps are on their way
    source.begin(done, source_state)         # also after a checkpoint
    loop = Loop(..., source=source)

A question has the number that it has without workers, so its problem, prompt and random numbers are the same; with
K = 0 and one worker everything is, to the last bit. With more, steps take the groups that come first (`choose.py`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from aha.distributed.rollout.books import Books
from aha.distributed.rollout.choose import NEVER, choose
from aha.distributed.rollout.pool import GroupOf, Pool
from aha.distributed.rollout.questions import Question
from aha.protocols import Engine
from aha.training.collect import Collected, Collector, Source, collect, group_of, preferred, question
from aha.training.shaping import Graded
from aha.types import Problem, Prompt

Asked = tuple[Problem, Prompt]
Placed = tuple[int, Graded]  # the problem's place in the train split, and its group


class Resumed(Source, Protocol):
    """A source that knows where it was."""

    def begin(self, done: int, state: Mapping[str, Any]) -> None:
        """Go on after `done` steps; `state` is empty at the start of a stage."""
        ...

    def state(self) -> dict[str, Any]:
        """What `begin` needs to go on, beside the number of steps."""
        ...


class Within:
    """K = 0: all of a step's questions, each worker's share in one call, of the weights that the step learns from."""

    def __init__(self, pool: Pool, books: Books, questions: int, attempts: int) -> None:
        self._pool, self._books = pool, books
        self._numbers = questions * attempts  # of a step
        self._step, self._last = 0, time.perf_counter()

    def begin(self, done: int, state: Mapping[str, Any]) -> None:
        """As `Resumed` says."""
        self._books.began(done, done * self._numbers, {})

    def state(self) -> dict[str, Any]:
        """As `Resumed` says: nothing is outstanding between steps."""
        return {}

    def __call__(self, collector: Collector, engine: Engine, done: int, attempts: int) -> Collected:
        """As `Source` says."""
        self._step = done + 1
        found = collect(collector, engine, done, attempts, self._attempt)
        now = time.perf_counter()
        values = {**self._pool.figures(), **figures(found.groups, done, now - self._last)}
        self._last = now
        places = range(done * self._numbers, done * self._numbers + len(found.groups))
        return Collected(found.groups, None, values, tuple(places))

    def _attempt(
        self, collector: Collector, engine: Engine, number: int, preferences: Sequence[str]
    ) -> tuple[list[Graded], float | None]:
        count = collector.stage.rollouts.questions
        asked = [question(collector, number * count + place) for place in range(count)]
        questions = [_question(number * count + place, *one) for place, one in enumerate(asked)]
        names = [question.name for question in questions]
        self._pool.ask(questions, collector.sampling, whole=True)
        self._pool.until(lambda: set(names) <= set(self._pool.made()) or None)
        groups = self._pool.take(names, self._step)
        return _graded(collector, preferences, asked, groups), None


class Ahead:
    """K >= 1: questions are asked for until those of K + 1 steps are out."""

    def __init__(self, pool: Pool, books: Books, ahead: int) -> None:
        self._pool, self._books, self._ahead = pool, books, ahead
        self._next = self._samples = 0
        self._again: list[int] = []  # outstanding when the process before ended
        self._asked: dict[str, Asked] = {}
        self._looked: dict[str, Graded] = {}  # groups that were found mixed, and wait to be taken
        self._last = time.perf_counter()

    def begin(self, done: int, state: Mapping[str, Any]) -> None:
        """As `Resumed` says."""
        self._next, self._samples = state.get("next", 0), state.get("samples", 0)
        self._again = list(state.get("outstanding", ()))
        self._books.began(done, self._next, dict.fromkeys(map(str, self._again), self._samples))

    def state(self) -> dict[str, Any]:
        """As `Resumed` says: the numbers that are asked for and not taken are sampled again."""
        numbers = sorted({*map(int, self._asked), *self._again})
        return {"next": self._next, "outstanding": numbers, "samples": self._samples}

    def __call__(self, collector: Collector, engine: Engine, done: int, attempts: int) -> Collected:
        """As `Source` says."""
        began = time.perf_counter()
        self._ask(collector, done)
        found = self._plain(collector, done) if attempts == 1 else self._mixed(collector, done, attempts)
        groups = [group for _, group in found]
        now = time.perf_counter()
        values = {
            **self._pool.figures(), **figures(groups, done, now - self._last), "time/waited_s": now - began,
            "rollout/outstanding": float(len(self._asked)),
        }  # fmt: skip
        values["rollout/tokens_per_s"] = values["rollout/accepted_tokens_per_s"]  # sampling goes on beside learning
        assert values["rollout/staleness_max"] <= self._ahead, "no group is taken after its deadline"
        self._last = now
        return Collected(groups, None, values, tuple(place for place, _ in found))

    def _ask(self, collector: Collector, done: int) -> None:
        """Hand out the questions that may be out at the version `done`."""
        r = collector.stage.rollouts
        room = min(self._ahead + 1, collector.stage.steps - done) * r.questions - len(self._asked)
        first, self._next = self._next, self._next + max(0, room - len(self._again))
        numbers = [*self._again, *range(first, self._next)]
        self._again, self._samples = [], r.group
        new = {str(number): question(collector, number) for number in numbers}
        self._asked |= new
        if new:
            self._pool.ask([_question(int(name), *one) for name, one in new.items()], collector.sampling)

    def _plain(self, collector: Collector, done: int) -> list[Placed]:
        """A group for each question of a step."""
        size = collector.stage.rollouts.questions
        names = self._pool.until(lambda: choose(self._made(), self._deadlines(), done, size))
        return self._take(collector, sorted(names, key=int), done)

    def _mixed(self, collector: Collector, done: int, attempts: int) -> list[Placed]:
        """Groups that are mixed, as many as a step has questions, and the others that came until then."""
        size = collector.stage.rollouts.questions
        others: list[Placed] = []
        while True:
            enough = len(others) + len(self._looked) >= attempts * size
            fresh, names = self._pool.until(functools.partial(self._found, done, size, 0 if enough else size))
            if not fresh:
                break
            for name in fresh:
                self._look(collector, name, done, others)
            self._ask(collector, done)
        return [*self._take(collector, sorted(names, key=int), done), *others]

    def _found(self, done: int, size: int, least: int) -> tuple[list[str], list[str]] | None:
        """Groups that were not looked at, or those that the step takes."""
        made = self._made()
        if fresh := [name for name in made if name not in self._looked]:
            return fresh, []
        names = choose(made, self._deadlines(), done, size, least)
        return None if names is None else ([], names)

    def _look(self, collector: Collector, name: str, done: int, others: list[Placed]) -> None:
        """Keep a mixed group to be trained; what is not is taken at once, and not trained."""
        (group,) = _graded(collector, collector.active(done), [self._asked[name]], [self._pool.look(name)])
        if group.mixed:
            self._looked[name] = group
        else:
            self._pool.take([name], done + 1)
            del self._asked[name]
            others.append((int(name), replace(group, trained=False)))

    def _take(self, collector: Collector, names: Sequence[str], done: int) -> list[Placed]:
        made = self._pool.take(names, done + 1)
        asked = [self._asked.pop(name) for name in names]
        looked = [self._looked.pop(name) for name in names if name in self._looked]
        groups = looked or _graded(collector, collector.active(done), asked, made)
        return list(zip(map(int, names), groups, strict=True))

    def _made(self) -> list[str]:
        return [name for name in self._pool.made() if name in self._asked]

    def _deadlines(self) -> dict[str, int]:
        versions = {name: entry.version for name, entry in self._books.entries.items() if name in self._asked}
        return {name: NEVER if version is None else version + self._ahead for name, version in versions.items()}


def figures(groups: Sequence[Graded], done: int, seconds: float) -> dict[str, float]:
    """How many versions old the tokens of a step are, and how many came a second."""
    completions = [rollout.completion for group in groups for rollout in group.rollouts_G]
    tokens = sum(len(completion.ids) for completion in completions)
    late = sum(done - version for completion in completions for version in completion.versions)
    return {
        "rollout/staleness_mean": late / tokens,
        "rollout/staleness_max": float(max(done - completion.oldest for completion in completions)),
        "rollout/accepted_tokens_per_s": tokens / seconds,
    }


def _question(number: int, problem: Problem, prompt: Prompt) -> Question:
    return Question(str(number), prompt, number, problem.id)


def _graded(
    collector: Collector, preferences: Sequence[str], asked: Sequence[Asked], made: Sequence[GroupOf]
) -> list[Graded]:
    """Groups as a step learns from them: texts are read from the tokens, and reward models give their scores."""
    pairs = [
        [(collector.dialogue.read(problem, prompt.ids, completion), verdict) for completion, verdict in group]
        for (problem, prompt), group in zip(asked, made, strict=True)
    ]
    return [group_of(one) for one in preferred(collector, preferences, pairs)]
