"""The code reward: what is taken from a completion, which values are equal, what the explanation says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.rewards import code
from aha.rewards.code import asserts_to_tests, code_of, grade_code
from aha.rewards.sandbox import Limits, available
from aha.rewards.sandbox.run import compiler
from aha.types import Failed, Score

MISSING = available()
runs = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
compiles = pytest.mark.skipif(MISSING is not None or compiler() is None, reason=str(MISSING or "g++ is missing"))


def value(outcome: object) -> float:
    assert isinstance(outcome, Score), outcome
    return outcome.value


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        ("x = 1", "x = 1"),
        ("Text\n```python\nx = 1\n```\nmore", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\n```\nthen\n```python\nx = 2\n```", "x = 2"),
        ("```py\nx = 1\n```\nIt prints\n```text\n1\n```", "x = 1"),
        ("```bash\nls\n```", "ls"),
        ("```python\nx = 1\n```\n```python\nx = 2", "x = 1"),  # the last one is cut off
        ("~~~\nx = '```'\n~~~", "x = '```'"),
        ("````python\n```\nx\n```\n````", "```\nx\n```"),
        ("```python\nx = 1\n````", "x = 1"),
        ("  ```Python\nx = 1\n  ```", "x = 1"),
        ("inline ```x``` only", "inline ```x``` only"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r"),
        ("", ""),
    ],
)
def test_the_last_finished_block_is_the_code(completion: str, wanted: str) -> None:
    assert code_of(completion) == wanted


def test_the_block_of_the_language_is_taken() -> None:
    text = "```cpp\nint a;\n```\n```python\na = 1\n```"
    assert (code_of(text, "cpp"), code_of(text)) == ("int a;", "a = 1")


@settings(deadline=None)
@given(st.text(alphabet="`~ \nab", max_size=200))
def test_any_text_has_some_code(text: str) -> None:
    assert code_of(text) in text or code_of(text) == ""


def test_fences_are_read_in_linear_time() -> None:
    assert code_of("```" * 50_000 + "\n" + "`" * 100_000 + "\n" + "```a\n" * 50_000)


@runs
@pytest.mark.parametrize(
    ("expression", "expected", "equal"),
    [
        ("3", 3, True), ("3.0", 3, False), ("True", 1, False), ("1", True, False), ("None", None, True),
        ("0", None, False), ("'a'", "a", True), ("b'a'", "a", False), ("(1, 2)", (1, 2), True),
        ("(1, 2)", [1, 2], False),
        ("[1, 2]", [1, 2], True), ("[1, 2]", [2, 1], False), ("[1, True]", [1, 1], False), ("{2, 1}", {1, 2}, True),
        ("{1, 2, 3}", {1, 2}, False), ("frozenset({1})", {1}, False), ("{1: 'a', 2: 'b'}", {2: "b", 1: "a"}, True),
        ("{'1': 'a'}", {1: "a"}, False), ("{1: 'a'}", {1: "b"}, False), ("{True: 0}", {1: 0}, False),
        ("{(1, 2): {3}}", {(1, 2): {3}}, True), ("float('nan')", float("nan"), False),
        ("[float('nan')]", [float("nan")], False), ("{float('nan')}", {float("nan")}, False),
        ("{float('nan'): 1}", {float("nan"): 1}, False), ("float('inf')", float("inf"), True), ("-0.0", 0.0, True),
        ("0.1 + 0.2", 0.3, False), ("0.1 + 0.2", 0.1 + 0.2, True), ("10**4000", 10**4000, True),
        ("10**4000 + 1", 10**4000, False), ("2**53 + 1", 2**53 + 1, True), ("1 + 2j", 1 + 2j, True), ("1j", 1.0, False),
        ("'\\ud800'", "\ud800", True), ("'\\0'", "\0", True), ("[[[[1]]]]", [[[[1]]]], True),
        ("b'\\xff'", b"\xff", True),
        ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}, True),
        ("__import__('collections').namedtuple('P', 'x y')(1, 2)", (1, 2), True),
        ("__import__('fractions').Fraction(1, 2)", 0.5, False), ("range(3)", [0, 1, 2], False), ("f", 1, False),
    ],
)  # fmt: skip
def test_types_are_exact(expression: str, expected: Any, equal: bool) -> None:
    outcome = grade_code(f"def f(): return {expression}", [{"call": "f()", "expected": expected}])
    assert value(outcome) == equal, outcome


@runs
@pytest.mark.parametrize(
    ("expression", "test", "equal"),
    [
        ("0.1 + 0.2", {"expected": 0.3, "tolerance": 1e-9}, True),
        ("0.31", {"expected": 0.3, "tolerance": 1e-9}, False),
        ("1", {"expected": 1.0, "tolerance": 1e-9}, True),
        ("True", {"expected": 1.0, "tolerance": 1e-9}, False),
        ("[1.0, 2.000001]", {"expected": [1, 2], "tolerance": 1e-3}, True),
        ("{'a': 1.01}", {"expected": {"a": 1.0}, "tolerance": 0.1}, True),
        ("float('nan')", {"expected": 0.0, "tolerance": 1e9}, False),
        ("float('inf')", {"expected": 0.0, "tolerance": 1e9}, False),
        ("10**400", {"expected": 0.0, "tolerance": 1e9}, False),
        ("(1, 2)", {"expected_literal": "(1, 2)"}, True),
        ("{1: (2,)}", {"expected_literal": "{1: (2,)}"}, True),
        ("[3, 1, 2]", {"expected": [1, 2, 3], "view": "sorted"}, True),
        ("[3, 1, 1]", {"expected": [1, 3], "view": "sorted"}, False),
        ("(1, 2)", {"expected": [1, 2], "view": "list"}, True),
        ("[2, 1, 1]", {"expected": {1, 2}, "view": "set"}, True),
        ("5", {"expected": {1, 2}, "view": "set"}, False),
        ("[0]", {"expected": True, "view": "bool"}, True),
        ("[]", {"expected": True, "view": "bool"}, False),
    ],
)
def test_tolerances_literals_and_views(expression: str, test: dict[str, Any], equal: bool) -> None:
    outcome = grade_code(f"def f(): return {expression}", [{"call": "f()", **test}])
    assert value(outcome) == equal, outcome


@runs
def test_a_share_of_the_tests_or_all_of_them() -> None:
    tests = [{"call": f"f({n})", "expected": n * n} for n in range(4)] + [{"stdin": "", "stdout": "hi"}]
    source = "def f(x): return x * x if x < 3 else 0\nif __name__ == '__main__': print('hi')"
    assert grade_code(source, tests, scoring="share") == Score(
        0.8, "passed 4 of 5; test 4 of 5: f(3) returned 0, expected 9: not equal"
    )
    assert grade_code(source, tests) == Score(0.0, "test 4 of 5: f(3) returned 0, expected 9: not equal")
    assert grade_code(source, tests[:3]) == Score(1.0, "passed all of 3 tests")


@runs
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(): return 1.0", "f() returned 1.0, expected 1: a float in place of an int"),
        ("def f(): 1 / 0", "f() raised ZeroDivisionError: division by zero"),
        ("def g(): pass", "f() raised NameError: the program defines no 'f'"),
        ("def f(:", "the program itself raised SyntaxError"),
        ("f = 5", "f() raised TypeError: 'int' object is not callable"),
        ("def f():\n    while True: pass", "f() ran out of time (1 s)"),
        ("def f():\n    x = [0]\n    while True: x += x", "memory"),
        ("import os\ndef f(): os._exit(5)", "f() ended the process (exit 5) before it returned"),
        ("def f(): return open", "a value of type"),
    ],
)
def test_the_reason_names_the_first_failed_test(source: str, why: str) -> None:
    outcome = grade_code(source, [{"call": "f()", "expected": 1}], limits=Limits(seconds=1, memory_mb=64))
    assert value(outcome) == 0.0
    assert why.lower() in outcome.why.lower()


@runs
@pytest.mark.parametrize(
    ("source", "stdout", "extra", "equal"),
    [
        ("a, b = map(int, input().split()); print(a + b)", "7", {}, True),
        ("a, b = map(int, input().split()); print(a + b, ' ')", "7\n\n", {}, True),
        ("print('7 \\n8')", "7\n8\n", {}, True),
        ("print(' 7')", "7", {}, False),
        ("print('7 ')\nprint()\nprint(8)", "7\n8", {}, False),
        ("print(0.333334)", "0.333333", {"tolerance": 1e-5}, True),
        ("print(0.34, 'x')", "0.333333 x", {"tolerance": 1e-5}, False),
        ("print('nan')", "0", {"tolerance": 1e9}, False),
        ("print('x' * 200000)", "x" * 200000, {}, True),  # more than the default limit on output
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "\ufffd", {}, True),
    ],
)
def test_outputs_are_compared_line_by_line(source: str, stdout: str, extra: dict[str, Any], equal: bool) -> None:
    assert value(grade_code(source, [{"stdin": "3 4\n", "stdout": stdout, **extra}])) == equal


BUGGY = """
def clean(text): return text.strip()
def words(text): return [w for w in clean(text).split(' ')]
def count(text): return len(words(text))
"""
FIXED = "def words(text): return clean(text).split()"


@runs
def test_a_bug_fix_may_mend_one_function_or_write_all() -> None:
    tests = [{"call": "count('a  b')", "expected": 2}, {"call": "count(' ')", "expected": 0}]
    assert value(grade_code(BUGGY, tests)) == 0.0
    assert value(grade_code("", tests, before=BUGGY)) == 0.0
    assert value(grade_code(f"```python\n{FIXED}\n```", tests, before=BUGGY)) == 1.0
    assert value(grade_code(f"from __future__ import annotations\n{FIXED}", tests, before=BUGGY)) == 1.0
    assert value(grade_code(BUGGY + FIXED, tests)) == 1.0


@compiles
def test_cpp_programs() -> None:
    good = "```cpp\n#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b; }\n```"
    tests = [{"stdin": "3 4", "stdout": "7"}, {"stdin": "-1 1", "stdout": "0"}]
    assert grade_code(good, tests, language="cpp") == Score(1.0, "passed all of 2 tests")
    assert value(grade_code(good.replace("a + b", "a - b"), tests, language="cpp")) == 0.0
    broken = grade_code("int main() { return x; }", tests, language="cpp")
    assert value(broken) == 0.0
    assert "exit 1" in broken.why


@pytest.mark.parametrize(
    ("test", "settings"),
    [
        ({"call": "f(x)", "expected": 1}, {}),
        ({"call": "f(g(1))", "expected": 1}, {}),
        ({"call": "a.f(1)", "expected": 1}, {}),
        ({"call": "f(**{'a': 1})", "expected": 1}, {}),
        ({"call": "f(*[1])", "expected": 1}, {}),
        ({"call": "f(9 ** 9 ** 9)", "expected": 1}, {}),
        ({"call": "f([0] * 10 ** 9)", "expected": 1}, {}),
        ({"call": "f(1); g(2)", "expected": 1}, {}),
        ({"call": "f(" * 5000 + ")" * 5000, "expected": 1}, {}),
        ({"call": "__import__('os').system('x')", "expected": 1}, {}),
        ({"call": "f()"}, {}),
        ({"call": "f()", "expected": 1, "expected_literal": "1"}, {}),
        ({"call": "f()", "expected": object()}, {}),
        ({"call": "f()", "expected": 1, "tolerance": -1}, {}),
        ({"call": "f()", "expected": 1, "tolerance": float("nan")}, {}),
        ({"call": "f()", "expected": 1, "view": "len"}, {}),
        ({"call": "f()", "expekted": 1}, {}),
        ({"stdin": "x"}, {}),
        ({"stdin": 3, "stdout": "x"}, {}),
        ({"call": "f()", "expected": 1}, {"language": "cpp"}),
        ({"call": "f()", "expected": 1}, {"language": "rust"}),
        ({"call": "f()", "expected": 1}, {"scoring": "most"}),
    ],
)
def test_a_test_that_cannot_be_used_is_its_authors_mistake(test: dict[str, Any], settings: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        grade_code("def f(): return 1", [test], **settings)


def test_no_tests_are_a_mistake() -> None:
    with pytest.raises(UserError, match="empty"):
        grade_code("x", [])


def test_where_no_sandbox_starts_it_fails_and_names_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aha.rewards.sandbox.slot.shutil.which", lambda *a, **k: None)
    monkeypatch.setattr("aha.rewards.sandbox.pool._pools", {})
    outcome = grade_code("def f(): return 1", [{"call": "f()", "expected": 1}])
    assert isinstance(outcome, Failed)
    assert "bubblewrap is missing" in outcome.reason
    with pytest.warns(UserWarning, match="without a sandbox"):
        outcome = grade_code("def f(): return 1", [{"call": "f()", "expected": 1}], unsafe=True)
    assert outcome == Score(1.0, "passed the only test")
    code.shared_pool(unsafe=True).close()


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("assert f(1) == 2", [{"call": "f(1)", "expected": 2}]),
        ("assert 2 == f(1)", [{"call": "f(1)", "expected": 2}]),
        ("assert f(1, b='x') == (1, [2])", [{"call": "f(1, b='x')", "expected": (1, [2])}]),
        ("assert f(1) is None", [{"call": "f(1)", "expected": None}]),
        ("assert f(2 * 3) == 'a' * 3, 'message'", [{"call": "f(2 * 3)", "expected": "aaa"}]),
        ("assert f(1)", [{"call": "f(1)", "expected": True, "view": "bool"}]),
        ("assert not f(1)", [{"call": "f(1)", "expected": False, "view": "bool"}]),
        ("assert abs(f(1) - 0.5) < 1e-6", [{"call": "f(1)", "expected": 0.5, "tolerance": 1e-6}]),
        ("assert abs(0.5 - f(1)) <= 1e-6", [{"call": "f(1)", "expected": 0.5, "tolerance": 1e-6}]),
        ("import math\nassert math.isclose(f(1), 2, rel_tol=0.1)", [{"call": "f(1)", "expected": 2, "tolerance": 0.2}]),
        ("assert set(f(1)) == set([1, 2])", [{"call": "f(1)", "expected": {1, 2}, "view": "set"}]),
        ("assert tuple(f(1)) == (1,)", [{"call": "f(1)", "expected": (1,), "view": "tuple"}]),
        ("assert f(1) == 2 and f(2) == 3", [{"call": "f(1)", "expected": 2}, {"call": "f(2)", "expected": 3}]),
        ("def check(candidate):\n    assert candidate(1) == 2\ncheck(f)", [{"call": "f(1)", "expected": 2}]),
        ("def check(a):\n    assert a(1) == 2\n    assert True", [{"call": "a(1)", "expected": 2}]),
        ("def test_f():\n    assert f(1) == 2", [{"call": "f(1)", "expected": 2}]),
    ],
)
def test_asserts_become_tests(source: str, wanted: list[dict[str, Any]]) -> None:
    assert asserts_to_tests(source) == (wanted, [])


@pytest.mark.parametrize(
    "source",
    [
        "assert f(x) == 2", "assert f(1) != 2", "assert f(1) > 2", "assert f(1) == g(2)", "assert f(1) in (1, 2)",
        "for x in range(3):\n    assert f(x) == x", "assert f(1) == 1 or f(1) == 2", "assert abs(f(1)) < 2",
        "assert f(1) == 1 / 0", "assert a.f(1) == 2", "assert len(f(1)) == 'a' * 10**12",
        "assert f(1) == x and f(2) == 2",
    ],
)  # fmt: skip
def test_asserts_that_cannot_be_converted_are_listed(source: str) -> None:
    tests, rest = asserts_to_tests(source)
    assert tests == []
    assert len(rest) == 1
    assert rest[0].startswith("assert ")


def test_an_entry_point_stands_for_the_parameter() -> None:
    source = "def check(candidate):\n    assert candidate([1]) == 2"
    assert asserts_to_tests(source, "f")[0] == [{"call": "f([1])", "expected": 2}]
    with pytest.raises(UserError):
        asserts_to_tests("assert (")
