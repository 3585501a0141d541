r"""Exact values of expressions that are rational by arithmetic alone, with a cap on the size of every number.

    exact(parse(tokens("0.75")))          -> Fraction(3, 4)
    exact(parse(tokens(r"\sqrt{2}")))     -> None: not rational
    exact(parse(tokens("9^{9^9}")))       -> None: no power is evaluated before its size is known
"""

from __future__ import annotations

import math
from fractions import Fraction

from aha.rewards.maths.syntax import Node

QUICK_BITS = 2000  # of a number that the calling process computes: microseconds


class Undefined(ValueError):
    """The expression has no value."""


def exact(tree: Node, bits: int = QUICK_BITS) -> Fraction | None:
    """The value of `tree`; None where it is not rational by arithmetic alone, or some number is longer than `bits`.

    Raises Undefined for a division by zero.
    """
    if isinstance(tree.value, Fraction):
        return tree.value
    if tree.head in ("symbol", "constant", "function", "degree", "pm", "mp"):
        return None
    values: list[Fraction] = []
    for argument in tree.args:
        value = exact(argument, bits)
        if value is None or _bits(value) > bits:
            return None
        values.append(value)
    return _operate(tree.head, values, bits)


def _operate(head: str, values: list[Fraction], bits: int) -> Fraction | None:
    first, last = values[0], values[-1]
    match head:
        case "add" | "multiply":
            total = first
            for value in values[1:]:
                if _bits(total) > bits:
                    return None
                total = total + value if head == "add" else total * value
            return total
        case "negative":
            return -first
        case "divide":
            if not last:
                raise Undefined("it divides by zero")
            return first / last
        case "percent":
            return first / 100
        case "abs":
            return abs(first)
        case "power":
            return _power(first, last, bits)
        case "factorial":
            return Fraction(math.factorial(int(first))) if _is_count(first, bits // 10) else None
        case "binomial":
            small = _is_count(first, bits // 2) and _is_count(last, bits // 2)
            return Fraction(math.comb(int(first), int(last))) if small else None
        case "root":
            return _root(first) if last == 2 else None
    return None


def _power(base: Fraction, exponent: Fraction, bits: int) -> Fraction | None:
    if exponent.denominator != 1:
        return None
    if not base and exponent <= 0:
        raise Undefined("it divides by zero" if exponent else "0^0 has no value")
    return base ** int(exponent) if _bits(base) * abs(exponent) <= bits else None


def _root(value: Fraction) -> Fraction | None:
    """The square root where it is rational."""
    if value < 0:
        return None
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(above, below) if above**2 == value.numerator and below**2 == value.denominator else None


def _is_count(value: Fraction, limit: int) -> bool:
    return value.denominator == 1 and 0 <= value <= limit


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())
