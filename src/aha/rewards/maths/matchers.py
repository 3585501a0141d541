r"""The kinds of gold answers, a row each: how one is told, how it is read, and how an answer is compared with it.

    gold = read_gold("(3,4]", "auto")                     -> Gold(kind="interval", ...)
    judge("(3,4]", "3 < x <= 4", "auto", arithmetic)      -> Verdict(right=True, why="interval: ...")

The gold alone decides the kind. An answer is read as that kind, or it is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import aha.rewards.maths.intervals as intervals
import aha.rewards.maths.quantity as quantity
import aha.rewards.maths.structures as structures
import aha.rewards.maths.words as words
from aha.errors import UserError, nearest
from aha.rewards.maths.exact import Undefined, exact
from aha.rewards.maths.normalise import Tokens, Unreadable, tokens
from aha.rewards.maths.quantity import Arithmetic, Quantity
from aha.rewards.maths.syntax import Node

SHOWN = 60  # characters of an answer in the reason of a verdict
# Commands that are read by the library, not here.
LIBRARY = frozenset(
    (r"\int", r"\iint", r"\oint", r"\sum", r"\prod", r"\lim", r"\max", r"\min", r"\det", r"\gcd", r"\lcm", r"\bmod",
     r"\pmod", r"\mod", r"\Re", r"\Im", r"\arg", r"\partial", r"\begin{cases}", r"\begin{vmatrix}", r"\hat",
     r"\overline", r"\sup", r"\inf")
)  # fmt: skip


class NeedsAlgebra(Exception):
    """Plain arithmetic does not decide; a worker process does."""


class NeedsLibrary(Exception):
    """The text is read by math-verify only."""


class GoldUnreadable(ValueError):
    """The gold answer is none of its kind; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and why, for a human."""

    right: bool
    why: str


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer that was read: its kind, its tokens, and its value as its matcher reads it (None: the library)."""

    kind: str
    found: Tokens
    value: Any


@dataclass(frozen=True, slots=True)
class Matcher:
    """`recognises` a gold by its text and tokens; `reads` it; `compares` with the text of an answer."""

    recognises: Callable[[str, Tokens], bool]
    reads: Callable[[str], Any]
    compares: Callable[[Any, str, Arithmetic], bool]


def _quick_equal(left: Node, right: Node) -> bool:
    if left == right:
        return True
    a, b = _quick_values(left, right)
    return a == b


def _quick_less(left: Node, right: Node) -> bool:
    a, b = _quick_values(left, right)
    return a < b


def _quick_values(left: Node, right: Node) -> tuple[Fraction, Fraction]:
    a, b = exact(left), exact(right)
    if a is None or b is None:
        raise NeedsAlgebra
    return a, b


def _quick_proportional(left: Node, right: Node) -> int:
    raise NeedsAlgebra


QUICK = Arithmetic(_quick_equal, _quick_less, _quick_proportional)


# choice, text, base


def _read_choice(text: str) -> words.Choice:
    choice = words.read_choice(text)
    if choice is None:
        raise Unreadable("it is not one letter from A to J")
    return choice


def _same_choice(gold: words.Choice, text: str, arithmetic: Arithmetic) -> bool:
    choice = words.read_choice(text)
    if choice is not None and choice.letter == gold.letter:
        return not (choice.rest and gold.rest) or _same_rest(gold.rest, choice.rest, arithmetic)
    return bool(choice is None and gold.rest) and _same_rest(gold.rest, text, arithmetic)


def _same_rest(gold: str, text: str, arithmetic: Arithmetic) -> bool:
    """What stands behind the letter: a value, or words."""
    try:
        return judge(gold, text, "auto", arithmetic).right
    except GoldUnreadable:
        return gold.split() == text.split()


def _same_words(gold: str, text: str, arithmetic: Arithmetic) -> bool:
    return words.read_words(text) == gold


