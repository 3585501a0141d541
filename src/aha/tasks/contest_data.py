"""Programs for contests: LiveCodeBench (Jain et al., arXiv 2403.07974).

    {"question_content": "...", "starter_code": "", "contest_date": "2024-10-05T00:00:00", "difficulty": "hard",
     "public_test_cases": "[{\\"input\\": \\"3\\\\n\\", \\"output\\": \\"6\\\\n\\", \\"testtype\\": \\"stdin\\"}]",
     "private_test_cases": "...", "metadata": "{\\"func_name\\": \\"...\\"}"}

Tests are of programs (stdin) or of a method of `class Solution` (functional). The private ones are published as JSON,
or as base64 of a compressed pickle that holds JSON; of the pickle, one text is read and nothing is run. They are
unpacked when they are needed: all together they are many times their size in the file.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import pickletools
import zlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from aha.rewards.code import code_of, joined
from aha.rewards.sandbox import Call, Limits, run_calls, run_program
from aha.rewards.sandbox.compare import difference, encoded, show
from aha.tasks.code_data import EXACT
from aha.tasks.datasets import DataTask, Kind, OnBad, Row, load, refuse
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Failed, Outcome, Problem, Score

LIMITS = Limits(seconds=6.0, memory_mb=1024, output_kb=65536)  # the published 6 seconds a test
MOST_UNPACKED = 1 << 30  # bytes of one problem's tests
TEXTS = frozenset(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"))
AROUND = frozenset(("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"))
# The published harness stands before the code with all names of these modules.
MODULES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
PRELUDE = "\n".join(
    [*(f"from {name} import *" for name in MODULES), f"import {', '.join(MODULES)}", "sys.setrecursionlimit(50000)"]
)
STDIN = (
    "Write a Python program that reads its input from stdin and writes its answer to stdout. Give the whole program in "
    "one block marked ```python."
)
STARTER = "Complete this Python code, and give the whole of it in one block marked ```python."
CALLER = """

def aha_call(*arguments):
    found = globals().get({name!r}) or getattr(Solution(), {name!r})
    value = found(*arguments)
    return list(value) if isinstance(value, tuple) else value
"""


def read_livecodebench(raw: Raw, since: str = "", until: str = "") -> Row | None:
    """None for a problem of a contest before the day `since`, or on or after `until`."""
    question = text_under(raw.data, "question_content").strip()
    date = str(raw.data.get("contest_date") or "")[:10]
    if (since and date < since) or (until and date >= until):
        return None
    metadata = _json(raw.data.get("metadata") or "{}", "metadata")
    function = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    if function is not None and not (isinstance(function, str) and function.isidentifier()):
        raise RowError(f"has {function!r} as its function's name")
    tests = _cases(text_under(raw.data, "public_test_cases"))
    private = raw.data.get("private_test_cases") or ""
    if not tests and not private:
        raise RowError("has no tests")
    starter = str(raw.data.get("starter_code") or "").rstrip()
    form = f"{STARTER}\n\n```python\n{starter}\n```" if starter else STDIN
    hidden = {
        "tests": tests, "private": private, "function": function, "whole_text": True,
        "group": str(raw.data.get("difficulty") or ""),
    }  # fmt: skip
    return Row(f"{question}\n\n{form}", "", hidden=hidden)


def grade_livecodebench(problem: Problem, answer: str | None) -> Outcome:
    """1 where the code passes every test, public and private; Failed where the private ones cannot be unpacked."""
    if answer is None:
        return Score(0.0, "no answer")
    try:
        tests = [*problem.hidden["tests"], *private_cases(problem.hidden["private"])]
    except RowError as error:
        return Failed(f"the tests of {problem.id} cannot be read: it {error}")
    function = problem.hidden["function"]
    for number, test in enumerate(tests, 1):
        outcome = _call(answer, test, function) if function else _program(answer, test)
        if not isinstance(outcome, Score) or outcome.value != 1.0:
            why = outcome.why if isinstance(outcome, Score) else ""
            return Score(0.0, f"test {number} of {len(tests)}: {why}") if isinstance(outcome, Score) else outcome
    return Score(1.0, f"passed all of {len(tests)} tests")


def _call(answer: str, test: Mapping[str, str], function: str) -> Outcome:
    """One call of the method in a process of its own, with the published harness's equality and time limit."""
    arguments = tuple(json.loads(line) for line in test["input"].split("\n"))
    source = joined(PRELUDE, code_of(answer)) + CALLER.format(name=function)
    result = run_calls(source, [Call("aha_call", arguments)], LIMITS)[0]
    if result.status == "refused":
        return Failed(f"code: {result.why}")
    if result.status != "ok":
        return Score(0.0, result.why)
    try:
        reason = difference(encoded(json.loads(test["output"])), result.encoded, EXACT)
    except (ValueError, RecursionError) as error:
        reason = f"no value that can be compared ({error})"
    return Score(1.0) if reason is None else Score(0.0, f"returned {show(result.encoded)}: {reason}")


