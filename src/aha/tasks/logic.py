"""Logic puzzles with lettered options, in English and Chinese: who is the tallest, and who tells the truth.

    task = Logic()
    problem = task.problem("train", 0)
    task.grade(problem, task.gold(problem))   # Score(1.0, ...)

    puzzle = draw(random.Random(13))          # an Ordering or a TruthTellers
    puzzle.question("en")                     # "Vi is younger than Di. ... Who is the oldest? (A) Di (B) Ed (C) Vi"
    puzzle.options("en")[puzzle.right]        # "Ed"

Clues fix the whole order, and one way alone of telling truth and lies apart agrees with all statements. A puzzle holds
numbers of people, so that both languages ask the same.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from aha.tasks.splits import split_of
from aha.types import Message, Outcome, Problem, Score, Split

LETTERS = string.ascii_uppercase
NAMES: dict[str, tuple[str, ...]] = {
    "en": ("Bo", "Cy", "Di", "Ed", "Jo", "Li", "Mo", "Su", "Ty", "Vi"),
    "zh": tuple("甲乙丙丁戊己庚辛壬癸"),
}

# The words for more and for less of each relation.
RELATIONS: tuple[dict[str, tuple[str, str]], ...] = (
    {"en": ("tall", "short"), "zh": ("高", "矮")},
    {"en": ("old", "young"), "zh": ("大", "小")},
    {"en": ("fast", "slow"), "zh": ("快", "慢")},
    {"en": ("rich", "poor"), "zh": ("富", "穷")},
)
REDUNDANT = 0.25  # share of orderings with one clue more than the order needs
_RANKS = {"en": ("", "second ", "third "), "zh": ("最", "第二", "第三")}

# What people say of another one.
CLAIMS: dict[str, dict[str, str]] = {
    "lies": {"en": "OTHER lies", "zh": "OTHER说谎"},
    "true": {"en": "OTHER tells the truth", "zh": "OTHER说真话"},
    "like": {"en": "OTHER is like me", "zh": "OTHER和我一样"},
    "unlike": {"en": "OTHER is unlike me", "zh": "OTHER和我不同"},
    "both": {"en": "OTHER and I lie", "zh": "OTHER和我都说谎"},
}
States = tuple[bool, ...]  # who tells the truth, in the order in which people speak

_LETTER = re.compile(r"([A-Za-z])[.。]?|\(([A-Za-z])\)[.。]?|（([A-Za-z])）[.。]?")


@dataclass(frozen=True, slots=True)
class Clue:
    """Two people of whom one is taller (older, ...); `inverse` says so by the other one: "Cy is shorter than Bo"."""

    more: int
    less: int
    inverse: bool


@dataclass(frozen=True, slots=True)
class Ordering:
    """People in a strict order, told by clues. `least` asks from the end of the order: for the shortest.

    People are numbers in `NAMES`; `relation` is one in `RELATIONS`; `choices` are the people by option.
    """

    relation: int
    order: tuple[int, ...]  # the tallest first
    clues: tuple[Clue, ...]
    least: bool
    rank: int  # 1 asks for the tallest, 2 for the second tallest
    choices: tuple[int, ...]
    kind: ClassVar[str] = "ordering"

    @property
    def asked(self) -> tuple[int, ...]:
        """All people, from the end of the order that is asked for."""
        return self.order[::-1] if self.least else self.order

    @property
    def right(self) -> str:
        """The letter of the right option."""
        return LETTERS[self.choices.index(self.asked[self.rank - 1])]

    @property
    def key(self) -> str:
        """What is asked, whatever the clues, the options and the language; the shortest is the last of the tall."""
        place = self.order.index(self.asked[self.rank - 1])
        return f"logic {RELATIONS[self.relation]['en'][0]} {list(self.order)} {place}"

    def options(self, language: str) -> dict[str, str]:
        """The names by letter."""
        return dict(zip(LETTERS, (NAMES[language][person] for person in self.choices), strict=False))

    def target(self, language: str) -> str:
        """What is looked for: `the second tallest`, `第二高`."""
        word, rank = RELATIONS[self.relation][language][self.least], _RANKS[language][self.rank - 1]
        return f"the {rank}{word}est" if language == "en" else rank + word

    def question(self, language: str) -> str:
        """The words of the problem, in English or Chinese."""
        clues = [self.told(clue, language) for clue in self.clues]
        if language == "zh":
            return f"{''.join(clues)}谁{self.target(language)}？ {_listed(self.options(language))}"
        return f"{' '.join(clues)} Who is {self.target(language)}? {_listed(self.options(language))}"

    def told(self, clue: Clue, language: str) -> str:
        """A clue in words: `Cy is shorter than Bo.`"""
        names, word = NAMES[language], RELATIONS[self.relation][language][clue.inverse]
        one, other = (clue.less, clue.more) if clue.inverse else (clue.more, clue.less)
        if language == "zh":
            return f"{names[one]}比{names[other]}{word}。"
        return f"{names[one]} is {word}er than {names[other]}."


@dataclass(frozen=True, slots=True)
class Claim:
    """What someone says of another one: a row of `CLAIMS`, and the place of the other one among the people."""

    word: str
    other: int

    def holds(self, speaker: int, states: States) -> bool:
        """Whether it is true where `states` says who tells the truth."""
        own, other = states[speaker], states[self.other]
        by_word = {
            "lies": not other, "true": other, "like": own == other, "unlike": own != other, "both": not (own or other),
        }  # fmt: skip
        return by_word[self.word]


@dataclass(frozen=True, slots=True)
class TruthTellers:
    """People of whom each always tells the truth or always lies, and what each says of another one."""

    people: tuple[int, ...]
    claims: tuple[Claim, ...]  # one each
    choices: tuple[States, ...]
    kind: ClassVar[str] = "truth"

    @property
    def right(self) -> str:
        """The letter of the right option."""
        (found,) = consistent(self.claims)
        return LETTERS[self.choices.index(found)]

    @property
    def key(self) -> str:
        """What is asked, whatever the options, the language and who speaks first."""
        said = [(self.people[i], claim.word, self.people[claim.other]) for i, claim in enumerate(self.claims)]
        return f"logic truth {sorted(said)}"

    def options(self, language: str) -> dict[str, str]:
        """Who tells the truth, by letter."""
        return dict(zip(LETTERS, (self._who(states, language) for states in self.choices), strict=False))

    def target(self, language: str) -> str:
        """What is looked for."""
        return "真话" if language == "zh" else "the truth"

    def question(self, language: str) -> str:
        """The words of the problem, in English or Chinese."""
        names = [NAMES[language][person] for person in self.people]
        claims = [self.claim(speaker, language) for speaker in range(len(names))]
        options = _listed(self.options(language))
        if language == "zh":
            said = "".join(f"{name}说：{claim}。" for name, claim in zip(names, claims, strict=True))
            return f"{'、'.join(names)}每人总说真话或总说谎。{said}谁说真话？ {options}"
        said = " ".join(f"{name} says: {claim}." for name, claim in zip(names, claims, strict=True))
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        return f"Each of {listed} always tells the truth or always lies. {said} Who tells the truth? {options}"

    def claim(self, speaker: int, language: str) -> str:
        """What person number `speaker` says: `Cy lies`."""
        said = self.claims[speaker]
        return CLAIMS[said.word][language].replace("OTHER", NAMES[language][self.people[said.other]])

    def _who(self, states: States, language: str) -> str:
        names = [NAMES[language][person] for person, honest in zip(self.people, states, strict=True) if honest]
        if not names:
            return "没有人" if language == "zh" else "nobody"
        if len(names) == len(states):
            return "所有人" if language == "zh" else "all" if len(names) > 2 else "both"
        if len(names) == 1:
            return f"只有{names[0]}" if language == "zh" else f"only {names[0]}"
        return ("和" if language == "zh" else " and ").join(names)


Puzzle = Ordering | TruthTellers


@functools.cache
def consistent(claims: tuple[Claim, ...]) -> tuple[States, ...]:
    """Every way of telling truth and lies apart that agrees with what is said: who tells the truth says true things."""
    return tuple(
        states
        for states in itertools.product((True, False), repeat=len(claims))
        if all(claim.holds(speaker, states) == states[speaker] for speaker, claim in enumerate(claims))
    )


def draw(rng: random.Random, people: int = 4) -> Puzzle:
    """A random puzzle: an ordering of 3 to `people` people or one of truth-tellers, half and half."""
    return draw_ordering(rng, people) if rng.random() < 0.5 else draw_truth_tellers(rng)


def draw_ordering(rng: random.Random, people: int = 4) -> Ordering:
    """A random order of 3 to `people` people; every neighbour is told, now and then another pair as well."""
    count = rng.randint(3, people)
    order = tuple(rng.sample(range(len(NAMES["en"])), count))
    pairs = list(itertools.pairwise(order))
    if rng.random() < REDUNDANT:
        pairs.append(rng.choice([pair for pair in itertools.combinations(order, 2) if pair not in pairs]))
    rng.shuffle(pairs)
    return Ordering(
        relation=rng.randrange(len(RELATIONS)),
        order=order,
        clues=tuple(Clue(more, less, rng.random() < 0.5) for more, less in pairs),
        least=rng.random() < 0.5,
        rank=rng.choice([rank for rank in (1, 1, 2, 3) if rank < count]),
        choices=tuple(rng.sample(order, count)),
    )


def draw_truth_tellers(rng: random.Random) -> TruthTellers:
    """Two people with all 4 options, or three with 3 of the 8: one after the other can be tried on a short page."""
    count = rng.choice((2, 3))
    people = tuple(rng.sample(range(len(NAMES["en"])), count))
    while True:
        others = [rng.choice([other for other in range(count) if other != speaker]) for speaker in range(count)]
        claims = tuple(Claim(rng.choice(list(CLAIMS)), other) for other in others)
        if len(found := consistent(claims)) == 1:
            break
    wrong = [states for states in itertools.product((True, False), repeat=count) if states != found[0]]
    choices = [found[0], *rng.sample(wrong, 3 if count == 2 else 2)]
    return TruthTellers(people, claims, tuple(rng.sample(choices, len(choices))))


def read(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that `answer` names: `B`, `b`, `(B)`, `B.` or the option's very text; else None."""
    text = answer.strip()
    if found := _LETTER.fullmatch(text):
        letter = next(group for group in found.groups() if group).upper()
        return letter if letter in options else None
    return next((letter for letter, option in options.items() if option == text), None)