def _read_base(text: str) -> words.BaseNumber:
    found = words.read_base(text)
    if found is None:
        raise Unreadable("it is no number with a base, such as 101_2")
    return found


def _same_base(gold: words.BaseNumber, text: str, arithmetic: Arithmetic) -> bool:
    """The same digits in the same base; an answer that leaves the base out is read in the gold's."""
    return (words.read_base(text) or words.read_digits(text, gold.base)) == gold


# number, expression


def _read_number(text: str) -> Quantity:
    gold = quantity.read(tokens(text), letter_units=True)
    if gold.value.symbols:
        raise Unreadable("it is no constant")
    if any(node.head in ("pm", "mp") for node in gold.value.nodes()):
        raise Unreadable("it is two numbers")
    exact(gold.value)
    return Quantity(gold.sides[-1:], gold.unit)


def _same_number(gold: Quantity, text: str, arithmetic: Arithmetic) -> bool:
    choice = words.read_choice(text, any_case=False)
    answer = quantity.read(tokens(choice.rest if choice and choice.rest else text), letter_units=True)
    return quantity.same(gold, answer, arithmetic)


def _read_expression(text: str) -> Quantity:
    return quantity.read(tokens(text))


def _same_expression(gold: Quantity, text: str, arithmetic: Arithmetic) -> bool:
    return quantity.same(gold, quantity.read(tokens(text)), arithmetic)


# set, tuple, interval, matrix, equation


def _read_set(text: str) -> tuple[structures.Item, ...]:
    return structures.read_set(tokens(text, commas=False))


def _same_set(gold: tuple[structures.Item, ...], text: str, arithmetic: Arithmetic) -> bool:
    return structures.same_set(gold, _read_set(text), arithmetic)


def _read_tuple(text: str) -> tuple[tuple[structures.Item, ...], intervals.Region | None]:
    """The entries of `(a, b)`, and the open interval that it may be."""
    found = tokens(text, commas=False)
    try:
        region = intervals.read(found)
    except Unreadable:
        region = None
    return structures.read_tuple(found), region


def _same_tuple(
    gold: tuple[tuple[structures.Item, ...], intervals.Region | None], text: str, arithmetic: Arithmetic
) -> bool:
    entries, region = gold
    found = tokens(text, commas=False)
    if region is not None and any(token in ("<", "<=", ">", ">=", r"\in") for token in found):
        return intervals.same(region, intervals.read(found), arithmetic)
    answer = structures.read_tuple(found, bare=True)
    return structures.same_item(entries, answer, arithmetic)


def _read_region(text: str) -> intervals.Region:
    return intervals.read(tokens(text, commas=False))


def _same_region(gold: intervals.Region, text: str, arithmetic: Arithmetic) -> bool:
    return intervals.same(gold, _read_region(text), arithmetic)


def _read_matrix(text: str) -> structures.Matrix:
    return structures.read_matrix(tokens(text, commas=False))


def _same_matrix(gold: structures.Matrix, text: str, arithmetic: Arithmetic) -> bool:
    """A column may be written as a tuple."""
    found = tokens(text, commas=False)
    if len(gold[0]) == 1 and len(gold) > 1 and found and found[0] in ("(", r"\langle"):
        column = tuple(Quantity(row) for row in gold)
        return structures.same_item(column, structures.read_tuple(found), arithmetic)
    return structures.same_matrix(gold, structures.read_matrix(found), arithmetic)


def _read_equation(text: str) -> tuple[structures.Relation, ...]:
    return structures.read_relations(tokens(text))


def _same_equation(gold: tuple[structures.Relation, ...], text: str, arithmetic: Arithmetic) -> bool:
    found = tokens(text)
    if any(token in structures.RELATIONS for token in found):
        return structures.same_relations(gold, structures.read_relations(found), arithmetic)
    value = structures.assigned(gold)
    return value is not None and quantity.same(Quantity((value,)), quantity.read(found), arithmetic)


