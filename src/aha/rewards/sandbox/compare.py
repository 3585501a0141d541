"""Is what a program gave what a test expects? Decided in the trusted process, on encoded values, with exact types.

difference(encode(3), encode(3.0))                    # "a float in place of an int"
difference(encode(0.33), encode(0.3300001), 1e-6)     # None: within the declared tolerance

What a program gave is hostile data: it is compared as it came, in time in proportion to its size, and never becomes
a set or a dict, whose keys could be made to collide.
"""

from __future__ import annotations

import json
import math
from typing import Any

from aha.rewards.sandbox.values import MAX_DEPTH, decode, encode

VIEWS = ("list", "tuple", "set", "sorted", "bool")
_SHOWN = 200  # characters of a value in an explanation


def difference(expected: Any, got: Any, tolerance: float = 0.0, depth: int = MAX_DEPTH) -> str | None:
    """None where both encoded values are equal, else where they differ. NaN equals nothing, 1 is not 1.0 nor True.

    With a `tolerance` numbers (not bools) are equal that differ by no more, whatever their types; keys and members
    of sets stay exact. Raises ValueError where `got` is no encoded value.
    """
    if depth == 0:
        raise ValueError("too deep")
    wanted, given = _kind(expected), _kind(got)
    if tolerance and {wanted, given} <= {"int", "float"}:
        a, b = decode(expected), decode(got)
        return None if a == b or _near(a, b, tolerance) else f"not within {tolerance:g}"
    if wanted != given:
        return f"{_article(given)} in place of {_article(wanted)}"
    if not isinstance(expected, list):
        return None if expected == got else "not equal"
    old, new = expected[1], got[1]
    if wanted in ("set", "frozenset"):
        if not isinstance(new, list) or _has_nan(old):
            return "not equal"
        return None if sorted(map(canonical, old)) == sorted(map(canonical, new)) else "not equal"
    if wanted == "dict":
        return _dict_difference(old, new, tolerance, depth)
    if wanted not in ("list", "tuple", "complex"):
        return None if old == new else "not equal"
    if not isinstance(new, list) or len(old) != len(new):
        return f"{len(new) if isinstance(new, list) else 'no'} items in place of {len(old)}"
    for place, (a, b) in enumerate(zip(old, new, strict=True)):
        if reason := difference(a, b, tolerance, depth - 1):
            return f"item {place}: {reason}"
    return None


def _dict_difference(old: list[Any], new: Any, tolerance: float, depth: int) -> str | None:
    if not isinstance(new, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in new):
        raise ValueError("a dict's pairs are no pairs")
    if len(old) != len(new):
        return f"{len(new)} keys in place of {len(old)}"
    first, second = ({canonical(key): value for key, value in pairs} for pairs in (old, new))
    for key, value in first.items():
        if key not in second or _has_nan(key):
            return f"no key {key[:50]}"
        if reason := difference(value, second[key], tolerance, depth - 1):
            return f"key {key[:50]}: {reason}"
    return None


def canonical(tree: Any, depth: int = MAX_DEPTH) -> str:
    """A text that is the same for equal encoded values, whatever the order of their sets and dicts."""
    if depth == 0:
        raise ValueError("too deep")
    if not isinstance(tree, list):
        return json.dumps(tree)
    kind = _kind(tree)
    if kind in ("list", "tuple", "set", "frozenset", "dict") and isinstance(tree[1], list):
        items = [canonical(item, depth - 1) for item in _items(kind, tree[1])]
        return f"{kind}({','.join(items if kind in ('list', 'tuple') else sorted(items))})"
    return json.dumps(tree)


def _items(kind: str, content: list[Any]) -> list[Any]:
    return [["tuple", pair] for pair in content] if kind == "dict" else content


def viewed(tree: Any, view: str) -> Any:
    """What `list(x)`, `tuple(x)`, `set(x)`, `sorted(x)` or `bool(x)` makes of the encoded `x`.

    `sorted` brings the canonical order, which is the same for equal members. Raises ValueError where it cannot be had.
    """
    kind = _kind(tree)
    if isinstance(tree, list) and not _whole(kind, tree):
        raise ValueError(f"{_article(kind)} that cannot be read")
    if view == "bool":
        return bool(tree if not isinstance(tree, list) else tree[1])
    if kind == "str":
        tree = ["list", list(tree)]
    elif kind == "dict":
        tree = ["list", [pair[0] for pair in tree[1]]]
    elif kind not in ("list", "tuple", "set", "frozenset"):
        raise ValueError(f"{view}() of {_article(kind)}")
    if view in ("list", "tuple"):
        return [view, tree[1]]
    items = {canonical(item): item for item in tree[1]} if view == "set" else {}
    if view == "set":
        return ["set", list(items.values())]
    return ["list", sorted(tree[1], key=canonical)]


def _whole(kind: str, tree: list[Any]) -> bool:
    """Whether an encoded value holds what its kind says; the program that is judged may have forged it."""
    if len(tree) != 2:
        return False
    if kind == "dict":
        return isinstance(tree[1], list) and all(isinstance(pair, list) and pair for pair in tree[1])
    return isinstance(tree[1], list) or kind not in ("list", "tuple", "set", "frozenset")


def show(tree: Any) -> str:
    """The encoded value as Python writes it, cut to be read."""
    text = json.dumps(tree)
    if len(text) > 20 * _SHOWN:
        return f"{text[:_SHOWN]}... ({_article(_kind(tree))})"
    try:
        text = repr(decode(tree))
    except (ValueError, RecursionError):
        text = f"{text} (no value)"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def same_output(expected: str, got: str, tolerance: float = 0.0) -> str | None:
    """None where two outputs are the same but for blanks at the ends of lines and of the whole, else where they differ.

    With a `tolerance`, words that are numbers are equal within it.
    """
    old, new = (text.rstrip().splitlines() for text in (expected, got))
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a.rstrip() != b.rstrip() and not (tolerance and _near_words(a.split(), b.split(), tolerance)):
            return f"line {number} is {b[:_SHOWN]!r}, expected {a[:_SHOWN]!r}"
    if len(old) != len(new):
        return f"{len(new)} lines, expected {len(old)}"
    return None


def _near_words(old: list[str], new: list[str], tolerance: float) -> bool:
    return len(old) == len(new) and all(a == b or _near_texts(a, b, tolerance) for a, b in zip(old, new, strict=True))


def _near_texts(a: str, b: str, tolerance: float) -> bool:
    try:
        return _near(float(a), float(b), tolerance)
    except ValueError:
        return False


def _near(a: float, b: float, tolerance: float) -> bool:
    try:
        return math.isfinite(a) and math.isfinite(b) and abs(a - b) <= tolerance
    except OverflowError:
        return False


def _kind(tree: Any) -> str:
    """The type's name. Raises ValueError where `tree` is no encoded value."""
    if not isinstance(tree, list):
        if tree is None or type(tree) in (bool, int, float, str):
            return "None" if tree is None else type(tree).__name__
        raise ValueError("no encoded value")
    if len(tree) != 2 or not isinstance(tree[0], str):
        raise ValueError("no encoded value")
    return tree[0]


def _has_nan(tree: Any) -> bool:
    return "NaN" in tree if isinstance(tree, str) else any("NaN" in json.dumps(item) for item in tree)


def _article(kind: str) -> str:
    return kind if kind == "None" else f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind[:20]}"


def encoded(value: Any) -> Any:
    """`encode` after a walk through JSON, as what a program gives has been."""
    return json.loads(json.dumps(encode(value)))
