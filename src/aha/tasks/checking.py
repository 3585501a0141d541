"""Prove graders: each problem's gold answer scores 1, a wrong one 0, and every row that fails is named with the reason.

report = check("math500.jsonl")         # or math500:FILE, a task's name, FILE.py:NAME
report["faults"]                        # [{"file": "math500.jsonl", "row": 7, "reason": "gold answer ... gives 0"}]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from aha.errors import UserError, boundary
from aha.plugins import is_plugin
from aha.protocols import Task
from aha.tasks.rows import ENDINGS, BadRow, Raw, RowError, read_splits
from aha.tasks.table import TASKS, make_task
from aha.types import Abstain, Failed, Problem, Score, Split

GENERATED = 200  # problems of each split of a task that makes them without end
SNIFFED = 100  # rows looked at to tell what a file holds

# What a row of each kind of data holds, the most special first.
SIGNS: tuple[tuple[str, frozenset[str]], ...] = (
    ("humaneval", frozenset(("prompt", "entry_point", "test"))),
    ("ifeval", frozenset(("prompt", "instruction_id_list"))),
    ("bbh", frozenset(("input", "target"))),
    ("gpqa", frozenset(("Question", "Correct Answer", "Incorrect Answer 1"))),
    ("livecodebench", frozenset(("question_content", "public_test_cases"))),
    ("mbpp", frozenset(("code", "test_list"))),
    ("mmlu-pro", frozenset(("question", "options", "answer"))),
    ("mmlu", frozenset(("question", "choices", "answer"))),
    ("ceval", frozenset(("question", "A", "B", "answer"))),
    ("alpaca-eval", frozenset(("instruction", "output"))),
    ("arena-hard", frozenset(("prompt", "output"))),
    ("mgsm", frozenset(("messages", "answer"))),
    ("math", frozenset(("problem", "answer"))),
    ("math", frozenset(("problem", "solution"))),
    ("math", frozenset(("question", "answer"))),
)


def check(spec: str, rows: int | None = None) -> dict[str, Any]:
    """What was checked of the task or file `spec`, and each fault with its row.

    `rows` problems of each split are checked; None or 0: all rows of a data set, 200 problems of a generated task.
    Raises UserError for a task or file that does not exist.
    """
    bad: list[BadRow] = []
    task = make_task(_resolve(spec), on_bad=bad.append)
    problems = list(_problems(task, rows or None))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads:  # graders wait for processes of their own
        found = [fault for faults in threads.map(lambda p: _faults(task, p), problems) for fault in faults]
    faults = [{"file": error.file, "row": error.number, "reason": error.reason} for error in bad] + found
    return {
        "task": task.name,
        "checked": len(problems),
        "faults": sorted(faults, key=lambda fault: (fault["file"], fault["row"])),
        "without_gold": sum(not _has_gold(task, problem) for problem in problems),
        "duplicates": getattr(task, "dropped", 0),
    }


def _problems(task: Task, rows: int | None) -> Iterator[Problem]:
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        size = task.size(split)
        count = (rows or GENERATED) if size is None else min(rows or size, size)
        yield from (task.problem(split, index) for index in range(count))


def _faults(task: Task, problem: Problem) -> list[dict[str, Any]]:
    """Where the gold answer does not score 1 or the wrong one not 0."""
    place = {"file": problem.hidden.get("file", problem.id), "row": problem.hidden.get("row", 0)}
    cases = [("gold", task.gold, 1.0)] if _has_gold(task, problem) else []
    found = [
        boundary(partial(_fault, task, problem, name, answer_of, expected), f"{name} answer")
        for name, answer_of, expected in [*cases, ("wrong", task.wrong, 0.0)]
    ]
    reasons = [fault.reason if isinstance(fault, Failed) else fault for fault in found]
    return [{**place, "reason": reason} for reason in reasons if reason]


def _fault(
    task: Task, problem: Problem, name: str, answer_of: Callable[[Problem], str], expected: float
) -> str | None:
    """What is wrong with the outcome of one answer, in words."""
    answer = answer_of(problem)
    outcome = task.grade(problem, answer)
    if isinstance(outcome, Score) and outcome.value == expected:
        return None
    match outcome:
        case Score(value, why):
            verdict = f"gives {value:g}: {why}"
        case Abstain(why):
            verdict = f"gets no score: {why}"
        case Failed(reason):
            verdict = f"cannot be graded: {reason}"
    return f"{name} answer {answer!r:.200} {verdict}"


def _has_gold(task: Task, problem: Problem) -> bool:
    has_gold = getattr(task, "has_gold", None)
    return has_gold is None or bool(has_gold(problem))


def _resolve(spec: str) -> str:
    """`spec` as a task: a path becomes the task whose rows it holds."""
    if is_plugin(spec) or spec.partition(":")[0] in TASKS:
        return spec
    path = Path(spec).expanduser()
    if not path.exists() and "/" not in spec and not spec.removesuffix(".gz").endswith(ENDINGS):
        return spec  # a name; an unknown one is refused where tasks are made
    return f"{_guess(spec)}:{spec}"


def _guess(source: str) -> str:
    """The task whose rows a file or folder holds. Raises UserError where it cannot be told."""
    raws = [raw for rows in read_splits(source).values() for raw in rows[:SNIFFED]]
    for name, columns in SIGNS:
        if any(isinstance(raw.data, Mapping) and columns <= raw.data.keys() for raw in raws):
            return "gsm8k" if name == "math" and _ends_in_marks(raws) else name
    if any(isinstance(raw.data, list) and len(raw.data) == 2 for raw in raws):
        return "mgsm"
    reason = next((f"; row {raw.number} {raw.data}" for raw in raws if isinstance(raw.data, RowError)), "")
    known = ", ".join(f"{name}:" for name, row in TASKS.items() if row.needs_source)
    raise UserError(f"{source} holds rows of no known kind{reason}; name the task before the path ({known})")


def _ends_in_marks(raws: list[Raw]) -> bool:
    """Whether the answers are GSM8K's: most hold `####`."""
    answers = [str(raw.data.get("answer")) for raw in raws if isinstance(raw.data, Mapping)]
    return 2 * sum("####" in answer for answer in answers) > len(answers)
