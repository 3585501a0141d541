"""Pages of numbers: countdown problems, with and without a solution, calculations, and sums and tables.

Every calculation is right, as on a web page written with a calculator; what differs is how far its author goes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from aha.models.tiny.web.author import (
    CHECK,
    GIVE_UP,
    GUESS,
    MOVE_ON,
    NO,
    OPENING,
    PATIENCE,
    TURN_BACK,
    YES,
    Author,
    full_stop,
)  # fmt: skip
from aha.tasks import arithmetic, countdown
from aha.tasks.splits import split_of

Trial = tuple[int, str, int, int]  # a, operator, b, result


def text_of(trial: Trial) -> str:
    """`3*5=15`."""
    a, operator, b, result = trial
    return f"{a}{operator}{b}={result}"


def operations(a: int, b: int) -> list[Trial]:
    """All that can be done with two numbers, each result once, in a fixed order."""
    found: list[Trial] = []
    for operator in "+-*":
        for x, y in ((a, b), (b, a)):
            result = countdown.apply(operator, x, y)
            if result is not None and (operator == "-" or (x, y) == (a, b)):
                found.append((x, operator, y, result))
    return found


def branches(numbers: tuple[int, ...]) -> list[tuple[Trial, tuple[int, ...]]]:
    """Every first step, with the numbers that are left after it."""
    result: list[tuple[Trial, tuple[int, ...]]] = []
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
            result.extend((step, rest) for step in operations(numbers[i], numbers[j]))
    return result


def expression(steps: tuple[Trial, ...], numbers: tuple[int, ...]) -> str:
    """One expression for a chain of steps, with the brackets that it needs."""
    pool: list[tuple[int, str, str]] = [(n, str(n), "") for n in numbers]
    for a, operator, b, result in steps:
        left = next(entry for entry in reversed(pool) if entry[0] == a)
        pool.remove(left)
        right = next(entry for entry in reversed(pool) if entry[0] == b)
        pool.remove(right)
        pool.append((result, _bracket(left, operator, False) + operator + _bracket(right, operator, True), operator))
    return pool[-1][1]


def _bracket(part: tuple[int, str, str], operator: str, is_right: bool) -> str:
    _, text, inner = part
    weaker = inner in ("+", "-") and (operator in "*/" or (is_right and operator == "-"))
    return f"({text})" if weaker or (is_right and operator == "/" and inner) else text


def wild_guess(rng: random.Random, numbers: tuple[int, ...]) -> str:
    """Some expression over the numbers, not worked out."""
    shuffled = rng.sample(numbers, len(numbers))
    text = str(shuffled[0])
    for n in shuffled[1:]:
        text += rng.choice("++-*") + str(n)
    return text


def search(rng: random.Random, author: Author, numbers: tuple[int, ...], target: int) -> tuple[str, str]:
    """An author's attempt at a countdown problem: the trace, and the answer that it ends in."""
    if not author.calculates:
        guess = wild_guess(rng, numbers)
        return author.say(rng, GUESS), guess
    trace = author.say(rng, OPENING).replace("TARGET", str(target))
    first = True
    for step, rest in _first_steps(rng, author, numbers):
        if not first:
            trace = full_stop(author, trace)
            trace += author.say(rng, TURN_BACK if rng.random() < author.turns_back else MOVE_ON)
        first = False
        trace += text_of(step) + ": "
        for chain in _finishes(rng, author, step[3], rest):
            trace += ", ".join(map(text_of, chain))
            if chain[-1][3] == target:
                solution = expression((step, *chain), numbers)
                trace += author.say(rng, YES)
                if rng.random() < author.checks:
                    trace += author.say(rng, CHECK) + ", ".join(map(text_of, (step, *chain))) + "."
                return trace, solution
            trace += author.say(rng, NO)
            if rng.random() < author.quits:
                break
        else:
            continue
        break
    return full_stop(author, trace) + author.say(rng, GIVE_UP), wild_guess(rng, numbers)


def _first_steps(
    rng: random.Random, author: Author, numbers: tuple[int, ...]
) -> Iterator[tuple[Trial, tuple[int, ...]]]:
    steps = branches(numbers)
    if not author.orderly:
        rng.shuffle(steps)
    if author.remembers:
        yield from steps
    else:
        for _ in range(len(steps)):
            yield rng.choice(steps)


def _finishes(rng: random.Random, author: Author, value: int, rest: tuple[int, ...]) -> Iterator[tuple[Trial, ...]]:
    """The ways to go on from `value` with the numbers that are left, to the last one."""
    steps = branches((value, *rest)) if len(rest) > 1 else [(step, ()) for step in operations(value, *rest)]
    if not author.orderly:
        rng.shuffle(steps)
    for step, left in steps:
        if left:
            for chain in _finishes(rng, author, step[3], left):
                yield (step, *chain)
        else:
            yield (step,)


def countdown_page(rng: random.Random, author: Author) -> tuple[str, str, str]:
    """Question, trace, answer of a countdown problem of the train split."""
    while True:
        numbers, target, _ = countdown.draw(rng, 3, 14 if rng.random() < 0.9 else 20)
        if split_of(countdown.key_of(numbers, target)) == "train":
            break
    trace, answer = search(rng, author, numbers, target)
    return countdown.question(numbers, target, author.language), trace, answer


def arithmetic_page(rng: random.Random, author: Author) -> tuple[str, str, str]:
    """Question, trace, answer of a calculation of the train split."""
    while True:
        expression_, steps = arithmetic.draw(rng, rng.randint(2, 4))
        if split_of(f"arithmetic {expression_}") == "train":
            break
    asked = arithmetic.question(expression_, author.language)
    if not author.calculates or rng.random() < author.quits / 3:
        guess = str(rng.randint(0, countdown.LARGEST))
        return asked, author.say(rng, GUESS), guess
    trace = " " + ", ".join(map(text_of, steps)) + "."
    if rng.random() < author.checks:
        trace += author.say(rng, CHECK) + ", ".join(map(text_of, steps)) + "."
    return asked, trace, str(steps[-1][3])


def drill(rng: random.Random) -> str:
    """A page of sums and tables."""
    facts: list[str] = []
    operator = rng.choice("+-*/")
    while len(facts) < rng.randint(6, 16):
        a, b = (
            (rng.randint(0, 99), rng.randint(0, 30)) if operator in "+-" else (rng.randint(0, 50), rng.randint(1, 20))
        )
        if operator == "/":
            a *= b
        result = countdown.apply(operator, a, b) if a <= countdown.LARGEST else None
        if result is not None:
            facts.append(text_of((a, operator, b, result)))
        elif rng.random() < 0.2:
            operator = rng.choice("+-*/")
    return ", ".join(facts) + "."


def hopeless_page(rng: random.Random, author: Author) -> tuple[str, str, str]:
    """A countdown problem without a solution, by an author who goes through all tries in order, once each.

    The task never asks such a problem, so that it is in neither split.
    """
    author = replace(author, calculates=True, quits=0.0, orderly=True, remembers=True, turns_back=PATIENCE[-1][1])
    numbers = tuple(rng.sample(range(1, 15), 3))
    reachable = countdown.solutions(numbers, "+-*")
    target = rng.choice([t for t in range(1, countdown.LARGEST + 1) if t not in reachable])
    trace, answer = search(rng, author, numbers, target)
    return countdown.question(numbers, target, author.language), trace, answer
