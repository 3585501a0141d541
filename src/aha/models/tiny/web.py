"""The "web" that the tiny base models are pretrained on: reasoning documents of mixed quality, in English and Chinese.

    author = Author.draw(rng)          # who writes: language, care, patience, habits
    document(rng) -> str               # one page, `<|endoftext|>` not included

No page is made to score under a reward. Authors search for a solution by trying and checking; most lose patience after
a few tries and guess, some never calculate, a few are thorough. Some turn back aloud ("wait", 「等等」), some change
language in mid-sentence, and only part of them write in the tag format. Every calculation is right, as on a web page
written with a calculator; what differs is how far its author goes. No page holds a test problem of any task.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from aha.tasks import arithmetic, countdown
from aha.tasks.splits import split_of

Words = dict[str, tuple[str, ...]]

TURN_BACK: Words = {
    "en": (" wait, ", " but wait, ", " however, ", " hmm, wait, "),
    "zh": ("等等，", "不过，", "但是，", "等一下，"),
}
MOVE_ON: Words = {"en": (" next, ", " then "), "zh": ("再看", "接着")}
OPENING: Words = {
    "en": (" let me try. ", " we need TARGET. ", " "),
    "zh": ("我来试试。", "目标是TARGET。", ""),
}
NO: Words = {"en": (" no, ",), "zh": ("不行，",)}
YES: Words = {"en": (" yes!", " found it!"), "zh": ("对了！", "找到了！")}
GIVE_UP: Words = {"en": (" i give up.", " too hard.", " not sure."), "zh": ("我放弃。", "太难了。", "不确定。")}
GUESS: Words = {"en": (" i guess.", " probably."), "zh": ("我猜的。", "大概。")}
CHECK: Words = {"en": (" let me check, ", " verify, "), "zh": ("检查，", "验证，")}
SO: Words = {"en": (" so it is ",), "zh": ("所以是",)}

# Share of pages about problems without a solution. They alone come to the end of a search: without them a policy that
# has missed a solution goes round again until it is cut off.
HOPELESS = 0.06

# (chance of giving up after a failed try, chance of saying so when turning to another first step)
PATIENCE = ((0.9, 0.3), (0.45, 0.5), (0.2, 0.8), (0.03, 0.95))

Trial = tuple[int, str, int, int]  # a, operator, b, result


@dataclass(frozen=True, slots=True)
class Author:
    """Habits of one writer. Probabilities are per occasion."""

    language: str
    mixing: float  # of putting a phrase in the other language
    calculates: bool  # False: writes down a guess at once
    quits: float  # of giving up after each failed try
    orderly: bool  # goes through the tries in order, else at random
    remembers: bool  # never makes the same try twice
    turns_back: float  # of saying so when turning to another first step
    checks: float  # of going over the solution once more

    @classmethod
    def draw(cls, rng: random.Random) -> Author:
        """A random author; most are impatient, and those who are not say so when they turn back."""
        quits, turns_back = rng.choices(PATIENCE, weights=(60, 32, 5, 3))[0]
        return cls(
            language="zh" if rng.random() < 0.3 else "en",
            mixing=0.25 if rng.random() < 0.2 else 0.0,
            calculates=rng.random() > 0.15,
            quits=quits,
            orderly=rng.random() < 0.9,
            remembers=rng.random() < 0.95,
            turns_back=turns_back,
            checks=0.5 if rng.random() < 0.25 else 0.0,
        )

    def say(self, rng: random.Random, words: Words) -> str:
        """One of `words` in the author's language, now and then in the other."""
        other = {"en": "zh", "zh": "en"}[self.language]
        return rng.choice(words[other if rng.random() < self.mixing else self.language])


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
            trace = _full_stop(author, trace)
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
    return _full_stop(author, trace) + author.say(rng, GIVE_UP), wild_guess(rng, numbers)


def _full_stop(author: Author, trace: str) -> str:
    return trace.rstrip("，, ") + ("." if author.language == "en" else "。")


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


def document(rng: random.Random) -> str:
    """One page of the web."""
    kind = rng.random()
    if kind < 0.22:
        return drill(rng)
    author = Author.draw(rng)
    page = hopeless_page if kind > 1 - HOPELESS else countdown_page if kind < 0.84 else arithmetic_page
    question, trace, answer = page(rng, author)
    return lay_out(rng, author, question, trace, answer)


def lay_out(rng: random.Random, author: Author, question: str, trace: str, answer: str) -> str:
    """Put a page together: two in three are conversations, and two in three of those keep the tag format."""
    spoken = trace + author.say(rng, SO) + answer
    if rng.random() < 0.25:
        heads = {"en": ("Question:", "Solution:"), "zh": ("问题：", "解：")}[author.language]
        return f"{heads[0]} {question}\n{heads[1]}{spoken}"
    head = f"User: {question}\nAssistant:"
    style = rng.random()
    if style < 0.66:
        return f"{head}<think>{trace}</think><answer>{answer}</answer>"
    if style < 0.80:
        return f"{head}{spoken}"
    if style < 0.88:
        return f"{head}<think>{trace}<answer>{answer}</answer>"
    if style < 0.94:
        return f"{head}<think>{trace}</think>{answer}"
    return f"{head}<answer>{answer}</answer>"
