"""The table of stages: models of a run as rows, what was measured of them as columns, the best of each marked.

    table = standing(evaluated(stage))
    for column in table.columns:
        column.label, [cell.text for cell in column.cells]

pass@1 of each task and of their mean, what tasks report of responses beside, format, language and length. A figure that
was not measured is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aha.studio.figures import DASH, Unit, show
from aha.studio.files import Figures, measured
from aha.studio.lineage import short
from aha.studio.made import evaluated
from aha.studio.read import Run, Stage

MEAN = "mean"
MARK = "mark/"
Table = Mapping[str, Mapping[str, Figures]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure in words, a share in percent without the sign. `best` of its column; `near`, where it is not the best
    but within two standard errors of it. `share` is how much of the way from 0 to 1 it is, of a column of shares."""

    text: str
    best: bool = False
    near: bool = False
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One measure of all models."""

    name: str
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """The table; `basis` says what was asked."""

    models: tuple[str, ...]
    tasks: int
    columns: tuple[Column, ...]
    basis: str


Read = Callable[[Mapping[str, Figures]], tuple[float | None, float | None]]  # a model's row -> value, standard error


def standing(table: Table) -> Standing | None:
    """The table in words; None where nothing was measured. Of one task there is no mean."""
    tasks = list(dict.fromkeys(task for row in table.values() for task in row))
    if not tasks:
        return None
    rows = list(table.values())
    columns = []
    solved = [task for task in tasks if any(measured(row.get(task, {}), "pass@1") is not None for row in rows)]
    if len(solved) > 1:
        columns.append(_column(MEAN, "mean of tasks", "share", +1, rows, lambda row: _mean_right(row, solved)))
    for task in tasks:
        label, figure = (_called(task), "pass@1") if task in solved else (f"{_called(task)}: won", "win_rate")
        columns.append(_column(task, label, "share", +1, rows, _one(task, figure)))
    for task in tasks:
        for name in dict.fromkeys(n for row in rows for n in row.get(task, {}) if n.startswith(MARK)):
            label = f"{_called(task)}: {name.removeprefix(MARK)}"
            columns.append(_column(f"{task}/{name}", label, "share", 0, rows, _one(task, name)))
    wholes: tuple[tuple[str, str, Unit, int], ...] = (
        ("format", "in the format", "share", +1),
        ("language", "in the question's language", "share", +1),
        ("mean_length", "tokens a response", "tokens", 0),
    )
    columns += [_column(name, label, unit, way, rows, _mean(name)) for name, label, unit, way in wholes]
    shown = tuple(c for c in columns if any(cell.text != DASH for cell in c.cells))
    return Standing(tuple(short(model) for model in table), len(tasks), shown, _basis(rows)) if shown else None


def last_table(run: Run) -> tuple[Stage, Standing] | None:
    """The last stage that measured models, with its table."""
    for stage in reversed(run.stages):
        if stage.kind == "evaluate" and (table := standing(evaluated(stage))):
            return stage, table
    return None


def _column(
    name: str, label: str, unit: Unit, better: int, rows: Sequence[Mapping[str, Figures]], read: Read
) -> Column:
    found = [read(row) for row in rows]
    values = [value for value, _ in found if value is not None]
    best = max(values) if better and len(values) > 1 and max(values) > min(values) else None
    best_error = next((error for value, error in found if value == best), None)
    cells = []
    for value, error in found:
        text = show(value, unit).removesuffix(" %")
        if value is not None and error is not None:
            text += f" ± {100 * error:.1f}"
        near = best is not None and value is not None and value != best and error is not None and best_error is not None
        near = near and best - value < 2 * math.hypot(error, best_error)  # type: ignore[operator,arg-type]
        share = value if unit == "share" and value is not None else None
        cells.append(Cell(text, best is not None and value == best, near, share))
    return Column(name, label, tuple(cells))


def _one(task: str, name: str) -> Read:
    """A figure of one task, with its standard error where it has one."""
    return lambda row: (measured(row.get(task, {}), name), measured(row.get(task, {}), f"{name}_stderr"))


def _mean(name: str) -> Read:
    """A figure's mean over the tasks that have it."""

    def read(row: Mapping[str, Figures]) -> tuple[float | None, float | None]:
        values = [value for figures in row.values() if (value := measured(figures, name)) is not None]
        return (sum(values) / len(values) if values else None), None

    return read


def _mean_right(row: Mapping[str, Figures], tasks: Sequence[str]) -> tuple[float | None, float | None]:
    """pass@1, each task counted alike, of a model that was measured on all of them."""
    values = [measured(row.get(task, {}), "pass@1") for task in tasks]
    errors = [measured(row.get(task, {}), "pass@1_stderr") for task in tasks]
    known = [value for value in values if value is not None]
    if len(known) < len(tasks):
        return None, None
    sure = [error for error in errors if error is not None]
    return sum(known) / len(known), (math.hypot(*sure) / len(tasks) if len(sure) == len(tasks) else None)


def _basis(rows: Sequence[Mapping[str, Figures]]) -> str:
    """`128 problems × 4 samples of each task`, or the range where they differ."""
    asked = sorted({v for row in rows for f in row.values() if (v := measured(f, "asked")) is not None})
    samples = sorted({v for row in rows for f in row.values() if (v := measured(f, "n")) is not None})
    if not asked or not samples:
        return ""
    return f"{_range(asked)} problems × {_range(samples)} sample{'' if samples == [1.0] else 's'} of each task"


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:.0f}" if len(values) == 1 else f"{values[0]:.0f} to {values[-1]:.0f}"


def _called(task: str) -> str:
    """`gsm8k:/data/test.jsonl` is `gsm8k`; of a task of one's own, `tasks.py:Parity`, the name."""
    before, colon, after = task.partition(":")
    return after or before if colon and before.endswith(".py") else short(before)
