"""Who writes the pages of the web: language, care, patience, habits, and the words for them.

author = Author.draw(rng)
author.say(rng, TURN_BACK)      # " wait, ", or now and then the other language's
"""

from __future__ import annotations

import random
from dataclasses import dataclass

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
FITS: Words = {"en": (" yes, ",), "zh": ("对，",)}  # on one example, with others to come
GIVE_UP: Words = {"en": (" i give up.", " too hard.", " not sure."), "zh": ("我放弃。", "太难了。", "不确定。")}
GUESS: Words = {"en": (" i guess.", " probably."), "zh": ("我猜的。", "大概。")}
CHECK: Words = {"en": (" let me check, ", " verify, "), "zh": ("检查，", "验证，")}
SO: Words = {"en": (" so it is ",), "zh": ("所以是",)}

PHRASES = (TURN_BACK, MOVE_ON, OPENING, NO, YES, FITS, GIVE_UP, GUESS, CHECK, SO)

# (chance of giving up after a failed try, chance of saying so when turning to another first step)
PATIENCE = ((0.9, 0.3), (0.45, 0.5), (0.2, 0.8), (0.03, 0.95))


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


def full_stop(author: Author, trace: str) -> str:
    """`trace` with its last sentence closed."""
    return trace.rstrip("，, ") + ("." if author.language == "en" else "。")
