"""Models on the same problems: their differences, with the error that pairs leave.

    results = [load_result("runs/eval/a-tiny-..."), load_result("runs/eval/b-tiny-...")]
    differences(results)       # [{"task": "countdown", "first": "a", "second": "b", "difference": 0.41, ...}]

A problem that is hard for one model is hard for the other: the difference is taken problem by problem, and its error is
over problems (Miller, "Adding Error Bars to Evals", arXiv 2411.00640, section 4.2).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from aha.errors import UserError
from aha.evaluation.metrics import paired_difference, residuals

COLUMNS = ["task", "problem", "value", "marks"]
Shares = dict[str, list[float]]  # by problem: what was got, of what


@dataclass(frozen=True, slots=True)
class Result:
    """An evaluation as its folder holds it: `results` of results.json, and the shares of each task's problems."""

    path: Path
    results: dict[str, Any]
    shares: dict[str, Shares]

    @property
    def model(self) -> str:
        return str(self.results["model"])


def load_result(path: str | Path) -> Result:
    """What a folder holds. Raises UserError where there is no evaluation that has ended."""
    folder = Path(path)
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        table = pq.read_table(folder / "samples.parquet", columns=COLUMNS)
        results["tasks"], results["model"], results["settings"]["tasks"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{str(path)!r} holds no evaluation that has ended ({type(error).__name__}); give a folder of aha eval"
        ) from error
    shares: dict[str, Shares] = {}
    for row in table.to_pylist():
        marks = dict(row["marks"] or ())
        got, of = (marks["won"], marks["games"]) if "games" in marks else (float(row["value"] == 1.0), 1.0)
        pair = shares.setdefault(row["task"], {}).setdefault(row["problem"], [0.0, 0.0])
        pair[0] += got
        pair[1] += of
    return Result(folder, results, shares)


def differences(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each result against the first, task by task. Raises UserError where their problems are not the same."""
    first, *others = results
    shared = [(second, task) for second in others for task in first.shares if task in second.shares]
    if others and not shared:
        raise UserError(f"{first.path} and {others[0].path} have no task in common; compare results of one suite")
    return [_difference(first, second, task) for second, task in shared]


def _difference(first: Result, second: Result, task: str) -> dict[str, Any]:
    facts = [one.results["settings"]["tasks"].get(task, {}).get("digest") for one in (first, second)]
    if facts[0] != facts[1]:
        raise UserError(
            f"{first.path} and {second.path} were asked other problems of {task!r}; compare results of the same data "
            "and instruction"
        )
    problems = list(first.shares[task])
    mine, other = (_values(one.shares[task], problems) for one in (first, second))
    difference, stderr, p = paired_difference(other, mine)
    return {
        "task": task, "first": first.model, "second": second.model, "difference": difference,
        "stderr": None if math.isnan(stderr) else stderr, "p": None if math.isnan(p) else p, "problems": len(problems),
    }  # fmt: skip


def _values(shares: Shares, problems: Sequence[str]) -> list[float]:
    """A value a problem, whose mean is the share of all: the problem's own share, where all weigh alike."""
    got, of = ([shares[problem][place] for problem in problems] for place in (0, 1))
    if len(set(of)) == 1:
        return [part / of[0] for part in got]
    rate = math.fsum(got) / math.fsum(of)
    return [rate + rest for rest in residuals(got, of, rate)]
