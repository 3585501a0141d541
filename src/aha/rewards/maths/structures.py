r"""Sets, tuples, matrices and equations: read into their parts, which are compared one by one.

A set is equal to another in any order; `1 \pm \sqrt{2}` is two elements. A tuple keeps its order, and is neither a set
nor an interval. A matrix has its shape; a column is not a row. Two equations are the same where one is a constant, not
zero, times the other; an inequality keeps its direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import aha.rewards.maths.quantity as quantity
from aha.rewards.maths.normalise import Tokens, Unreadable
from aha.rewards.maths.quantity import Arithmetic, Quantity, is_name, split, without_leading_words
from aha.rewards.maths.syntax import Node, branches, parse

MAX_PARTS = 60  # of a set, a tuple or a matrix
MAX_NESTING = 5
_BETWEEN = (",", ";", '"and', '"or', '"AND', '"OR', '"和', '"或')
RELATIONS = ("=", "<", "<=", ">", ">=", "!=")
_MATRICES = ("pmatrix", "bmatrix", "Bmatrix", "matrix", "smallmatrix", "array")
_BRACKETS = {"(": ")", "[": "]", r"\langle": r"\rangle"}

Item = Quantity | str | tuple["Item", ...]  # a value, words, or a tuple of items
Matrix = tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """`left` `sign` `right`, the sign one of = != < <=, and the sides' tokens."""

    sign: str
    left: Tokens
    right: Tokens


def read_item(found: Tokens, depth: int = 0) -> tuple[Item, ...]:
    """One element of a set or a tuple; two where it holds a sign ±."""
    if found and all(token[0] == '"' for token in found):
        return (" ".join(token[1:].lower() for token in found),)
    inside = _inside(found)
    if inside is not None and len(parts := split(inside, (",", ";"))) > 1:
        if depth == MAX_NESTING or len(parts) > MAX_PARTS:
            raise Unreadable("it has too many parts")
        items = [read_item(part, depth + 1) for part in parts]
        if any(len(item) != 1 for item in items):
            raise Unreadable("a sign ± stands inside a tuple")
        return (tuple(item[0] for item in items),)
    read = quantity.read(found)
    ways = [branches(side) for side in read.sides]
    count = max(map(len, ways))
    return tuple(Quantity(tuple(way[n % len(way)] for way in ways), read.unit) for n in range(count))


def same_item(gold: Item, answer: Item, arithmetic: Arithmetic) -> bool:
    """Whether two items are equal; items of different kinds are not."""
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return quantity.same(gold, answer, arithmetic)
    if isinstance(gold, tuple) and isinstance(answer, tuple):
        return len(gold) == len(answer) and all(
            same_item(a, b, arithmetic) for a, b in zip(gold, answer, strict=True)
        )
    return isinstance(gold, str) and gold == answer


def _inside(found: Tokens) -> Tokens | None:
    """What stands between the brackets of a tuple: `(a, b)`, `<a, b>`, and `[a, b, c]`, which is no interval."""
    if len(found) < 3 or found[0] not in _BRACKETS or found[-1] != _BRACKETS[found[0]]:
        return None
    inside = found[1:-1]
    if _closes_early(inside) or (found[0] == "[" and len(split(inside, (",",))) < 3):
        return None
    return inside


def _closes_early(inside: Tokens) -> bool:
    """Whether a bracket that stood before `inside` is closed in it: `(1,2)` of `(1,2),(3,4)`."""
    depth = 0
    for token in inside:
        depth += (token in ("(", "[", r"\langle")) - (token in (")", "]", r"\rangle"))
        if depth < 0:
            return True
    return False


def read_set(found: Tokens) -> tuple[Item, ...]:
    r"""The elements of `1, 2`, `\{1, 2\}`, `{1, 2}`, `x = 1 \text{ or } x = 2`, `1 \pm \sqrt{2}`. Raises Unreadable."""
    found = without_leading_words(found)
    if len(found) > 2 and is_name(found[:1]) and found[1] == r"\in":
        found = found[2:]
    sides = split(found, ("=",))
    if len(sides) == 2 and is_name(sides[0]):
        found = sides[1]
    if len(found) > 2 and (found[0], found[-1]) in ((r"\{", r"\}"), ("{", "}")):
        found = found[1:-1]
    parts = [part for part in split(found, _BETWEEN) if part]
    if len(parts) > MAX_PARTS:
        raise Unreadable(f"it has more than {MAX_PARTS} elements")
    names = {part[0] for part in parts if "=" in part and is_name(split(part, ("=",))[0])}
    if len(names) > 1:
        raise Unreadable("it gives values of several variables")
    return tuple(item for part in parts for item in read_item(part))


def same_set(gold: tuple[Item, ...], answer: tuple[Item, ...], arithmetic: Arithmetic) -> bool:
    """Whether every element of each is in the other."""
    return all(any(same_item(a, b, arithmetic) for b in answer) for a in gold) and all(
        any(same_item(a, b, arithmetic) for a in gold) for b in answer
    )


