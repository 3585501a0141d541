"""Countdown: make a target from three (or four) numbers, each used once, with + - * (and / where asked for).

    task = Countdown()
    problem = task.problem("train", 0)
    task.grade(problem, task.gold(problem))   # Score(1.0, ...)

Targets are reached through whole numbers from 0 to 99, so that a tiny model has a token for every value on the way.
The checker is wider: any expression over the given numbers and operators that equals the target is right.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from aha.tasks.expression import evaluate
from aha.tasks.splits import split_of
from aha.types import Message, Outcome, Problem, Score, Split

LARGEST = 99
OPERATORS = "+-*/"


def apply(operator: str, a: int, b: int) -> int | None:
    """`a operator b` where it is a whole number from 0 to 99, else None."""
    if operator == "/":
        return a // b if b and a % b == 0 else None
    result = a + b if operator == "+" else a - b if operator == "-" else a * b
    return result if 0 <= result <= LARGEST else None


def key_of(numbers: tuple[int, ...], target: int) -> str:
    """What the problem asks, whatever the order of its numbers."""
    return f"countdown {sorted(numbers)} {target}"


def solutions(numbers: tuple[int, ...], operators: str = OPERATORS) -> dict[int, str]:
    """Every target that `numbers` reach through whole numbers from 0 to 99, with one expression for it."""
    return dict(_reach([(n, str(n)) for n in numbers], operators))


def _reach(pool: list[tuple[int, str]], operators: str) -> Iterator[tuple[int, str]]:
    if len(pool) == 1:
        value, text = pool[0]
        yield value, text[1:-1]
    for (i, (a, left)), (j, (b, right)) in itertools.permutations(enumerate(pool), 2):
        rest = [entry for k, entry in enumerate(pool) if k not in (i, j)]
        for operator in operators:
            result = apply(operator, a, b) if i < j or operator in "-/" else None
            if result is not None:
                yield from _reach([*rest, (result, f"({left}{operator}{right})")], operators)


def draw(rng: random.Random, count: int, largest: int, operators: str = "+-*") -> tuple[tuple[int, ...], int, str]:
    """Distinct random numbers, a target drawn evenly from those that they reach, and an expression that reaches it."""
    while True:
        numbers = tuple(rng.sample(range(1, largest + 1), count))
        reachable = solutions(numbers, operators)
        targets = sorted(set(reachable) - {0, *numbers})
        if targets:
            target = rng.choice(targets)
            return numbers, target, reachable[target]


def question(numbers: tuple[int, ...], target: int, language: str, operators: str = "+-*") -> str:
    """The words of the problem, in English or Chinese."""
    if language == "zh":
        return f"用{'、'.join(map(str, numbers))}各一次，经过{operators}得到{target}。"
    return f"Using each of {', '.join(map(str, numbers))} once and {' '.join(operators)}, make {target}."


@dataclass(frozen=True, slots=True)
class Countdown:
    """The task. `numbers` a problem, each from 1 to `largest`; a `chinese` share of the questions is in Chinese."""

    numbers: int = 3
    largest: int = 14
    operators: str = "+-*"
    chinese: float = 0.0
    seed: int = 0
    name: str = "countdown"

    def size(self, split: Split) -> int | None:
        return None

    def problem(self, split: Split, index: int) -> Problem:
        seed = self.seed if split == "train" else 0  # runs of different seeds are measured on the same problems
        rng = random.Random(f"{self.name} {seed} {split} {index}")
        while True:
            numbers, target, solution = draw(rng, self.numbers, self.largest, self.operators)
            if split_of(key_of(numbers, target)) == split:
                break
        language = "zh" if rng.random() < self.chinese else "en"
        return Problem(
            id=f"{self.name}-{split}-{index}",
            task=self.name,
            messages=(Message("user", question(numbers, target, language, self.operators)),),
            reference=solution,
            language=language,
            hidden={"numbers": numbers, "target": target, "operators": self.operators},
        )

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        numbers, target = problem.hidden["numbers"], problem.hidden["target"]
        if answer is None:
            return Score(0.0, "no answer")
        expression, _, stated = answer.partition("=")
        result = evaluate(expression)
        if stated and ((right := evaluate(stated)) is None or right.value != target):
            return Score(0.0, f"says = {stated[:60]}, asked was {target}")
        if result is None:
            return Score(0.0, f"not an arithmetic expression: {answer[:60]!r}")
        if sorted(result.numbers) != sorted(numbers):
            return Score(0.0, f"uses {list(result.numbers)}, given were {list(numbers)}")
        if not result.operators <= set(problem.hidden["operators"]):
            return Score(0.0, f"uses {' '.join(sorted(result.operators))}, given were {problem.hidden['operators']}")
        if result.value != target:
            return Score(0.0, f"{answer[:60]} = {result.value}, not {target}")
        return Score(1.0, f"{answer[:60]} = {target}")

    def gold(self, problem: Problem) -> str:
        return problem.reference

    def wrong(self, problem: Problem) -> str:
        return "+".join(str(n) for n in problem.hidden["numbers"]) + "+0"

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        """The value and the numbers used: all right answers vote together, wrong ones with what equals them."""
        result = evaluate(answer.split("=")[0])
        return None if result is None else f"{result.value} from {sorted(result.numbers)}"
