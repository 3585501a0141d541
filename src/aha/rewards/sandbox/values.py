"""Values as they cross the wall of the sandbox: JSON that keeps exact types. Used at both ends; standard library only.

encode((1, 1.0))                                    # ["tuple", [1, 1.0]]
decode(["dict", [[1, ["set", ["a"]]]]])             # {1: {"a"}}
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH, MAX_NODES = 60, 300_000  # of one value


def encode(value: Any) -> Any:
    """Plain data as JSON that keeps exact types: a tuple is `["tuple", [...]]`, True is no 1, 1.0 no 1.

    The standard dicts and named tuples count as what they subclass. Raises TypeError for any other type, ValueError
    for a value that is too deep or too large.
    """
    return _encode(value, MAX_DEPTH, [MAX_NODES])


def _encode(value: Any, depth: int, left: list[int]) -> Any:
    kind = type(value)
    left[0] -= 1
    if depth == 0 or left[0] < 0:
        raise ValueError("the value is too deep" if depth == 0 else "the value is too large")
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        return value if -(2**53) <= value <= 2**53 else ["int", hex(value)]
    if kind is complex:
        return ["complex", [value.real, value.imag]]
    if kind in (bytes, bytearray):
        return [kind.__name__, value.hex()]
    if kind in (list, tuple) or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return ["list" if kind is list else "tuple", [_encode(item, depth - 1, left) for item in value]]
    if kind in (set, frozenset):
        return [kind.__name__, [_encode(item, depth - 1, left) for item in value]]
    if kind is dict or (isinstance(value, dict) and kind.__module__ == "collections"):
        pairs = dict.items(value)
        return ["dict", [[_encode(k, depth - 1, left), _encode(v, depth - 1, left)] for k, v in pairs]]
    raise TypeError(f"a value of type {kind.__name__} is no plain data")


def decode(tree: Any, depth: int = MAX_DEPTH) -> Any:
    """Inverse of `encode`. Raises ValueError for anything that `encode` does not write."""
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    try:
        name, content = tree
        if depth == 0 or type(tree) is not list:
            raise ValueError("too deep, or no list")
        if name in ("list", "tuple", "set", "frozenset"):
            items = [decode(item, depth - 1) for item in content]
            return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[name](items)
        if name == "dict":
            return {decode(key, depth - 1): decode(value, depth - 1) for key, value in content}
        if name == "int":
            return int(content, 16)
        if name == "complex":
            return complex(*content)
        if name in ("bytes", "bytearray"):
            return (bytes if name == "bytes" else bytearray).fromhex(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no encoded value: {error}") from error
    raise ValueError("no encoded value: unknown type")
