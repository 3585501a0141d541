r"""Answers that are no mathematics: letters of a multiple choice, words, and numbers in a base. Each compared exactly.

    read_choice("C) 14")          -> Choice("C", "14")
    read_words(r"\text{Evelyn}.") -> "evelyn"
    read_base("1A_{16}")          -> BaseNumber(26, 16)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aha.rewards.maths.normalise import Tokens, Unreadable, clean, tokens
from aha.rewards.maths.quantity import without_leading_words

_BOX = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|mathrm|mathbf|mathit|boldsymbol|bm|boxed|fbox) ?\{([^{}]*)\}")
_SPACING = re.compile(r"\\[,;:! ]|\\quad|\\left|\\right|[~$*]|\s+")
_LEAD = r"(?:(?:the )?(?:correct |final )?(?:answer|option|choice)(?: is)? ?:? ?)?"
_CHOICE = re.compile(
    rf"{_LEAD}(?:\((?P<a>[A-Ja-j])\) ?[.:]?(?P<ra>.*)|(?P<b>[A-Ja-j]) ?[).:](?P<rb>.*)|(?P<c>[A-Ja-j]))", re.I | re.S
)
_SECOND = re.compile(r"\s*(?:[,;/&]|and\b|or\b|\(?[A-J]\)(?!\w))", re.I)

NO_SOLUTION = "no solution"
_NO_SOLUTION = frozenset(
    ("no solution", "no solutions", "no solution s", "there is no solution", "there are no solutions", "none exist",
     "no real solution", "no real solutions", "the empty set", "empty set", "has no solution", "has no solutions",
     "无解", "\\emptyset", "does not exist", "dne")
)  # fmt: skip
_ARTICLES = frozenset(("the", "a", "an"))
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_NAMED = r"([0-9]{1,2}|[a-z]{3,8})"
_BASE = re.compile(rf"\(?([0-9A-Za-z]{{1,200}})\)? ?(?:_ ?\{{? ?\(?{_NAMED}\)? ?\}}?|\(?base ?{_NAMED}\)?)")
_DIGITS = re.compile(r"\(?([0-9A-Za-z]{1,200})\)?")


@dataclass(frozen=True, slots=True)
class Choice:
    """The letter of an option, and what was written behind it."""

    letter: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class BaseNumber:
    """The value of a number, and the base that it is written in."""

    value: int
    base: int


def _unboxed(text: str) -> str:
    """`text` with text boxes opened and LaTeX spacing as one space."""
    for _ in range(3):
        text = _BOX.sub(r"\1", text)
    return clean(_SPACING.sub(" ", text).strip())


def read_choice(text: str, *, any_case: bool = True) -> Choice | None:
    """The one option that `text` picks, A to J; None where it picks none or several."""
    found = _CHOICE.fullmatch(_unboxed(text))
    if found is None:
        return None
    letter = found["a"] or found["b"] or found["c"]
    rest = (found["ra"] or found["rb"] or "").strip()
    if _SECOND.match(rest) or not (any_case or letter.isupper()):
        return None
    return Choice(letter.upper(), rest)


def is_choice(text: str) -> bool:
    """Whether a gold answer is the letter of an option: `C`, `(C)`, `\\text{(C)}`, `C) 14`; upper case."""
    choice = read_choice(text, any_case=False)
    return choice is not None and (not choice.rest or re.match(r"\(?[A-J]\)", _unboxed(text)) is not None)


def read_words(text: str) -> str:
    """The words of `text` in lower case, without articles and marks. Raises Unreadable where there are none."""
    found = tokens(rf"\text{{{_unboxed(text)}}}" if "\\" not in text else text)
    words = [token.lstrip('"').lower() for token in without_leading_words(found)]
    words = [word for word in words if word not in "{}.,:;()!?\"'" and word not in _ARTICLES]
    joined = " ".join(words)
    if joined in _NO_SOLUTION or found in ((r"\{", r"\}"), ("{", "}")):
        return NO_SOLUTION
    if not joined:
        raise Unreadable("it has no words")
    return joined


def is_words(found: Tokens) -> bool:
    """Whether a gold answer is text: words and nothing else, or capital letters in a row (`ABC` is no product)."""
    plain = [token for token in found if token not in "(){}.,:;!?'-"]
    if found in ((r"\emptyset",), (r"\{", r"\}")):
        return True
    capitals = len(plain) > 1 and all(len(token) == 1 and token.isascii() and token.isupper() for token in plain)
    worded = [token for token in plain if token[0] == '"']
    letters = all(token[0] == '"' or (len(token) == 1 and token.isalpha()) for token in plain)
    return capitals or (bool(worded) and letters)


def read_base(text: str) -> BaseNumber | None:
    """`101_2`, `(101)_{2}`, `101_{\\text{two}}`, `101 base 2`; None for anything else."""
    found = _BASE.fullmatch(_unboxed(text))
    if found is None:
        return None
    name = found[2] or found[3]
    base = int(name) if name.isdigit() else _BASES.get(name, 0)
    return _in_base(found[1], base)


def read_digits(text: str, base: int) -> BaseNumber | None:
    """A number that is written without its base, read in `base`."""
    found = _DIGITS.fullmatch(_unboxed(text))
    return None if found is None else _in_base(found[1], base)


def _in_base(digits: str, base: int) -> BaseNumber | None:
    named_like_a_variable = not any(digit.isdigit() for digit in digits) and base != 16
    if not 2 <= base <= 36 or named_like_a_variable:
        return None
    try:
        return BaseNumber(int(digits, base), base)
    except ValueError:
        return None
