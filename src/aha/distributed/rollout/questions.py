"""Questions as they go to workers, and what a worker is made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aha.engines.native.engine import NativeEngine
from aha.errors import RunFailed
from aha.training.collect import Collector
from aha.types import Problem, Prompt


@dataclass(frozen=True, slots=True)
class Kit:
    """What a worker works with: how a stage's problems are put and graded, and an engine where it samples."""

    collector: Collector
    engine: NativeEngine | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with a name, and the problem of the train split that it is of, by its index and id; without one
    nothing grades it."""

    name: str
    prompt: Prompt
    index: int = -1
    problem: str = ""

    @property
    def graded(self) -> bool:
        """Whether it has a problem."""
        return self.index >= 0


def plain_of(question: Question) -> list[Any]:
    """A question as JSON keeps it."""
    prompt = question.prompt
    return [question.name, list(prompt.ids), prompt.n, prompt.seed, question.index, question.problem]


def question_of(plain: Sequence[Any]) -> Question:
    """Inverse of `plain_of`.

    >>> question_of(plain_of(Question("17", Prompt((5, 8), 4, 7), 17, "countdown-train-17"))).prompt.n
    4
    """
    name, ids, count, seed, index, problem = plain
    return Question(name, Prompt(tuple(ids), count, seed), index, problem)


def problem_of(collector: Collector, question: Question) -> Problem | None:
    """The problem of a question, made here. Raises RunFailed where the task makes another one than the trainer's."""
    if not question.graded:
        return None
    made = collector.task.problem("train", question.index)
    if made.id != question.problem:
        raise RunFailed(
            f"index {question.index} is problem {made.id!r} for a worker and {question.problem!r} for the trainer; "
            "give the task the same data on every machine, and no randomness but its seed's"
        )
    return made
