"""Data for reward models, by rules that are known: which of two answers is better, and whether a response is safe.

    pairs(1000, seed=0, split="train")[0]        # Preference(problem, chosen, rejected, margin=1.75)
    labelled(1000, seed=0, split="train")[0]     # Labelled(problem, response, safe=True)

Source: DeepSeek-R1, arXiv 2501.12948 v2, the helpful reward model: each pair is judged four times, with the two answers
assigned to A and B anew so that no place is favoured, the scores are averaged, only pairs that differ by more than 1
are kept, and chosen and rejected answers are of comparable length. The judge there is a model; here it is the truth of
`aha.tasks.requests` with the faults of a judge: noise, and a liking for the answer that it reads first.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from aha.tasks.request_words import HELPING, REFUSALS, REFUSING, Request, thought
from aha.tasks.requests import (
    Requests,
    complying,
    flawed_answers,
    good_answers,
    longer,
    quality,
    request_of,
    safe,
    views,
    whole,
)
from aha.types import Problem, Split

NOISE = 0.08  # standard deviation of the judge's error, in quality
BIAS = 0.08  # by how much the answer that stands first looks better
EVEN, CLEAR = 0.1, 0.35  # differences that are called A=B; that are called A>>B
APART = 1  # by how much the mean judgement has to differ from A=B
BUCKET = 2  # characters by which two differences in length may differ and still balance each other
GOOD = 0.5  # chance that a candidate is a good answer
SERVED_AFTER_ALL = 0.25  # chance that an unsafe answer refuses first


@dataclass(frozen=True, slots=True)
class Preference:
    """Two responses to a problem; `margin` is the mean of four judgements, from 1 (just better) to 2 (A>>B)."""

    problem: Problem
    chosen: str
    rejected: str
    margin: float

    @property
    def chosen_summary(self) -> str:
        """What a user reads of the better one."""
        return views(self.chosen)[1]

    @property
    def rejected_summary(self) -> str:
        """What a user reads of the other one."""
        return views(self.rejected)[1]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A response that is safe or not: it refuses what is harmful, and nothing else."""

    problem: Problem
    response: str
    safe: bool

    @property
    def summary(self) -> str:
        """What a user reads of it."""
        return views(self.response)[1]


def pairs(count: int, seed: int, split: Split) -> list[Preference]:
    """`count` judged pairs about helpful requests and look-alikes, balanced in length.

    They come in twos of one language: where the chosen response is so much longer in one, it is so much shorter in the
    other. What has no counterpart is dropped, so that length says nothing about which one is chosen.
    """
    return list(itertools.islice(_balanced(_judged(seed, split)), count))


def judge(rng: random.Random, first: float, second: float) -> int:
    """One judgement of two answers of known quality: A>>B 2, A>B 1, A=B 0, B>A -1, B>>A -2."""
    difference = first + BIAS - second + rng.gauss(0, NOISE)
    strength = 0 if abs(difference) < EVEN else 1 if abs(difference) < CLEAR else 2
    return strength if difference > 0 else -strength


def verdict(rng: random.Random, a: float, b: float) -> float:
    """The mean of four judgements, two in each order; above 0 where `a` is better."""
    return sum(judge(rng, a, b) - judge(rng, b, a) for _ in range(2)) / 4


def _judged(seed: int, split: Split) -> Iterator[Preference]:
    """Pairs that the judge tells apart, without end."""
    task = Requests(harmful=0.0, seed=seed)
    for index in itertools.count():
        problem = task.problem(split, index)
        rng = random.Random(f"pairs {seed} {problem.id}")
        request = request_of(problem)
        a, b = (whole(thought(request), _candidate(rng, request)) for _ in "AB")
        mean = verdict(rng, quality(problem, a), quality(problem, b))
        if abs(mean) > APART:
            yield Preference(problem, *((a, b) if mean > 0 else (b, a)), abs(mean))


def _candidate(rng: random.Random, request: Request) -> str:
    """A good answer, short or long, or one with a flaw. Both kinds come in all lengths."""
    if rng.random() < GOOD:
        return longer(rng, request, rng.choice(good_answers(request)), rng.choice((0, 0, 1, 2, 3, 4)))
    return rng.choice(list(flawed_answers(rng, request).values()))


def _balanced(found: Iterator[Preference]) -> Iterator[Preference]:
    """Those of `found` that come in twos: with differences in length of the same size, one each way."""
    waiting: dict[tuple[str, int], list[Preference]] = {}
    for pair in found:
        difference = len(pair.chosen) - len(pair.rejected)
        size = (abs(difference) + BUCKET - 1) // BUCKET
        language, sign = pair.problem.language, 1 if difference > 0 else -1
        if size == 0:
            yield pair
        elif waiting.get((language, -sign * size)):
            yield waiting[language, -sign * size].pop(0)
            yield pair
        else:
            waiting.setdefault((language, sign * size), []).append(pair)


def labelled(count: int, seed: int, split: Split) -> list[Labelled]:
    """`count` responses: in turn a harmful request refused and served, a look-alike answered and refused."""
    return list(itertools.islice(_labelled(seed, split), count))


def _labelled(seed: int, split: Split) -> Iterator[Labelled]:
    harmful, lookalikes = Requests(harmful=1.0, lookalikes=0.0, seed=seed), Requests(0.0, 1.0, seed=seed)
    for index in itertools.count():
        for task in (harmful, lookalikes):
            for refused in (True, False) if task is harmful else (False, True):
                problem = task.problem(split, 2 * index + refused)
                response = _response(random.Random(f"labelled {seed} {problem.id} {refused}"), problem, refused)
                yield Labelled(problem, response, safe(problem, response))


def _response(rng: random.Random, problem: Problem, refused: bool) -> str:
    """A response that refuses or does not; half of the time its thinking says so before."""
    request = request_of(problem)
    language = request.language
    if refused:
        answer = rng.choice(REFUSALS[language])
    elif request.kind == "harmful":
        answer = complying(rng, language)
        if rng.random() < SERVED_AFTER_ALL:
            answer = f"{rng.choice(REFUSALS[language])} {answer}"
    else:
        answer = longer(rng, request, rng.choice(good_answers(request)), rng.choice((0, 0, 1, 2)))
    ends = (REFUSING if refused else HELPING)[language]
    return whole(thought(request) + (rng.choice(ends) if rng.random() < 0.5 else ""), answer)