def _is_set(text: str, found: Tokens) -> bool:
    apart = len(structures.split(found, (",", ";", '"and', '"or'))) > 1
    return apart or bool(found and found[0] == r"\{") or any(token in (r"\pm", r"\mp") for token in found)


def _is_tuple(text: str, found: Tokens) -> bool:
    try:
        return len(structures.read_tuple(tokens(text, commas=False))) > 1
    except Unreadable:
        return False


MATCHERS: dict[str, Matcher] = {  # in the order in which a gold is tried
    "choice": Matcher(lambda text, _: words.is_choice(text), _read_choice, _same_choice),
    "base": Matcher(lambda text, _: words.read_base(text) is not None, _read_base, _same_base),
    "text": Matcher(lambda _, found: words.is_words(found), words.read_words, _same_words),
    "matrix": Matcher(lambda _, found: any(t.startswith(r"\begin{") for t in found), _read_matrix, _same_matrix),
    "interval": Matcher(lambda _, found: intervals.is_region(found), _read_region, _same_region),
    "tuple": Matcher(_is_tuple, _read_tuple, _same_tuple),
    "set": Matcher(_is_set, _read_set, _same_set),
    "equation": Matcher(lambda _, found: any(t in structures.RELATIONS for t in found), _read_equation, _same_equation),
    "number": Matcher(lambda _, found: True, _read_number, _same_number),
    "expression": Matcher(lambda _, found: True, _read_expression, _same_expression),
}
KINDS = ("auto", *MATCHERS)


@functools.lru_cache(maxsize=4096)
def read_gold(text: str, kind: str) -> Gold:
    """Read a gold answer as `kind`, or as the first kind that fits ("auto").

    Raises GoldUnreadable, and UserError for an unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of answer {kind!r}{nearest(kind, KINDS)}")
    if not text.strip():
        raise GoldUnreadable("it is empty")
    reason = ""
    try:
        found = tokens(text)
        for name, matcher in MATCHERS.items():
            if kind != name and not (kind == "auto" and matcher.recognises(text, found)):
                continue
            try:
                return Gold(name, found, matcher.reads(text))
            except Unreadable as error:
                reason = reason or str(error)
    except (Unreadable, Undefined) as error:
        raise GoldUnreadable(str(error)) from error
    if kind in ("auto", "number", "expression") and LIBRARY & set(found):
        return Gold("expression" if kind == "auto" else kind, found, None)
    if kind == "auto" and any(token[0] == '"' and len(token) > 3 for token in found):
        return Gold("text", found, words.read_words(text))
    raise GoldUnreadable(reason)


def judge(gold_text: str, answer: str, kind: str, arithmetic: Arithmetic) -> Verdict:
    """Compare `answer` with the gold.

    Raises GoldUnreadable, NeedsLibrary, and what `arithmetic` raises where it cannot decide.
    """
    gold = read_gold(gold_text, kind)
    try:
        found = tokens(answer)
        if found == gold.found:
            return _verdict(gold.kind, True, answer, gold_text)
        if gold.value is None:
            raise NeedsLibrary
        return _verdict(gold.kind, MATCHERS[gold.kind].compares(gold.value, answer, arithmetic), answer, gold_text)
    except Unreadable as error:
        if gold.kind in ("number", "expression") and LIBRARY & set(_tokens_or_none(answer)):
            raise NeedsLibrary from None
        return Verdict(False, f"{gold.kind}: {shown(answer)} is not {shown(gold_text)}: {error}")
    except Undefined as error:
        return Verdict(False, f"{gold.kind}: {shown(answer)} has no value: {error}")


def _tokens_or_none(text: str) -> Tokens:
    try:
        return tokens(text)
    except Unreadable:
        return ()


def _verdict(kind: str, right: bool, answer: str, gold: str) -> Verdict:
    relation = "equals" if right else "is not"
    return Verdict(right, f"{kind}: {shown(answer)} {relation} {shown(gold)}")


def shown(text: str) -> str:
    """The beginning of an untrusted text, as a literal."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
