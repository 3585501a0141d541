"""Unit tests written as `assert`, read by Python's `ast` into tests whose expected values stay outside the sandbox.

asserts_to_tests("assert f(2) == 4")   # ([{"call": "f(2)", "expected": 4}], [])

An assert that runs beside a program can be talked into anything by it; a value that is compared elsewhere cannot.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from aha.errors import UserError
from aha.rewards.sandbox.compare import VIEWS
from aha.rewards.sandbox.literals import call_of, literal

Test = dict[str, Any]
_UNREADABLE = (ValueError, TypeError, ArithmeticError, RecursionError)


def asserts_to_tests(source: str, entry_point: str | None = None) -> tuple[list[Test], list[str]]:
    """The tests that the asserts of `source` make, and the asserts that cannot be converted.

    Read are asserts at the top and directly inside functions of at most one parameter (`def check(candidate)`), which
    stands for `entry_point`; where that is None, for NAME in a call `check(NAME)` in `source`. Forms: `f(x) == value`,
    `is`, `abs(f(x) - y) < eps`, `math.isclose`, `f(x)`, `not f(x)`, `set(f(x)) == ...` (also list, tuple, sorted), and
    several of them joined by `and`. Asserts of a constant test nothing and are left out.
    Raises UserError where `source` is no Python.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"the tests are no Python ({error}); give asserts") from error
    tests: list[Test] = []
    rest: list[str] = []
    for statement, parameter in _asserts(module):
        names = {parameter: entry_point or _entry_point(module)} if parameter else {}
        parts = statement.test.values if isinstance(statement.test, ast.BoolOp) else [statement.test]
        if isinstance(statement.test, ast.BoolOp) and isinstance(statement.test.op, ast.Or):
            parts = [statement.test]
        try:
            tests += [_test(part, names) for part in parts if not isinstance(part, ast.Constant)]
        except _UNREADABLE:
            rest.append(ast.unparse(statement))
    return tests, rest


def _asserts(module: ast.Module) -> Iterator[tuple[ast.Assert, str | None]]:
    """Every assert, in order, with the parameter of the function it stands in; those in loops make no test."""
    for outer in module.body:
        function = isinstance(outer, ast.FunctionDef)
        parameters = [argument.arg for argument in outer.args.args] if isinstance(outer, ast.FunctionDef) else []
        body = outer.body if isinstance(outer, ast.FunctionDef) and len(parameters) <= 1 else [outer]
        for inner in body:
            if isinstance(inner, ast.Assert):
                yield inner, parameters[0] if function and parameters else None
            else:
                for node in ast.walk(inner):
                    if isinstance(node, ast.Assert):
                        yield ast.Assert(ast.Name(ast.unparse(node.test))), None


def _entry_point(module: ast.Module) -> str | None:
    """NAME of the first call `check(NAME)` of a function that `module` defines."""
    defined = {statement.name for statement in module.body if isinstance(statement, ast.FunctionDef)}
    for statement in module.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and _name(call) in defined and len(call.args) == 1:
            return ast.unparse(call.args[0])
    return None


def _test(node: ast.expr, names: dict[str, str | None]) -> Test:
    """The test of one condition. Raises ValueError, or what a literal's arithmetic raises, where it makes none."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return {**_called(node.operand, names), "expected": False, "view": "bool"}
    if isinstance(node, ast.Call):
        return _is_close(node, names) or {**_called(node, names), "expected": True, "view": "bool"}
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise ValueError("no comparison")
    operation, left, right = node.ops[0], node.left, node.comparators[0]
    if isinstance(operation, ast.Eq | ast.Is):
        try:
            value, side = literal(right), left
        except _UNREADABLE:
            value, side = literal(left), right
        return {**_called(side, names), "expected": value}
    if isinstance(operation, ast.Lt | ast.LtE) and _name(left) in ("abs", "math.fabs") and isinstance(left, ast.Call):
        (inner,) = left.args
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub):
            return _near(inner.left, inner.right, literal(right), names)
    raise ValueError("no form that is known")


def _is_close(node: ast.Call, names: dict[str, str | None]) -> Test | None:
    """The test that `math.isclose(f(x), y, rel_tol=..., abs_tol=...)` makes; None for another call."""
    if _name(node) not in ("math.isclose", "isclose"):
        return None
    left, right = node.args
    given = {keyword.arg: literal(keyword.value) for keyword in node.keywords}
    target = abs(_number(right) if _is_literal(right) else _number(left))
    return _near(left, right, max(given.get("rel_tol", 1e-9) * target, given.get("abs_tol", 0.0)), names)


def _near(left: ast.expr, right: ast.expr, tolerance: Any, names: dict[str, str | None]) -> Test:
    if _is_literal(left):
        left, right = right, left
    if not isinstance(tolerance, int | float) or tolerance < 0:
        raise ValueError("the tolerance is no number")
    return {**_called(left, names), "expected": _number(right), "tolerance": float(tolerance)}


def _called(node: ast.expr, names: dict[str, str | None]) -> Test:
    """`{"call": ...}` of a call by name with literal arguments, with its `view` where `set(f(x))` wraps it."""
    inner = node.args[0] if isinstance(node, ast.Call) and len(node.args) == 1 else None
    if _name(node) in VIEWS and isinstance(inner, ast.Call):
        return {**_called(inner, names), "view": _name(node)}
    call = call_of(node)
    if call.function in VIEWS or not isinstance(node, ast.Call):
        raise ValueError("no call of a function under test")
    name = names.get(call.function) or call.function
    return {"call": ast.unparse(ast.Call(ast.Name(name), node.args, node.keywords))}


def _name(node: ast.expr) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _is_literal(node: ast.expr) -> bool:
    try:
        literal(node)
    except _UNREADABLE:
        return False
    return True


def _number(node: ast.expr) -> float:
    value = literal(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no number")
    return value