def read_tuple(found: Tokens, *, bare: bool = False) -> tuple[Item, ...]:
    r"""The entries of `(1, 2)`, `\langle 1, 2 \rangle`, `(x, y) = (1, 2)`, a column; in order. Raises Unreadable.

    `bare`: also of `1, 2` and of `x = 1, y = 2`, the names in alphabetical order.
    """
    found = without_leading_words(found)
    sides = split(found, ("=",))
    if len(sides) == 2 and (is_name(sides[0]) or _is_tuple_of_names(sides[0])):
        found = sides[1]
    if found and found[0].startswith(r"\begin{"):
        rows = read_matrix(found)
        if any(len(row) != 1 for row in rows):
            raise Unreadable("it is a matrix")
        return tuple(Quantity(row) for row in rows)
    inside = _inside(found)
    if inside is None and bare:
        inside = found
        names = [split(part, ("=",))[0] for part in split(found, (",", '"and')) if "=" in part]
        if names != sorted(names):
            raise Unreadable("its variables are in no order")
    parts = split(inside or (), (",", ";", '"and'))
    if not 1 < len(parts) <= MAX_PARTS:
        raise Unreadable("it is no tuple")
    items = [read_item(part, 1) for part in parts]
    if any(len(item) != 1 for item in items):
        raise Unreadable("a sign ± stands inside a tuple")
    return tuple(item[0] for item in items)


def _is_tuple_of_names(found: Tokens) -> bool:
    inside = _inside(found)
    return inside is not None and all(is_name(part) for part in split(inside, (",",)))


def read_matrix(found: Tokens) -> Matrix:
    r"""The rows of a `pmatrix` or its like, or of `[[1, 2], [3, 4]]`. A factor may stand before. Raises Unreadable."""
    sides = split(found, ("=",))
    if len(sides) == 2 and is_name(sides[0]):
        found = sides[1]
    begin = next((place for place, token in enumerate(found) if token.startswith(r"\begin{")), None)
    if begin is None:
        return _checked([[parse(cell) for cell in split(row, (",",))] for row in _lists(found)])
    name = found[begin][7:-1]
    if name not in _MATRICES:
        raise Unreadable(f"{name} is no matrix")
    factor, body = found[:begin], found[begin + 1 :]
    if factor[-1:] in (("[",), ("(",)) and body[-1:] in (("]",), (")",)):
        factor, body = factor[:-1], body[:-1]
    if body[-1:] != (rf"\end{{{name}}}",) or any(token.startswith(r"\begin") for token in body):
        raise Unreadable("the matrix is not closed")
    rows = [split(row, ("&",)) for row in split(body[:-1], (r"\\",)) if row]
    scale = parse(factor[:-1] if factor[-1:] == ("*",) else factor) if factor else None
    cells = [[parse(cell) for cell in row] for row in rows]
    return _checked([[Node("multiply", (scale, cell)) if scale else cell for cell in row] for row in cells])


def _lists(found: Tokens) -> list[Tokens]:
    """The rows of a list of lists."""
    if len(found) < 5 or found[0] not in ("[", "(") or found[-1] not in ("]", ")"):
        raise Unreadable("it is no matrix")
    rows = split(found[1:-1], (",",))
    if any(len(row) < 3 or row[0] not in ("[", "(") or row[-1] not in ("]", ")") for row in rows):
        raise Unreadable("it is no matrix")
    return [row[1:-1] for row in rows]


def _checked(rows: list[list[Node]]) -> Matrix:
    if not rows or len({len(row) for row in rows}) != 1:
        raise Unreadable("the rows of the matrix have different lengths")
    if len(rows) * len(rows[0]) > MAX_PARTS:
        raise Unreadable(f"the matrix has more than {MAX_PARTS} entries")
    return tuple(tuple(row) for row in rows)


def same_matrix(gold: Matrix, answer: Matrix, arithmetic: Arithmetic) -> bool:
    """Whether shape and entries are the same."""
    if (len(gold), len(gold[0])) != (len(answer), len(answer[0])):
        return False
    return all(
        arithmetic.equal(a, b)
        for ours, theirs in zip(gold, answer, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def read_relations(found: Tokens) -> tuple[Relation, ...]:
    """The relations of `y = 2x + 3`, of `x = 1, y = 2` and of a chain `a = b = c`. Raises Unreadable."""
    relations: list[Relation] = []
    for part in split(without_leading_words(found), _BETWEEN):
        signs = [token for token in part if token in RELATIONS]
        sides = split(part, RELATIONS)
        if len(sides) != len(signs) + 1 or not signs:
            raise Unreadable("it is no equation")
        for sign, left, right in zip(signs, sides, sides[1:], strict=False):
            if sign[0] == ">":
                sign, left, right = "<" + sign[1:], right, left
            relations.append(Relation(sign, left, right))
    if len(relations) > 10:
        raise Unreadable("it has more than 10 equations")
    for relation in relations:
        difference(relation)
    return tuple(relations)


def difference(relation: Relation) -> Node:
    """The left side minus the right. Raises Unreadable."""
    return Node("add", (parse(relation.left), Node("negative", (parse(relation.right),))))


def assigned(relations: tuple[Relation, ...]) -> Node | None:
    """What a single equation gives as the value: 5 of `x = 5`, `2x` of `f(x) = 2x`; None for any other."""
    if len(relations) != 1 or relations[0].sign != "=" or not is_name(relations[0].left):
        return None
    value = parse(relations[0].right)
    return value if "(" in relations[0].left or not value.symbols else None


def same_relations(gold: tuple[Relation, ...], answer: tuple[Relation, ...], arithmetic: Arithmetic) -> bool:
    """Whether each has its like in the other."""

    def same(a: Relation, b: Relation) -> bool:
        if a.sign != b.sign:
            return False
        if (a.left, a.right) == (b.left, b.right):
            return True
        sign = arithmetic.proportional(difference(a), difference(b))
        return sign != 0 and (sign > 0 or a.sign in ("=", "!="))

    return all(any(same(a, b) for b in answer) for a in gold) and all(any(same(a, b) for a in gold) for b in answer)
