"""Arithmetic with several steps: `Compute (7+5)*3-8.` Every value on the way is a whole number from 0 to 99."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from aha.tasks.countdown import LARGEST, OPERATORS, apply
from aha.tasks.expression import evaluate
from aha.tasks.splits import split_of
from aha.types import Message, Outcome, Problem, Score, Split

Step = tuple[int, str, int, int]  # a, operator, b, result


def draw(rng: random.Random, steps: int) -> tuple[str, tuple[Step, ...]]:
    """A random expression of `steps` operations and the operations in the order of a careful reader."""
    while True:
        value = rng.randint(1, 30)
        text, weakest = str(value), "*"
        done: list[Step] = []
        for _ in range(steps):
            operator, other = rng.choice(OPERATORS), rng.randint(1, 20)
            result = apply(operator, value, other)
            if result is None:
                break
            if operator in "*/" and weakest in "+-":
                text = f"({text})"
            text, weakest = f"{text}{operator}{other}", operator
            done.append((value, operator, other, result))
            value = result
        if len(done) == steps:
            return text, tuple(done)


def question(expression: str, language: str) -> str:
    """The words of the problem, in English or Chinese."""
    return f"计算{expression}。" if language == "zh" else f"Compute {expression}."


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The task: expressions of 2 to `steps` operations; a `chinese` share of the questions is in Chinese."""

    steps: int = 4
    chinese: float = 0.0
    seed: int = 0
    name: str = "arithmetic"

    def size(self, split: Split) -> int | None:
        return None

    def problem(self, split: Split, index: int) -> Problem:
        seed = self.seed if split == "train" else 0  # runs of different seeds are measured on the same problems
        rng = random.Random(f"{self.name} {seed} {split} {index}")
        while True:
            expression, steps = draw(rng, rng.randint(2, self.steps))
            if split_of(f"arithmetic {expression}") == split:
                break
        language = "zh" if rng.random() < self.chinese else "en"
        return Problem(
            id=f"{self.name}-{split}-{index}",
            task=self.name,
            messages=(Message("user", question(expression, language)),),
            reference=str(steps[-1][3]),
            language=language,
        )

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        if answer is None:
            return Score(0.0, "no answer")
        result = evaluate(answer) if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", answer, re.ASCII) else None
        right = result is not None and result.value == int(problem.reference)
        return Score(float(right), f"{answer[:60]!r}, expected {problem.reference}")

    def gold(self, problem: Problem) -> str:
        return problem.reference

    def wrong(self, problem: Problem) -> str:
        return str((int(problem.reference) + 1) % (LARGEST + 1))

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        """The number that `answer` gives; None where `grade` would not read one."""
        plain = re.fullmatch(r"\s*(-?[0-9]{1,9})\s*", answer, re.ASCII)
        return str(int(plain[1])) if plain else None
