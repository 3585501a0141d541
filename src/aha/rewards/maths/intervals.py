r"""Sets of real numbers as unions of intervals: `(3,4]`, `x < 2 \text{ or } x > 3`, `\mathbb{R} \setminus \{2\}`.

    read(tokens("3 < x <= 4"))                     -> Region(tree, variable="x")
    canonical(read(tokens("(3,4]")).tree, arithmetic) -> ((3, False, 4, True),)

Two descriptions are equal where their sorted, merged intervals have the same ends, open or closed alike.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from aha.rewards.maths.normalise import Tokens, Unreadable
from aha.rewards.maths.quantity import Arithmetic, is_name, split
from aha.rewards.maths.syntax import INFINITY, Node, infinite, parse

Interval = tuple[Node, bool, Node, bool]  # low end, whether it belongs, high end, whether it belongs
Intervals = tuple[Interval, ...]
MAX_PIECES = 40
_MINUS_INFINITY = Node("negative", (INFINITY,))
LINE: Interval = (_MINUS_INFINITY, False, INFINITY, False)
_RELATIONS = ("<", "<=", ">", ">=", "!=")
_OR = (r"\cup", '"or', '"或')
_AND = (r"\cap", '"and', '"且')
_ALL = frozenset(("all", "real", "numbers", "number", "every", "reals", "实数", "全体实数"))


@dataclass(frozen=True, slots=True)
class Tree:
    """How a region is put together: pieces of an "interval", or an "or", "and", "minus" of other trees."""

    head: Literal["interval", "or", "and", "minus"]
    intervals: Intervals = ()
    args: tuple[Tree, ...] = ()


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers and the name of the variable that it was given for ("" where none was)."""

    tree: Tree
    variable: str = ""


def is_region(found: Tokens) -> bool:
    """Whether a gold answer is a region: brackets of an interval, a union, or an inequality of one variable."""
    if any(token in found for token in (r"\cup", r"\R")):
        return True
    if r"\in" in found or r"\infty" in found or any(token in found for token in _RELATIONS):
        return "=" not in found
    return bool(found) and ((found[0] == "[") != (found[-1] == "]") or (found[0], found[-1]) == ("[", "]"))


def read(found: Tokens) -> Region:
    """The region that the tokens describe. Raises Unreadable."""
    if sum(token in (r"\{", "|", ":") for token in found) > MAX_PIECES:
        raise Unreadable(f"it has more than {MAX_PIECES} pieces")
    names: set[str] = set()
    tree = _read(found, names)
    if len(names) > 1:
        raise Unreadable("it speaks of several variables")
    return Region(tree, next(iter(names), ""))


def same(gold: Region, answer: Region, arithmetic: Arithmetic) -> bool:
    """Whether both are the same set, of the same variable where both name one."""
    if gold.variable and answer.variable and gold.variable != answer.variable:
        return False
    if gold.tree == answer.tree:
        return True
    ours, theirs = canonical(gold.tree, arithmetic), canonical(answer.tree, arithmetic)
    return len(ours) == len(theirs) and all(
        a[1] == b[1] and a[3] == b[3] and not _order(a[0], b[0], arithmetic) and not _order(a[2], b[2], arithmetic)
        for a, b in zip(ours, theirs, strict=True)
    )


def _read(found: Tokens, names: set[str]) -> Tree:
    if len(found) > 2 and found[1] == r"\in":
        if not is_name(found[:1]):
            raise Unreadable(r"what stands before \in is no variable")
        names.add(found[0])
        found = found[2:]
    for separators, head in ((_OR, "or"), (_AND, "and"), ((r"\setminus",), "minus")):
        parts = split(found, separators)
        if len(parts) > MAX_PIECES:
            raise Unreadable(f"it has more than {MAX_PIECES} pieces")
        if len(parts) > 1:
            return Tree(head, args=tuple(_read(part, names) for part in parts))  # type: ignore[arg-type]
    return _atom(found, names)


def _atom(found: Tokens, names: set[str]) -> Tree:
    if found == (r"\R",) or (found and all(token.lstrip('"').lower() in _ALL for token in found)):
        return Tree("interval", (LINE,))
    if any(token in _RELATIONS for token in found) and not (found[0] == r"\{" and found[-1] == r"\}"):
        return _inequality(found, names)
    if len(found) < 3:
        raise Unreadable("it is no interval")
    opening, inside, closing = found[0], found[1:-1], found[-1]
    if (opening, closing) == (r"\{", r"\}"):
        for separator in ("|", ":"):
            parts = split(inside, (separator,))
            if len(parts) == 2:
                head = parts[0]
                return Tree("and", args=(_domain(head, names), _read(parts[1], names)))
        points = [parse(part) for part in split(inside, (",",))]
        return Tree("or", args=tuple(Tree("interval", ((point, True, point, True),)) for point in points))
    ends = split(inside, (",", ";"))
    if opening not in ("(", "[") or closing not in (")", "]") or len(ends) != 2:
        raise Unreadable("it is no interval")
    low, high = parse(ends[0]), parse(ends[1])
    return Tree("interval", ((low, opening == "[" and not infinite(low), high, closing == "]" and not infinite(high)),))


