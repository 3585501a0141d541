"""The tasks, a row each, and how one is made from what a user wrote.

make_task("countdown", seed=0, options={"numbers": 4, "chinese": 0.5})
make_task("gsm8k:openai/gsm8k")
make_task("math500:math500.jsonl", on_bad=print)    # goes on where a row cannot be used
make_tasks({"countdown": 3, "arithmetic": 1})       # one task in which each has its share
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aha.errors import UserError, nearest
from aha.plugins import is_plugin, load_object
from aha.protocols import Task
from aha.tasks.arithmetic import Arithmetic
from aha.tasks.choice_data import load_bbh
from aha.tasks.code_data import load_humaneval, load_mbpp
from aha.tasks.contest_data import load_livecodebench
from aha.tasks.countdown import Countdown
from aha.tasks.datasets import OnBad, refuse
from aha.tasks.exam_data import load_ceval, load_gpqa, load_mmlu, load_mmlu_pro
from aha.tasks.functions import Functions
from aha.tasks.instruction_data import load_ifeval
from aha.tasks.logic import Logic
from aha.tasks.maths_data import load_aime, load_gsm8k, load_math, load_math500, load_mgsm
from aha.tasks.mixture import Mixture
from aha.tasks.pairwise_data import load_alpaca, load_arena
from aha.tasks.prompt_data import load_prompts
from aha.tasks.reasoning_gym import ReasoningGym
from aha.tasks.requests import Requests

NO_OPTIONS = ("name", "source", "on_bad")  # arguments that are no business of a recipe


@dataclass(frozen=True, slots=True)
class TaskRow:
    """How a task is made; its keyword arguments are its options, `limits` the least and greatest value of some.

    `needs_source`: it reads data that the user names. `needs_library`: it needs an optional library.
    """

    make: Callable[..., Task]
    needs_source: bool = False
    needs_library: bool = False
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The options' names with their defaults."""
        parameters = inspect.signature(self.make).parameters
        return {name: p.default for name, p in parameters.items() if name not in NO_OPTIONS}


TASKS: dict[str, TaskRow] = {
    # The limits keep enough problems for both splits, and their making fast.
    "countdown": TaskRow(Countdown, limits={"numbers": (2, 5), "largest": (8, 99), "chinese": (0, 1)}),
    "arithmetic": TaskRow(Arithmetic, limits={"steps": (2, 8), "chinese": (0, 1)}),
    "logic": TaskRow(Logic, limits={"people": (3, 5), "chinese": (0, 1)}),
    "functions": TaskRow(Functions, limits={"examples": (0, 1), "chinese": (0, 1)}),
    "requests": TaskRow(Requests, limits={"harmful": (0, 1), "lookalikes": (0, 1), "chinese": (0, 1)}),
    "reasoning-gym": TaskRow(ReasoningGym, needs_library=True),
    "gsm8k": TaskRow(load_gsm8k, needs_source=True),
    "math": TaskRow(load_math, needs_source=True),
    "prompts": TaskRow(load_prompts, needs_source=True),
    # Published test sets: they have no train split.
    "math500": TaskRow(load_math500, needs_source=True),
    "mgsm": TaskRow(load_mgsm, needs_source=True),
    "humaneval": TaskRow(load_humaneval, needs_source=True),
    "bbh": TaskRow(load_bbh, needs_source=True),
    "ifeval": TaskRow(load_ifeval, needs_source=True),
    "aime": TaskRow(load_aime, needs_source=True),
    "gpqa": TaskRow(load_gpqa, needs_source=True),
    "mmlu": TaskRow(load_mmlu, needs_source=True),
    "mmlu-pro": TaskRow(load_mmlu_pro, needs_source=True),
    "ceval": TaskRow(load_ceval, needs_source=True),
    "mbpp": TaskRow(load_mbpp, needs_source=True),
    "livecodebench": TaskRow(load_livecodebench, needs_source=True),
    # A judge compares answers to these with another model's: aha.evaluation.judging.
    "alpaca-eval": TaskRow(load_alpaca, needs_source=True),
    "arena-hard": TaskRow(load_arena, needs_source=True),
}
EMBEDDED = tuple(name for name, row in TASKS.items() if not (row.needs_source or row.needs_library))


def make_task(spec: str, seed: int = 0, options: Mapping[str, Any] = {}, on_bad: OnBad = refuse) -> Task:
    """The task that `spec` names.

    A row of `TASKS`, for data sets with their source (`gsm8k:FILE_OR_HUB_ID`), or the user's own (`FILE.py:NAME`).
    `on_bad` gets each row of the source that cannot be used; by default the first one is raised.
    Raises UserError for an unknown name, an unknown option, a value of another type or beyond its limits, and a
    source that is missing or not wanted.
    """
    if is_plugin(spec):
        return _own_task(spec, seed, options)
    name, _, source = spec.partition(":")
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}{nearest(name, TASKS)}")
    row = TASKS[name]
    if row.needs_source and not source:
        raise UserError(f"task {name!r} needs its data: write {name}:FILE, {name}:FOLDER or {name}:HUB_ID")
    if source and not row.needs_source:
        raise UserError(f"task {name!r} reads no data; write {name!r} in place of {spec!r}")
    for key, value in options.items():
        _check(row, name, key, value)
    chosen = {"seed": seed, **options}
    return row.make(source, **chosen, on_bad=on_bad) if row.needs_source else row.make(**chosen)


def make_tasks(choice: str | Mapping[str, float], seed: int = 0, options: Mapping[str, Any] = {}) -> Task:
    """The task that a recipe names: one, or several with their shares; then `options` has those of each by its name."""
    if isinstance(choice, str):
        return make_task(choice, seed, options)
    if not choice:
        raise UserError("task {} names no task; give at least one")
    for name in options:
        if name not in choice:
            raise UserError(f"options for {name!r}, which is no task of the mixture{nearest(name, choice)}")
    tasks = tuple(make_task(spec, seed, options.get(spec, {})) for spec in choice)
    return tasks[0] if len(tasks) == 1 else Mixture(tasks, tuple(choice.values()))


def _own_task(spec: str, seed: int, options: Mapping[str, Any]) -> Task:
    """A task of the user's own: a class or function in a Python file, called with the options that it takes."""
    make = load_object(spec)
    if not callable(make):
        raise UserError(f"task {spec!r} is no class or function that makes a task")
    known = inspect.signature(make).parameters
    for key in options:
        if key not in known:
            raise UserError(f"unknown option {key!r} of task {spec!r}{nearest(key, known)}")
    task: Task = make(**options, **({"seed": seed} if "seed" in known and "seed" not in options else {}))
    missing = [
        verb for verb in ("name", "size", "problem", "grade", "gold", "wrong", "vote_key") if not hasattr(task, verb)
    ]
    if missing:
        raise UserError(f"task {spec!r} lacks {', '.join(missing)}; see the Task protocol in aha.protocols")
    return task


def _check(row: TaskRow, task: str, key: str, value: Any) -> None:
    defaults = row.options
    if key not in defaults:
        raise UserError(f"unknown option {key!r} of task {task!r}{nearest(key, defaults)}")
    kind = type(defaults[key])
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise UserError(f"option {key!r} of task {task!r} is {value!r}; give {kind.__name__} such as {defaults[key]!r}")
    least, greatest = row.limits.get(key, (float("-inf"), float("inf")))
    if kind in (int, float) and not least <= value <= greatest:
        raise UserError(f"option {key!r} of task {task!r} is {value!r}; give a value from {least:g} to {greatest:g}")
