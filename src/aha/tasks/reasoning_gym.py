"""Questions of reasoning-gym, graded by our own readers. Needs `pip install reasoning-gym`.

    task = ReasoningGym(families="gcd, syllogism")
    task.grade(task.problem("test", 0), "12")

The library is asked for questions and gold answers only, never for a score. A problem's split is a hash of its
question, so that none is in both, whatever the seeds. Items are drawn at places that a hash spreads over 2**48: with
seeds of the library's own, s and s+1 share all items but one. Each gold answer is read by its grader before it is used.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from aha.errors import UserError, nearest
from aha.tasks.reasoning_gym_graders import GRADERS, Grader
from aha.tasks.splits import split_of
from aha.types import Message, Outcome, Problem, Score, Split

FAMILIES: dict[str, str] = {  # reasoning-gym's name -> grader
    "chain_sum": "number",
    "basic_arithmetic": "number",
    "simple_equations": "number",
    "gcd": "number",
    "lcm": "number",
    "leg_counting": "number",
    "letter_counting": "number",
    "number_sequence": "number",
    "products": "number",
    "count_bits": "number",
    "count_primes": "number",
    "decimal_arithmetic": "decimal",
    "fraction_simplification": "fraction",
    "base_conversion": "digits",
    "spell_backward": "word",
    "caesar_cipher": "word",
    "family_relationships": "word",
    "word_sequence_reversal": "list",
    "syllogism": "yes_no",
    "time_intervals": "duration",
}
ALL = "all"
ATTEMPTS = 500  # draws for one problem; one in six questions is test


@dataclass(frozen=True, slots=True)
class ReasoningGym:
    """The task: `families` are names with commas between them, or "all"; problems go round them in order."""

    families: str = ALL
    seed: int = 0
    name: str = "reasoning-gym"

    def __post_init__(self) -> None:
        for family in self.chosen:
            if family not in FAMILIES:
                raise UserError(f"unknown family {family!r} of task {self.name!r}{nearest(family, FAMILIES)}")
            _source(family)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The families' names."""
        return tuple(FAMILIES) if self.families == ALL else tuple(n.strip() for n in self.families.split(","))

    def size(self, split: Split) -> int | None:
        return None

    def problem(self, split: Split, index: int) -> Problem:
        """Problem `index` of `split`. Raises UserError where a family has no question for the split."""
        family = self.chosen[index % len(self.chosen)]
        seed = self.seed if split == "train" else 0  # runs of different seeds are measured on the same problems
        grader = GRADERS[FAMILIES[family]]
        for attempt in range(ATTEMPTS):
            item = _source(family)[_place(f"{family} {seed} {split} {index} {attempt}")]
            question, gold = item["question"], item["answer"]
            if split_of(_key(question)) == split and isinstance(gold, str) and grader.key(gold) is not None:
                return Problem(
                    id=f"{self.name}-{split}-{index}",
                    task=self.name,
                    messages=(Message("user", question.strip()),),
                    reference=gold,
                    hidden={"family": family},
                )
        raise UserError(f"family {family!r} has too few questions for the {split} split; choose another one")

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        """1 where `answer` reads as the gold answer does."""
        if answer is None:
            return Score(0.0, "no answer")
        key = _grader(problem).key(answer)
        if key is None:
            return Score(0.0, f"not {_WANTED[FAMILIES[problem.hidden['family']]]}: {answer[:60]!r}")
        right = key == _grader(problem).key(problem.reference)
        return Score(float(right), f"read {key[:60]!r}, expected {problem.reference[:60]!r}")

    def gold(self, problem: Problem) -> str:
        return problem.reference

    def wrong(self, problem: Problem) -> str:
        return _grader(problem).wrong(problem.reference)

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        """What the family's grader reads in `answer`."""
        return _grader(problem).key(answer)


_WANTED = {
    "number": "one number",
    "decimal": "one number",
    "fraction": "one fraction",
    "digits": "one number in digits",
    "word": "one line of text",
    "list": "words with commas between them",
    "yes_no": "yes or no",
    "duration": "a duration",
}


def _grader(problem: Problem) -> Grader:
    return GRADERS[FAMILIES[problem.hidden["family"]]]


def _key(question: str) -> str:
    """What a question asks, whatever its case and white space."""
    return "reasoning-gym " + " ".join(question.casefold().split())


def _place(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")


@functools.cache
def _source(family: str) -> Any:
    """The library's data set of a family; its items are made when they are asked for, from their place alone."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise UserError("task 'reasoning-gym' needs the library: pip install reasoning-gym") from error
    return reasoning_gym.create_dataset(family, seed=0, size=2**48)