def _listed(options: Mapping[str, str]) -> str:
    return " ".join(f"({letter}) {text}" for letter, text in options.items())


@dataclass(frozen=True, slots=True)
class Logic:
    """The task: half orderings of 3 to `people` people, half truth-tellers; a `chinese` share is in Chinese."""

    people: int = 4
    chinese: float = 0.0
    seed: int = 0
    name: str = "logic"

    def size(self, split: Split) -> int | None:
        return None

    def problem(self, split: Split, index: int) -> Problem:
        seed = self.seed if split == "train" else 0  # runs of different seeds are measured on the same problems
        rng = random.Random(f"{self.name} {seed} {split} {index}")
        while True:
            puzzle = draw(rng, self.people)
            if split_of(puzzle.key) == split:
                break
        language = "zh" if rng.random() < self.chinese else "en"
        options = puzzle.options(language)
        return Problem(
            id=f"{self.name}-{split}-{index}",
            task=self.name,
            messages=(Message("user", puzzle.question(language)),),
            reference=puzzle.right,
            language=language,
            hidden={"kind": puzzle.kind, "options": options, "right": puzzle.right, "structure": puzzle.key},
        )

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        if answer is None:
            return Score(0.0, "no answer")
        options, right = problem.hidden["options"], problem.hidden["right"]
        chosen = read(answer, options)
        if chosen is None:
            return Score(0.0, f"names no single one of the options {', '.join(options)}: {answer[:60]!r}")
        return Score(float(chosen == right), f"chose {chosen}, expected {right}")

    def gold(self, problem: Problem) -> str:
        return problem.reference

    def wrong(self, problem: Problem) -> str:
        return next(letter for letter in problem.hidden["options"] if letter != problem.reference)

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        """The letter of the option that `answer` names; None where `grade` would not read one."""
        return read(answer, problem.hidden["options"])
