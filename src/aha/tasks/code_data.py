"""Functions to write, with tests: HumanEval (Chen et al., arXiv 2107.03374) and MBPP (Austin et al., arXiv 2108.07732).

    {"task_id": "HumanEval/0", "prompt": "def f(x):\\n    ...", "entry_point": "f", "canonical_solution": "...",
     "test": "def check(candidate): assert candidate(1) == 2 ..."}
    {"task_id": 11, "text": "Write a function to ...", "code": "...", "test_list": ["assert f(1) == 2", ...]}

The asserts become calls with expected values that never enter the sandbox. Where one cannot be converted, the published
asserts run beside the code as they are, and what is printed after the last of them decides: a weaker test, since code
that sets out to can print it too. No task has such rows but these test sets.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from aha.errors import UserError
from aha.rewards.code import asserts_to_tests, code_of, grade_code, joined
from aha.rewards.sandbox import run_program
from aha.tasks.datasets import Kind, Row, load
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Failed, Outcome, Problem, Score

EXACT = 5e-324  # a tolerance that makes 1 equal to 1.0, as Python's == does, and nothing else
MBPP_TEST = range(11, 511)  # the published test set, of a file that holds all


def read_humaneval(raw: Raw) -> Row:
    """The reference is the canonical solution as a whole program."""
    prompt, entry, source = (text_under(raw.data, name) for name in ("prompt", "entry_point", "test"))
    solution = text_under(raw.data, "canonical_solution")
    if not entry.isidentifier():
        raise RowError(f"has {entry[:60]!r} as its entry_point, which is no name of a function")
    hidden = {**_tested(source, entry), "prompt": prompt, "entry_point": entry, "whole_text": True}
    hidden["asserts"] = hidden["asserts"] and f"{source}\n\ncheck({entry})"
    question = f"Write the whole of this Python function.\n\n```python\n{prompt.strip()}\n```"
    return Row(question, prompt + solution, hidden=hidden)


def read_mbpp(raw: Raw) -> Row | None:
    """None for a row that the published file has for training or as an example."""
    text, solution = text_under(raw.data, "text", "prompt").strip(), text_under(raw.data, "code")
    number, asserts = raw.data.get("task_id"), raw.data.get("test_list")
    if isinstance(number, int) and number not in MBPP_TEST:
        return None
    if not isinstance(asserts, list) or not asserts or not all(isinstance(line, str) for line in asserts):
        raise RowError("has no list of asserts under 'test_list'")
    source = "\n".join(line.strip() for line in asserts)
    setup = [*(raw.data.get("test_imports") or []), raw.data.get("test_setup_code") or ""]
    hidden = {**_tested(source, None), "prompt": "", "whole_text": True}
    hidden["asserts"] = hidden["asserts"] and "\n".join([*map(str, setup), source])
    for test in hidden["tests"]:
        test.setdefault("tolerance", EXACT)
    return Row(f"{text}\n\nThe code has to pass these tests:\n\n```python\n{source}\n```", solution, hidden=hidden)


def _tested(source: str, entry: str | None) -> dict[str, Any]:
    """Its asserts as `tests`, or, where one cannot be converted, `asserts` that are true: they have to run."""
    try:
        tests, unconvertible = asserts_to_tests(source, entry)
    except UserError as error:
        raise RowError(f"has tests that cannot be used: {error}") from error
    if not tests and not unconvertible:
        raise RowError("has no asserts in its test")
    return {"tests": [] if unconvertible else tests, "asserts": bool(unconvertible)}


def grade_function(problem: Problem, answer: str | None) -> Outcome:
    """1 where all tests pass on `answer`, a whole function or what follows the prompt.

    The prompt stands before it with its imports and helpers; its docstring alone is a whole body.
    """
    if answer is None:
        return Score(0.0, "no answer")
    if problem.hidden["asserts"]:
        return _run_asserts(joined(problem.hidden["prompt"], code_of(answer)), problem.hidden["asserts"])
    return grade_code(answer, problem.hidden["tests"], before=problem.hidden["prompt"])


def _run_asserts(code: str, asserts: str) -> Outcome:
    """1 where the program ends after the last assert, which it shows by a word drawn for this run."""
    word = secrets.token_hex(16)
    ran = run_program(f"{code}\n\n{asserts}\nprint({word!r})\n")
    if ran.status == "refused":
        return Failed(f"code: {ran.stderr}")
    passed = ran.status == "ok" and ran.stdout.rstrip().endswith(word)
    last = (ran.stderr.strip().splitlines() or [f"ended with {ran.status}"])[-1][:200]
    return Score(1.0, "ran to the end of its asserts") if passed else Score(0.0, last)


def _nothing(problem: Problem) -> str:
    return str(problem.hidden["prompt"]) + "    return None\n"


HUMANEVAL = Kind(
    "humaneval",
    '{"prompt": "def f(x): ...", "entry_point": "f", "canonical_solution": "...", "test": "def check(candidate): ..."}',
    read_humaneval, grade_function, _nothing, lambda problem, answer: None, test_only=True,
)  # fmt: skip
MBPP = Kind(
    "mbpp", '{"task_id": 11, "text": "...", "code": "...", "test_list": ["assert f(1) == 2"]}', read_mbpp,
    grade_function, lambda problem: "pass", lambda problem, answer: None, test_only=True, config="full",
)  # fmt: skip
load_humaneval = partial(load, HUMANEVAL)
load_mbpp = partial(load, MBPP)