def _program(answer: str, test: Mapping[str, str]) -> Outcome:
    ran = run_program(joined(PRELUDE, code_of(answer)), test["input"], LIMITS)
    if ran.status == "refused":
        return Failed(f"code: {ran.stderr}")
    if ran.status != "ok":
        last = (ran.stderr.strip().splitlines() or [""])[-1][:200]
        return Score(0.0, f"ended with {ran.status}: {last}")
    return Score(1.0) if same_lines(test["output"], ran.stdout) else Score(0.0, f"printed {ran.stdout[:100]!r}")


def same_lines(expected: str, got: str) -> bool:
    """Whether both are the same lines but for blanks at their ends, numbers in a line compared as decimals.

    >>> same_lines("1 2.50\\nYES\\n", " 1.0 2.5\\nYES"), same_lines("YES", "yes"), same_lines("1 2", "12")
    (True, False, False)
    """
    old, new = ([line.strip() for line in text.strip().split("\n")] for text in (expected, got))
    return len(old) == len(new) and all(a == b or _same_numbers(a, b) for a, b in zip(old, new, strict=True))


def _same_numbers(a: str, b: str) -> bool:
    try:
        return [Decimal(word) for word in a.split()] == [Decimal(word) for word in b.split()]
    except InvalidOperation:
        return False


@functools.lru_cache(maxsize=8)
def private_cases(packed: str) -> tuple[Mapping[str, str], ...]:
    """The tests in `packed`. Raises RowError where it is neither JSON nor a packed text of JSON."""
    if not packed:
        return ()
    return tuple(_cases(packed if packed.lstrip()[:1] == "[" else _unpacked(packed)))


def _unpacked(packed: str) -> str:
    """The one text in a pickle, compressed and in base64. Raises RowError for any other pickle: none is run."""
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(packed, validate=True), MOST_UNPACKED)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise RowError(f"has private tests of more than {MOST_UNPACKED >> 20} MiB, or a part of them")
        steps = [(step.name, argument) for step, argument, _ in pickletools.genops(content)]
    except (binascii.Error, zlib.error, ValueError, IndexError) as error:
        raise RowError(f"has private tests that cannot be unpacked ({error})") from error
    texts = [argument for name, argument in steps if name in TEXTS]
    if len(texts) != 1 or any(name not in TEXTS | AROUND for name, _ in steps):
        raise RowError("has private tests that are packed with more than one text")
    return str(texts[0])


def _cases(text: str) -> list[dict[str, str]]:
    """The tests of a JSON list. Raises RowError."""
    found = _json(text, "tests")
    if not isinstance(found, list) or not all(
        isinstance(case, Mapping) and isinstance(case.get("input"), str) and isinstance(case.get("output"), str)
        for case in found
    ):
        raise RowError("has tests that are no list of inputs with outputs")
    return [{"input": case["input"], "output": case["output"]} for case in found]


def _json(value: Any, what: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RowError(f"has {what} that are no JSON ({error})") from error


def _kind(since: str, until: str) -> Kind:
    return Kind(
        "livecodebench",
        '{"question_content": "...", "starter_code": "", "public_test_cases": "[...]", "private_test_cases": "..."}',
        functools.partial(read_livecodebench, since=since, until=until), grade_livecodebench,
        lambda problem: "print()", lambda problem, answer: None, lambda problem: None, test_only=True,
    )  # fmt: skip


def load_livecodebench(
    source: str, *, seed: int = 0, config: str = "", since: str = "", until: str = "", on_bad: OnBad = refuse
) -> DataTask:
    """The problems of contests from the day `since` (`2024-08-01`) to before `until`; all of them where both are ""."""
    return load(_kind(since, until), source, seed=seed, config=config, on_bad=on_bad)
