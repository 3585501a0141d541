"""What the claims are measured on: one seed's run of the recipe `claims`, by the names of its stages.

    run = Seed.read(Path("runs/claims/seed-0"))
    run.after("zero", "pass@1"), run.curve("dev2", "pass@1"), run.share("r1", "countdown", "pass@1")

Whatever is asked for and was not measured raises `Missing`, which names it: a claim is never judged on a part.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from aha.studio.read import Run, Stage, read_run

EVALUATED = "evaluated"  # the stage that holds the table of all models
REASONING = ("countdown", "logic", "functions")
GENERAL = "requests"
SMOOTHED = 3  # steps over which a curve is averaged before two curves are compared


class Missing(Exception):
    """What was not measured."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One stored response of an evaluation."""

    problem: str
    tokens: int
    right: bool
    ended: bool = True  # not cut off at the limit


@dataclass(frozen=True)
class Seed:
    """A run of one seed."""

    name: str
    run: Run

    @classmethod
    def read(cls, folder: Path) -> Seed:
        """Raises UserError where `folder` holds no run."""
        return cls(folder.name, read_run(folder))

    def stage(self, name: str) -> Stage:
        """A finished stage."""
        found = next((stage for stage in self.run.stages if stage.name == name), None)
        if found is None or found.state != "finished":
            raise Missing(f"stage {name} of {self.name} is not finished")
        return found

    def before(self, stage: str, figure: str) -> float:
        """A figure of the stage's evaluation before its first step."""
        return _number(self.stage(stage).evaluation.get("before", {}), figure, f"{stage} before training")

    def after(self, stage: str, figure: str) -> float:
        """The same after its last one."""
        return _number(self.stage(stage).evaluation.get("after", {}), figure, f"{stage} after training")

    def seconds(self, stage: str) -> float:
        """Time that the stage spent training."""
        return _number(self.stage(stage).result, "train_s", stage)

    def curve(self, stage: str, metric: str) -> tuple[list[int], list[float]]:
        """Steps, and the metric averaged over `SMOOTHED` steps."""
        steps, values = self.stage(stage).series(metric)
        if not steps:
            raise Missing(f"stage {stage} of {self.name} has no {metric}")
        return steps, [mean(values[max(0, i - SMOOTHED + 1) : i + 1]) for i in range(len(values))]

    @functools.cached_property
    def _table(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        file = self.stage(EVALUATED).path / "table.json"
        if not file.is_file():
            raise Missing(f"{file.name} of {self.name}")
        return dict(json.loads(file.read_text(encoding="utf-8")))

    def share(self, model: str, task: str, figure: str) -> float:
        """A figure of a model on a task in the table of all models."""
        return _number(self._table.get(model, {}).get(task, {}), figure, f"{model} on {task}")

    def reasoning(self, model: str, figure: str = "pass@1") -> float:
        """The mean of a figure over the reasoning tasks."""
        return mean([self.share(model, task, figure) for task in REASONING])

    def sampled(self, model: str, task: str) -> list[Sampled]:
        """All responses of a model to a task's test problems."""
        table = self._table
        places = [(one, name) for one, row in table.items() for name in row]
        if (model, task) not in places:
            raise Missing(f"{model} on {task} was not evaluated by {self.name}")
        file = self.stage(EVALUATED).path / "rollouts" / f"step-{places.index((model, task)) + 1:06d}.parquet"
        if not file.is_file():
            raise Missing(f"{file.name} of {self.name}")
        rows = pq.read_table(file, columns=["problem", "ids", "verdicts", "stop_reason"]).to_pylist()
        return [
            Sampled(row["problem"], len(row["ids"]), _right(row["verdicts"]), row["stop_reason"] == "stop")
            for row in rows
        ]


def mean(values: Sequence[float]) -> float:
    """Of at least one value."""
    return sum(values) / len(values)


def solved(samples: Sequence[Sampled]) -> dict[str, float]:
    """The share of right responses by problem."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        found.setdefault(sample.problem, []).append(float(sample.right))
    return {problem: mean(values) for problem, values in found.items()}


def tokens_by_difficulty(judge: Sequence[Sampled], samples: Sequence[Sampled], parts: int = 3) -> list[float]:
    """Mean tokens of those `samples` that end, on the easiest to the hardest part of the problems by how often `judge`
    solves them. Problems that it solves equally often are of one part.

    >>> judge = [Sampled("a", 1, True), Sampled("b", 1, False)]
    >>> tokens_by_difficulty(judge, [Sampled("a", 10, True), Sampled("b", 30, True)], parts=2)
    [10.0, 30.0]
    """
    rate = solved(judge)
    rates = sorted(rate.values(), reverse=True)
    tokens: list[list[int]] = [[] for _ in range(parts)]
    for sample in samples:
        if sample.ended:  # a search without an end says nothing of how hard it was
            tokens[rates.index(rate[sample.problem]) * parts // len(rates)].append(sample.tokens)
    if not all(tokens):
        raise Missing(f"{parts} parts of {len(rates)} problems that differ in how often they are solved")
    return [mean(part) for part in tokens]


def right_within(samples: Sequence[Sampled], budget: int) -> float:
    """pass@1 had every response been cut off after `budget` tokens: what ends later is not right.

    >>> right_within([Sampled("a", 10, True), Sampled("a", 30, True)], budget=20)
    0.5
    """
    return mean([float(sample.right and sample.tokens <= budget) for sample in samples])


def _right(verdicts: Sequence[Mapping[str, Any]]) -> bool:
    return any(one["reward"] == "accuracy" and one["value"] == 1.0 for one in verdicts)


def _number(figures: Mapping[str, Any], figure: str, of: str) -> float:
    value = figures.get(figure)
    if not isinstance(value, int | float):
        raise Missing(f"{figure} of {of}")
    return float(value)
