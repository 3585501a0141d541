r"""Equality of expressions that plain arithmetic does not decide, by evaluation to many digits. For worker processes.

    equal(parse(tokens(r"\sqrt{117}")), parse(tokens(r"3\sqrt{13}")))   -> True
    equal(parse(tokens(r"\sin^2 x")), parse(tokens(r"1-\cos^2 x")))     -> True

Two constants are equal where their difference vanishes with the precision: at 60 digits it is of the order of 1e-60, at
300 digits of 1e-300. A difference that stays, however small, is one: 1/2004! is not 1/2006!, and 3.14159 is not pi.
Two expressions with variables are equal where they agree at every one of many points at which both are defined
(Schwartz and Zippel's test, doi 10.1145/322217.322225); the points are fixed, so that a verdict is always the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

import mpmath
from mpmath import mp, mpc, mpf

from aha.rewards.maths.exact import Undefined, exact
from aha.rewards.maths.quantity import Arithmetic
from aha.rewards.maths.syntax import Node, infinite

LOW, HIGH = 60, 300  # decimal digits of the two evaluations
EXACT_BITS = 200_000
LARGEST = 10**8  # of an exponent, of the argument of a factorial or of a function
POINTS = 8  # of each kind
ENOUGH = 4  # points at which both sides have values
Point = Mapping[str, mpf]


class TooLarge(ValueError):
    """A number of this size is not computed."""


def equal(left: Node, right: Node) -> bool:
    """Whether both have the same value: as constants, or as functions of their variables where both are real.

    What is too large to compute, infinite or undefined equals only what is written alike.
    """
    if left == right:
        return True
    names = sorted(left.symbols | right.symbols)
    try:
        if names:
            return _equal_functions(left, right, names)
        return _equal_constants(left, right)
    except (TooLarge, Undefined):
        return False


def less(left: Node, right: Node) -> bool:
    """Whether the constant `left` is smaller. Raises Undefined where they are not two real numbers."""
    for tree, below in ((left, True), (right, False)):
        sign = infinite(tree)
        if sign:
            return (sign < 0) == below and left != right
    if left.symbols or right.symbols:
        raise Undefined("it is no constant")
    difference = Node("add", (left, Node("negative", (right,))))
    value = _at_precision(lambda: evaluate(difference, {}), LOW)
    if not _is_real(value):
        raise Undefined("it is not real")
    return bool(value.real < 0) and not equal(left, right)


def proportional(left: Node, right: Node) -> int:
    """The sign of the constant c with `left` = c * `right` as functions of their variables; 0 where there is none."""
    names = sorted(left.symbols | right.symbols)
    ratio = None
    agreed = 0
    for point in _points(names):
        with mp.workdps(LOW):
            try:
                above, below = evaluate(left, point), evaluate(right, point)
            except (TooLarge, Undefined):
                continue
            if not (_is_real(above) and _is_real(below)):
                continue
            if min(abs(above), abs(below)) < mpf(10) ** (-LOW // 2):
                if max(abs(above), abs(below)) < mpf(10) ** (-LOW // 2):
                    continue
                return 0
            here = above.real / below.real
            if ratio is None:
                ratio = here
            if abs(here - ratio) > abs(ratio) * mpf(10) ** (-LOW // 2):
                return 0
            agreed += 1
    return 0 if ratio is None or agreed < ENOUGH else int(mpmath.sign(ratio))


def _equal_constants(left: Node, right: Node) -> bool:
    a, b = exact(left, EXACT_BITS), exact(right, EXACT_BITS)
    return a == b if a is not None and b is not None else _vanishes(left, right, {})


def _vanishes(left: Node, right: Node, point: Point) -> bool:
    """Whether the difference shrinks as digits are added: rounding noise does, a true difference stays."""
    difference = Node("add", (left, Node("negative", (right,))))
    with mp.workdps(LOW):
        scale = max(abs(evaluate(left, point)), abs(evaluate(right, point)))
        coarse = max(abs(evaluate(difference, point)), scale * mpf(10) ** -LOW)
    with mp.workdps(HIGH):
        return bool(abs(evaluate(difference, point)) <= coarse * mpf(10) ** (-(HIGH - LOW) // 2))


def _equal_functions(left: Node, right: Node, names: list[str]) -> bool:
    """Agreement at the points where both are real; where there are too few, at those where both have any value."""
    real = complex_ = 0
    imaginary = any(node.head == "constant" and node.value == "i" for t in (left, right) for node in t.nodes())
    complex_agrees = True
    for point in _points(names):
        with mp.workdps(LOW):
            try:
                a, b = evaluate(left, point), evaluate(right, point)
                same = abs(a - b) <= max(abs(a), abs(b)) * mpf(10) ** (-LOW // 2) or _vanishes(left, right, point)
            except (TooLarge, Undefined):
                continue
            if imaginary or (_is_real(a) and _is_real(b)):
                real += 1
                if not same:
                    return False
            elif not (_is_real(a) or _is_real(b)):
                complex_ += 1
                complex_agrees &= bool(same)
    return real >= ENOUGH or (real + complex_ >= ENOUGH and complex_agrees)


def _points(names: list[str]) -> Iterator[Point]:
    """Positive points, points of both signs, and whole numbers, all fixed."""
    draw = random.Random(20250122)
    for kind in ("positive", "any", "whole") if names else ("none",):
        for number in range(POINTS if names else ENOUGH):
            point = {}
            for name in names:
                value = Fraction(draw.randint(1, 9973), 3989)
                if kind == "any" and draw.random() < 0.7:
                    value = -value
                point[name] = value if kind != "whole" else Fraction(draw.randint(1, 4) + number)
            with mp.workdps(HIGH):
                yield {name: mpf(value.numerator) / value.denominator for name, value in point.items()}


def _at_precision(call: Callable[[], mpc], digits: int) -> mpc:
    with mp.workdps(digits):
        return call()


def _is_real(value: mpc) -> bool:
    return bool(abs(value.imag) <= max(abs(value.real), mpf(10) ** (-LOW // 4)) * mpf(10) ** (-LOW // 2))


def evaluate(tree: Node, point: Point) -> mpc:
    """The value of `tree` at the working precision. Raises TooLarge and Undefined."""
    if isinstance(tree.value, Fraction):
        return mpc(mpf(tree.value.numerator) / mpf(tree.value.denominator))
    if tree.head == "symbol":
        return mpc(point[str(tree.value)])
    if tree.head == "constant":
        if tree.value == "inf":
            raise Undefined("infinity is no number")
        return mpc({"pi": mp.pi, "e": mp.e, "i": mpc(0, 1)}[str(tree.value)])
    values = [evaluate(argument, point) for argument in tree.args]
    try:
        result = mpc(_function(str(tree.value), values[0]) if tree.head == "function" else _apply(tree.head, values))
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        raise Undefined(str(error) or type(error).__name__) from error
    if not mpmath.isfinite(result):
        raise Undefined("it has no finite value")
    return result


def _apply(head: str, values: list[mpc]) -> mpc:
    first, last = values[0], values[-1]
    match head:
        case "add":
            return mpmath.fsum(values)
        case "multiply":
            return mpmath.fprod(values)
        case "negative":
            return -first
        case "divide":
            return first / last
        case "percent":
            return first / 100
        case "degree":
            return first * mp.pi / 180
        case "abs":
            return abs(first)
        case "power":
            return _power(first, last)
        case "root":
            return _root(first, last)
        case "factorial":
            return mpmath.gamma(_moderate(first) + 1)
        case "binomial":
            return mpmath.binomial(_moderate(first), _moderate(last))
        case "floor":
            return mpmath.floor(_moderate(first))
        case "ceil":
            return mpmath.ceil(_moderate(first))
    raise Undefined(f"{head} has no value")


def _power(base: mpc, exponent: mpc) -> mpc:
    if not base:
        if exponent.imag or exponent.real <= 0:
            raise Undefined("it divides by zero")
        return mpc(0)
    if abs(mpmath.mag(base)) > LARGEST or abs(exponent) > LARGEST:
        raise TooLarge("a power in it is too large")
    return mpmath.power(base, exponent)


def _root(value: mpc, degree: mpc) -> mpc:
    """The real root of a negative number where the degree is odd, else the principal root."""
    count = int(degree.real)
    if not degree or degree != count or not 0 < count <= 1000:
        return _power(value, 1 / degree)
    if count % 2 and not value.imag and value.real < 0:
        return -mpmath.root(-value.real, count)
    return mpmath.root(value, count)


_FUNCTIONS: dict[str, Callable[[mpc], mpc]] = {
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "cot": mpmath.cot,
    "sec": mpmath.sec,
    "csc": mpmath.csc,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
    "arccot": mpmath.acot,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tanh": mpmath.tanh,
    "ln": mpmath.log,
}


def _function(name: str, argument: mpc) -> mpc:
    if name not in _FUNCTIONS:
        raise Undefined(f"{name} is not computed")
    if name == "ln":
        if not argument:
            raise Undefined("the logarithm of 0 has no value")
        return mpmath.log(argument)
    return _FUNCTIONS[name](_moderate(argument))


def _moderate(value: mpc) -> mpc:
    if abs(value) > LARGEST:
        raise TooLarge("an argument in it is too large")
    return value.real if not value.imag else value


ARITHMETIC = Arithmetic(equal, less, proportional)
