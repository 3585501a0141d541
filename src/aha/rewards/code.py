"""The code reward: a program runs in the sandbox on a test's inputs, and what it gives is compared out here.

grade_code("```python\\ndef f(a, b):\\n    return a + b\\n```", [{"call": "f(1, 2)", "expected": 3}])   # 1.0
grade_code(text, [{"stdin": "3 4\\n", "stdout": "7\\n"}], language="cpp", scoring="share")

Expected values never enter the sandbox, so no program can look them up, or answer in the checker's place. Source of
the rule: DeepSeek-R1, arXiv 2501.12948, section 2.2.2 (a compiler's or interpreter's feedback on predefined tests).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aha.errors import UserError, nearest
from aha.rewards.sandbox.asserts import asserts_to_tests
from aha.rewards.sandbox.compare import VIEWS, difference, encoded, same_output, show, viewed
from aha.rewards.sandbox.limits import DEFAULT_LIMITS, Call, CallResult, Limits
from aha.rewards.sandbox.literals import parse_call, parse_literal
from aha.rewards.sandbox.pool import shared_pool
from aha.rewards.sandbox.run import LANGUAGES, available, calls_in, run_in
from aha.rewards.sandbox.slot import SandboxError, Slot
from aha.types import Failed, Outcome, Score

__all__ = ["asserts_to_tests", "code_of", "grade_code", "joined"]

Scoring = Literal["all", "share"]
_KEYS = ("call", "expected", "expected_literal", "view", "stdin", "stdout", "tolerance")
_NAMES = {"python": ("python", "py", "python3"), "cpp": ("cpp", "c++", "cc", "cxx")}
_FUTURE = re.compile(r"^from __future__ import [^\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _CallTest:
    text: str
    call: Call
    expected: Any  # encoded
    tolerance: float
    view: str | None


@dataclass(frozen=True, slots=True)
class _ProgramTest:
    stdin: str
    stdout: str
    tolerance: float


def grade_code(
    completion: str,
    tests: Sequence[Mapping[str, Any]],
    *,
    scoring: Scoring = "all",
    language: str = "python",
    limits: Limits = DEFAULT_LIMITS,
    unsafe: bool = False,
    before: str = "",
) -> Outcome:
    """Score of the code in `completion` on `tests`: 1 or 0 for "all", the share of passed tests for "share".

    A test is `{"call": "f(1, 2)", "expected": 3}`, Python only, or `{"stdin": ..., "stdout": ...}`. Types are exact
    (True is not 1, 1.0 is not 1, a tuple is no list) but for numbers with a `"tolerance"`. `"expected_literal": "(1,
    2)"` writes what JSON cannot; `"view"` is applied to the value first: "list", "tuple", "set", "sorted" or "bool".
    All calls share one process and one time limit; each stdin test is a run of its own.
    `before` is Python that stands before the code: a prompt's imports, or the buggy source of which the completion
    mends one function.

    Failed where no sandbox can start, naming the missing piece; with `unsafe` the code then runs with resource limits
    alone, and a warning. Raises UserError for tests, limits or settings that cannot be used.
    """
    if scoring not in ("all", "share"):
        raise UserError(f"scoring {scoring!r} is not known; write 'all' or 'share'")
    if language not in LANGUAGES:
        raise UserError(f"language {language!r} cannot be run{nearest(language, LANGUAGES)}")
    parsed = [_parsed(test, number, language) for number, test in enumerate(tests, 1)]
    if not parsed:
        raise UserError("the list of tests is empty; give at least one")
    source = joined(before, code_of(completion, language))
    pool = shared_pool(unsafe=unsafe and available() is not None)
    try:
        with pool.slot() as slot:
            reasons = _reasons(slot, source, parsed, limits, language, stop=scoring == "all")
    except SandboxError as error:
        return Failed(f"code: {error}")
    failed = [(number, reason) for number, reason in enumerate(reasons, 1) if reason is not None]
    count = len(parsed)
    if not failed:
        return Score(1.0, f"passed all of {count} tests" if count > 1 else "passed the only test")
    number, reason = failed[0]
    share = (count - len(failed)) / count if scoring == "share" else 0.0
    passed = f"passed {count - len(failed)} of {count}; " if scoring == "share" else ""
    return Score(share, f"{passed}test {number} of {count}: {reason}")


def code_of(completion: str, language: str = "python") -> str:
    """The last finished fenced block, or the whole text where there is none.

    A block that is marked as another language (an example's output, a shell command) is passed over for one that is
    not, where there is such a one.
    """
    blocks = _blocks(completion)
    fitting = [code for mark, code in blocks if not mark or mark in _NAMES[language]]
    return fitting[-1] if fitting else blocks[-1][1] if blocks else completion


def _blocks(text: str) -> list[tuple[str, str]]:
    """Mark and content of every finished fenced block (CommonMark 0.31, section 4.5)."""
    blocks: list[tuple[str, str]] = []
    fence, mark = "", ""
    lines: list[str] = []
    for line in text.split("\n"):
        stripped = line.strip()
        run = stripped[: len(stripped) - len(stripped.lstrip(stripped[:1]))] if stripped[:1] in ("`", "~") else ""
        if fence:
            if run.startswith(fence) and run == stripped:
                blocks.append((mark, "\n".join(lines)))
                fence = ""
            else:
                lines.append(line)
        elif len(run) >= 3 and "`" not in stripped[len(run) :]:
            words = stripped[len(run) :].split()
            fence, mark, lines = run, words[0].lower() if words else "", []
    return blocks


def joined(before: str, code: str) -> str:
    """Both as one source; the code's `from __future__` lines come first, where alone they are allowed."""
    if not before:
        return code
    return "\n".join([*_FUTURE.findall(code), before, _FUTURE.sub("", code)])


def _parsed(test: Mapping[str, Any], number: int, language: str) -> _CallTest | _ProgramTest:
    """The test as its kind. Raises UserError for one that cannot be used."""
    unknown = next((key for key in test if key not in _KEYS), None)
    if unknown is not None:
        raise UserError(f"test {number} has the unknown key {unknown!r}{nearest(str(unknown), _KEYS)}")
    tolerance = test.get("tolerance", 0.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < float("inf"):
        raise UserError(f"test {number} has the tolerance {tolerance!r}; give a number of 0 or more")
    if "call" not in test:
        stdin, stdout = test.get("stdin", ""), test.get("stdout")
        if not isinstance(stdin, str) or not isinstance(stdout, str):
            raise UserError(f"test {number} needs call and expected, or stdin and stdout texts; got {test!s:.150}")
        return _ProgramTest(stdin, stdout, float(tolerance))
    if language != "python" or not isinstance(test["call"], str):
        raise UserError(f"test {number} calls a function, which needs 'python' and a text; got {test!s:.150}")
    if ("expected" in test) == ("expected_literal" in test):
        raise UserError(f"test {number} needs either expected or expected_literal")
    view = test.get("view")
    if view is not None and view not in VIEWS:
        raise UserError(f"test {number} has the view {view!r}; known are {', '.join(VIEWS)}")
    expected = test["expected"] if "expected" in test else parse_literal(str(test["expected_literal"]))
    try:
        tree = encoded(expected)
        tree = viewed(tree, view) if view in ("set", "sorted") else tree
    except (TypeError, ValueError) as error:
        raise UserError(f"test {number} expects what no test can: {error}") from error
    return _CallTest(test["call"], parse_call(test["call"]), tree, float(tolerance), view)


def _reasons(
    slot: Slot, source: str, tests: list[_CallTest | _ProgramTest], limits: Limits, language: str, stop: bool
) -> list[str | None]:
    """Why each test failed, None where it passed; with `stop` nothing is run after the first failed one."""
    calls = [test for test in tests if isinstance(test, _CallTest)]
    results = iter(calls_in(slot, source, [test.call for test in calls], limits) if calls else [])
    reasons: list[str | None] = []
    for test in tests:
        if isinstance(test, _CallTest):
            reasons.append(_call_reason(test, next(results)))
        else:
            reasons.append(_program_reason(slot, source, test, limits, language))
        if stop and reasons[-1] is not None:
            break
    return reasons


def _call_reason(test: _CallTest, result: CallResult) -> str | None:
    if result.status != "ok":
        return f"{test.text:.200} {result.why}"
    try:
        got = viewed(result.encoded, test.view) if test.view else result.encoded
        reason = difference(test.expected, got, test.tolerance)
    except (ValueError, RecursionError) as error:
        return f"{test.text:.200} gave no value that can be compared ({error})"
    if reason is None:
        return None
    return f"{test.text:.200} returned {show(result.encoded)}, expected {show(test.expected)}: {reason}"


def _program_reason(slot: Slot, source: str, test: _ProgramTest, limits: Limits, language: str) -> str | None:
    room = min(65536, max(limits.output_kb, len(test.stdout.encode(errors="replace")) // 512))
    ran = run_in(slot, source, test.stdin, dataclasses.replace(limits, output_kb=room), language)
    given = f"on {test.stdin[:60]!r}"
    if ran.status == "ok":
        reason = same_output(test.stdout, ran.stdout, test.tolerance)
        return reason and f"{given} {reason}"
    last = (ran.stderr.strip().splitlines() or [""])[-1][:200]
    what = {
        "timeout": f"ran out of time ({limits.seconds:g} s)",
        "memory": f"ran out of memory ({limits.memory_mb} MiB)",
        "killed": f"wrote more than {room} KiB",
    }.get(ran.status, f"ended with exit {ran.exit}")
    return f"{given} {what}" + (f": {last}" if last else "")
