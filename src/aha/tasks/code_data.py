"""Functions to write, with hidden tests: HumanEval (Chen et al., arXiv 2107.03374).

    {"task_id": "HumanEval/0", "prompt": "def f(x):\\n    ...", "entry_point": "f", "canonical_solution": "...",
     "test": "def check(candidate): assert candidate(1) == 2 ..."}

The asserts become calls with expected values that never enter the sandbox. A row with an assert that cannot be
converted is left out and named: the others of its asserts would be a weaker test than the published one.
"""

from __future__ import annotations

from functools import partial

from aha.errors import UserError
from aha.rewards.code import asserts_to_tests, grade_code
from aha.tasks.datasets import Kind, Row, load
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Outcome, Problem, Score


def read_humaneval(raw: Raw) -> Row:
    """The reference is the canonical solution as a whole program."""
    prompt, entry, source = (text_under(raw.data, name) for name in ("prompt", "entry_point", "test"))
    solution = text_under(raw.data, "canonical_solution")
    if not entry.isidentifier():
        raise RowError(f"has {entry[:60]!r} as its entry_point, which is no name of a function")
    try:
        tests, unconvertible = asserts_to_tests(source, entry)
    except UserError as error:
        raise RowError(f"has tests that cannot be used: {error}") from error
    if not tests and not unconvertible:
        raise RowError("has no asserts in its test")
    left_out = (
        f"({raw.data.get('task_id', entry)}): {len(unconvertible)} of its asserts compare no call with a literal, "
        f"the first is {unconvertible[0]!r:.120}"
        if unconvertible
        else ""
    )
    question = f"Write the whole of this Python function.\n\n```python\n{prompt.strip()}\n```"
    hidden = {"tests": tests, "prompt": prompt, "entry_point": entry, "whole_text": True}
    return Row(question, prompt + solution, hidden=hidden, left_out=left_out)


def grade_humaneval(problem: Problem, answer: str | None) -> Outcome:
    """1 where all tests pass on `answer`, a whole function or what follows the prompt.

    The prompt stands before it with its imports and helpers; its docstring alone is a whole body.
    """
    if answer is None:
        return Score(0.0, "no answer")
    return grade_code(answer, problem.hidden["tests"], before=problem.hidden["prompt"])


def _nothing(problem: Problem) -> str:
    return str(problem.hidden["prompt"]) + "    return None\n"


HUMANEVAL = Kind(
    "humaneval",
    '{"prompt": "def f(x): ...", "entry_point": "f", "canonical_solution": "...", "test": "def check(candidate): ..."}',
    read_humaneval, grade_humaneval, _nothing, lambda problem, answer: None, test_only=True,
)  # fmt: skip
load_humaneval = partial(load, HUMANEVAL)
