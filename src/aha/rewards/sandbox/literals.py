"""Tests as their authors write them, read by Python's `ast` and never run: calls and values.

parse_call('f(1, key="a")')                  -> Call("f", (1,), {"key": "a"})
literal(ast.parse("(3 + 5, [1.5] * 2)", mode="eval").body)   -> (8, [1.5, 1.5])
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from aha.errors import UserError
from aha.rewards.sandbox.limits import Call

T = TypeVar("T")

MAX_ITEMS = 1_000_000  # of one computed sequence
MAX_BITS = 100_000  # of one computed whole number
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None))
_MAKERS: dict[str, Callable[..., Any]] = {
    "set": set, "frozenset": frozenset, "list": list, "tuple": tuple, "dict": dict, "float": float, "sorted": sorted,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def parse_call(text: str) -> Call:
    """The call that `text` writes: a function's name and literal arguments. Raises UserError for anything else."""
    return _read(text, call_of, "call", "name(literal, ...)")


def parse_literal(text: str) -> Any:
    """The value that `text` writes, `(1, 2)`. Raises UserError for anything else."""
    return _read(text, literal, "value", "a literal")


def _read(text: str, turn: Callable[[ast.expr], T], what: str, form: str) -> T:
    try:
        return turn(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise UserError(
            f"the test's {what} {text[:100]!r} cannot be read ({_first_line(error)}); write {form}"
        ) from error


def call_of(node: ast.expr) -> Call:
    """The call that `node` stands for. Raises ValueError where it is none of a plain name with literal arguments."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError("it is no call of a function by its name")
    kwargs = {keyword.arg: literal(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    if len(kwargs) != len(node.keywords):
        raise ValueError("it spreads a mapping with **")
    return Call(node.func.id, tuple(literal(argument) for argument in node.args), kwargs)


def literal(node: ast.expr) -> Any:
    """The value of a literal, of arithmetic on literals within bounds, and of `set([...])` and the like.

    Raises ValueError for another expression; what the arithmetic itself raises (TypeError, ZeroDivisionError).
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, _CONSTANTS):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items) if isinstance(node, ast.Tuple) else set(items)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {literal(key): literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = literal(node.operand)
        return -value if isinstance(node.op, ast.USub) else +value
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = literal(node.left), literal(node.right)
        _bounded(node.op, left, right)
        return _ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS:
        if node.keywords or len(node.args) > 1:
            raise ValueError(f"{node.func.id} takes one literal here")
        return _MAKERS[node.func.id](*(literal(argument) for argument in node.args))
    raise ValueError(f"{ast.unparse(node)[:50]!r} is no literal")


def _bounded(operation: ast.operator, left: Any, right: Any) -> None:
    """Raise ValueError where the result could be larger than any test needs."""
    numbers = isinstance(left, int | float | complex) and isinstance(right, int | float | complex)
    if not numbers and not isinstance(operation, ast.Add | ast.Mult):
        raise ValueError(f"{type(operation).__name__} needs numbers")
    if isinstance(left, int) and isinstance(right, int) and isinstance(operation, ast.Pow):
        if right < 0 or left.bit_length() * right > MAX_BITS:
            raise ValueError(f"the power of {right} is too large")
    elif isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise ValueError("the number is too large")
    elif not numbers:
        size = sum(len(side) for side in (left, right) if hasattr(side, "__len__"))
        times = next((side for side in (left, right) if isinstance(side, int)), 1)
        if size * max(times, 1) > MAX_ITEMS:
            raise ValueError("the sequence is too long")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