def _domain(found: Tokens, names: set[str]) -> Tree:
    r"""What stands before the bar of `\{x \in \mathbb{R} | ...\}`."""
    if len(found) == 1 and is_name(found):
        names.add(found[0])
        return Tree("interval", (LINE,))
    return _read(found, names)


def _inequality(found: Tokens, names: set[str]) -> Tree:
    """`1 < x <= 2`, `x > 3`, `3 >= x`, `x != 2`: a variable between constants."""
    parts = split(found, _RELATIONS)
    signs = [token for token in found if token in _RELATIONS]
    variables = [place for place, part in enumerate(parts) if is_name(part) and part not in (("e",), ("i",))]
    if len(parts) not in (2, 3) or len(signs) != len(parts) - 1 or len(variables) != 1:
        raise Unreadable("it is no inequality of one variable")
    place = variables[0]
    names.add("".join(parts[place]))
    atoms = [
        _half_line(signs[other if other < place else place], parse(part), flipped=other < place)
        for other, part in enumerate(parts)
        if other != place
    ]
    if len(atoms) == 2 and (place != 1 or signs[0][0] != signs[1][0] or "!=" in signs):
        raise Unreadable("it is no inequality of one variable")
    return atoms[0] if len(atoms) == 1 else Tree("and", args=tuple(atoms))


def _half_line(sign: str, end: Node, flipped: bool) -> Tree:
    """The values of x with x `sign` `end`, or `end` `sign` x where it is flipped."""
    if end.symbols:
        raise Unreadable("its ends are no constants")
    if sign == "!=":
        point = Tree("interval", ((end, True, end, True),))
        return Tree("minus", args=(Tree("interval", (LINE,)), point))
    closed = sign.endswith("=") and not infinite(end)
    if (sign[0] == "<") != flipped:
        return Tree("interval", ((_MINUS_INFINITY, False, end, closed),))
    return Tree("interval", ((end, closed, INFINITY, False),))


def _order(left: Node, right: Node, arithmetic: Arithmetic) -> int:
    """-1, 0 or 1 as `left` is smaller than, equal to or greater than `right`."""
    a, b = infinite(left), infinite(right)
    if a or b:
        return (a > b) - (a < b)
    if arithmetic.equal(left, right):
        return 0
    return -1 if arithmetic.less(left, right) else 1


def canonical(tree: Tree, arithmetic: Arithmetic) -> Intervals:
    """Disjoint intervals in order, none of which touches the next. Raises Unreadable where ends are the wrong way."""
    parts = [canonical(argument, arithmetic) for argument in tree.args]
    match tree.head:
        case "interval":
            for interval in tree.intervals:
                if _order(interval[0], interval[2], arithmetic) > 0:
                    raise Unreadable("the ends of an interval are in the wrong order")
            return _merged(tree.intervals, arithmetic)
        case "or":
            return _merged(tuple(interval for part in parts for interval in part), arithmetic)
        case "and":
            return functools.reduce(lambda a, b: _intersection(a, b, arithmetic), parts)
        case "minus":
            rest = [_complement(part, arithmetic) for part in parts[1:]]
            return functools.reduce(lambda a, b: _intersection(a, b, arithmetic), rest, parts[0])


def _merged(intervals: Intervals, arithmetic: Arithmetic) -> Intervals:
    def compare(a: Interval, b: Interval) -> int:
        return _order(a[0], b[0], arithmetic) or b[1] - a[1]

    merged: list[Interval] = []
    for low, low_in, high, high_in in sorted(_not_empty(intervals, arithmetic), key=functools.cmp_to_key(compare)):
        if merged:
            first, first_in, last, last_in = merged[-1]
            gap = _order(low, last, arithmetic)
            if gap < 0 or (gap == 0 and (low_in or last_in)):
                beyond = _order(high, last, arithmetic)
                end = (high, high_in) if beyond > 0 else (last, last_in or (beyond == 0 and high_in))
                merged[-1] = (first, first_in, *end)
                continue
        merged.append((low, low_in, high, high_in))
    return tuple(merged)


def _not_empty(intervals: Intervals, arithmetic: Arithmetic) -> Intervals:
    kept = []
    for low, low_in, high, high_in in intervals:
        order = _order(low, high, arithmetic)
        if order < 0 or (order == 0 and low_in and high_in):
            kept.append((low, low_in, high, high_in))
    return tuple(kept)


def _intersection(left: Intervals, right: Intervals, arithmetic: Arithmetic) -> Intervals:
    found: list[Interval] = []
    for a in left:
        for b in right:
            low = _order(a[0], b[0], arithmetic)
            high = _order(a[2], b[2], arithmetic)
            start = (b[0], b[1]) if low < 0 else (a[0], a[1] and (low > 0 or b[1]))
            end = (a[2], a[3]) if high < 0 else (b[2], b[3] and (high > 0 or a[3]))
            found.append((*start, *end))
    return _merged(tuple(found), arithmetic)


def _complement(intervals: Intervals, arithmetic: Arithmetic) -> Intervals:
    """The rest of the line, of disjoint intervals in order."""
    found: list[Interval] = []
    low, low_in = _MINUS_INFINITY, False
    for first, first_in, last, last_in in intervals:
        found.append((low, low_in, first, not first_in and not infinite(first)))
        low, low_in = last, not last_in and not infinite(last)
    return _not_empty((*found, (low, low_in, INFINITY, False)), arithmetic)
