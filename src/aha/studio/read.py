"""Read a run folder: live, finished or crashed.

    run = read_run("runs/demo")
    run.state, run.stages[-1].evaluation["after"]["pass@1"]

Reading never fails on what a run has not written yet, nor on a line that was cut off; what is missing is empty here.
Values that were not measured are absent, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.errors import UserError
from aha.studio.files import Figures, content, figures, finite, lines, mapping, of_yaml, part
from aha.types import StepMetrics

WHENS = ("before", "after")
LEARNING = ("pretrain", "rl", "sft", "reward-model")  # kinds of stages that make steps of training


@dataclass(frozen=True, slots=True)
class Example:
    """One stored response with its scores and their reasons, by reward."""

    question: str
    response: str
    score: Mapping[str, float] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    turned_back: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `evaluation` and `samples` have the keys "before" and "after", as far as those were made.

    `state` is "waiting" (nothing written yet), "running", "stopped", "finished" or "failed"; a run that was killed
    still says "running", and `written` (unix seconds of the newest file) tells how long it has been silent. `kind` is
    empty where nothing says it; `config` is the stage's part of the recipe, `inputs` what it read, by digest.
    """

    path: Path
    number: int
    name: str
    state: str
    planned_steps: int | None
    reason: str | None
    result: Mapping[str, Any]
    metrics: tuple[StepMetrics, ...]
    times: tuple[float | None, ...]  # unix seconds, one a step
    evaluation: Mapping[str, Figures]
    samples: Mapping[str, tuple[Example, ...]]
    written: float | None
    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of the metric `name`, of the steps that measured it."""
        points = [(m.step, m.values[name]) for m in self.metrics if name in m.values]
        return [step for step, _ in points], [value for _, value in points]

    @property
    def last_step(self) -> int:
        """The last step that was made; 0 where there is none."""
        return self.metrics[-1].step if self.metrics else 0

    @property
    def unit(self) -> str:
        """What a line of its metrics is: a step, or a part of a stage that works in parts."""
        return {"collect": "part", "compare": "part", "evaluate": "measurement"}.get(self.kind, "step")


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder's contents. `recipe` is its parsed recipe.yaml, `recipe_text` the file as it stands."""

    path: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    info: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's."""
        return str(self.recipe.get("name") or self.path.resolve().name)

    @property
    def state(self) -> str:
        """One of "starting", "running", "stopped", "finished", "failed"."""
        if not self.stages:
            return "starting"
        for state in ("failed", "stopped"):
            if any(stage.state == state for stage in self.stages):
                return state
        planned = self.recipe.get("stages")
        missing = len(planned) > len(self.stages) if isinstance(planned, Mapping) else False
        return "finished" if not missing and all(s.state == "finished" for s in self.stages) else "running"


def read_run(folder: str | Path) -> Run:
    """Read the run in `folder`. Raises UserError where it holds none."""
    path = Path(folder)
    if not path.is_dir():
        hint = _hint(path.parent)
        raise UserError(f"run folder {str(path)!r} does not exist; give a folder that `aha run` made{hint}")
    if not _is_run(path):
        raise UserError(
            f"{str(path)!r} is not a run folder, it has neither recipe.yaml nor stages/; "
            f"give a folder that `aha run` made{_hint(path)}"
        )
    text = content(path / "recipe.yaml")
    folders = [p for p in sorted((path / "stages").glob("[0-9]*-*")) if p.is_dir() and ".replaced-" not in p.name]
    recipe = of_yaml(text)
    stages = tuple(_stage(p, part(recipe, "stages")) for p in folders)
    return Run(path, recipe, text, mapping(path / "run.json"), tuple(lines(path / "events.jsonl")), stages)


def _is_run(path: Path) -> bool:
    return (path / "recipe.yaml").is_file() or (path / "stages").is_dir()


def _hint(parent: Path) -> str:
    """Names a run folder nearby, the newest first."""
    try:
        found = [p for p in parent.iterdir() if p.is_dir() and _is_run(p)]
        newest = max(found, key=lambda p: p.stat().st_mtime, default=None)
    except OSError:
        return ""
    return f", such as {str(newest)!r}" if newest else ""


def _stage(path: Path, planned_stages: Mapping[str, Any]) -> Stage:
    number, _, name = path.name.partition("-")
    about = mapping(path / "stage.json")
    config = part(planned_stages, name)
    planned = about.get("planned_steps")
    metrics, times = _metrics(path / "metrics.jsonl")
    evaluation = mapping(path / "evaluation.json")
    samples = mapping(path / "samples.json")
    return Stage(
        path=path,
        number=int(number) if number.isdigit() else 0,
        name=str(about.get("name") or name),
        state=str(about.get("state") or ("running" if metrics else "waiting")),
        planned_steps=planned if isinstance(planned, int) else None,
        reason=str(about["reason"]) if about.get("reason") else None,
        result=about["result"] if isinstance(about.get("result"), Mapping) else {},
        metrics=metrics,
        times=times,
        evaluation={when: figures(evaluation[when]) for when in WHENS if isinstance(evaluation.get(when), Mapping)},
        samples={when: _examples(samples[when]) for when in WHENS if isinstance(samples.get(when), list)},
        written=_newest(path),
        kind=str(about.get("kind") or config.get("kind") or _kind(metrics)),
        config=config,
        inputs=part(about, "inputs"),
    )


def _kind(metrics: tuple[StepMetrics, ...]) -> str:
    """Of a stage that does not say what it is."""
    names = {name for step in metrics for name in step.values}
    return "rl" if names & {"pass@1", "reward/total"} else "sft" if "loss" in names else ""


def _metrics(path: Path) -> tuple[tuple[StepMetrics, ...], tuple[float | None, ...]]:
    """Steps in order; of a step that was written twice (a resumed run), the later line holds."""
    by_step: dict[int, tuple[StepMetrics, float | None]] = {}
    for line in lines(path):
        step = finite(line.get("step"))
        if step is not None:
            values = {k: v for k, v in figures(line).items() if k not in ("step", "time") and not isinstance(v, str)}
            by_step[int(step)] = (StepMetrics(int(step), values), finite(line.get("time")))
    ordered = [by_step[step] for step in sorted(by_step)]
    return tuple(m for m, _ in ordered), tuple(t for _, t in ordered)


def _examples(rows: list[Any]) -> tuple[Example, ...]:
    found = []
    for row in rows:
        if isinstance(row, Mapping):
            score, why, length = row.get("score"), row.get("why"), finite(row.get("length"))
            scores = figures(score) if isinstance(score, Mapping) else {}
            found.append(
                Example(
                    question=str(row.get("question", "")),
                    response=str(row.get("response", "")),
                    score={k: v for k, v in scores.items() if not isinstance(v, str)},
                    why={str(k): str(v) for k, v in why.items() if v} if isinstance(why, Mapping) else {},
                    length=int(length) if length is not None else None,
                    turned_back=bool(row.get("turned_back")),
                )
            )
    return tuple(found)


def _newest(folder: Path) -> float | None:
    """When a file of the stage was last written."""
    names = (
        "stage.json", "metrics.jsonl", "evaluation.json", "samples.json", "rollouts", "checkpoints", "parts",
        "review.jsonl",
    )  # fmt: skip
    times = []
    for name in names:
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)
