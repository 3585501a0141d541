"""Arithmetic expressions as untrusted text: parsed by Python's `ast`, evaluated over `Fraction`, never by `eval`.

value("(3+5)*7")   -> Expression(value=Fraction(56), numbers=(3, 5, 7))
value("9**9**9")   -> None: only + - * / on whole numbers are arithmetic here
"""

from __future__ import annotations

import ast
import operator
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 200  # characters; keeps the parser far from its recursion limit
MAX_DIGITS = 9  # of one number
_RAISED = ("<super>", "<sub>")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "∶": "/"})


_OPERATIONS: dict[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """An evaluated expression: its exact value, its numbers from left to right, and the operators between them."""

    value: Fraction
    numbers: tuple[int, ...]
    operators: frozenset[str] = frozenset()


def evaluate(text: str) -> Expression | None:
    """Evaluate `text`, or None where it is no arithmetic expression or divides by zero."""
    if len(text) > MAX_LENGTH or any(unicodedata.decomposition(c).startswith(_RAISED) for c in text):
        return None  # before it is normalised: 9² is not 92
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS).strip()
    if not text or set(text) - set("0123456789+-*/() "):
        return None
    try:
        tree = ast.parse(text, mode="eval")
        return _evaluate(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError, ZeroDivisionError):
        return None


def _evaluate(node: ast.expr) -> Expression:
    if isinstance(node, ast.Constant) and type(node.value) is int and len(str(node.value)) <= MAX_DIGITS:
        return Expression(Fraction(node.value), (node.value,))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _evaluate(node.operand)
        return Expression(-inner.value, inner.numbers, inner.operators)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _evaluate(node.left), _evaluate(node.right)
        sign, operate = _OPERATIONS[type(node.op)]
        operators = left.operators | right.operators | {sign}
        return Expression(operate(left.value, right.value), left.numbers + right.numbers, operators)
    raise ValueError(f"{type(node).__name__} is not arithmetic")
