"""What of a recipe can be checked before anything runs: names, files, and which stage is for which task."""

from __future__ import annotations

from pathlib import Path

from aha.algorithms.table import algorithm
from aha.config import (
    MODEL,
    CollectStage,
    CompareStage,
    EvaluateStage,
    Recipe,
    RLStage,
    Stage,
    data_of,
    speakers_of,
)  # fmt: skip
from aha.engines.openai import key_of
from aha.errors import UserError, nearest
from aha.pipeline import ways
from aha.pipeline.context import task_of
from aha.pipeline.refine import refiner
from aha.protocols import Task, Writes
from aha.rewards.compose import find
from aha.rewards.table import REWARDS
from aha.tasks.mixture import Mixture
from aha.tasks.prompt_data import PREFERENCES


def check(recipe: Recipe) -> None:
    """Raises UserError for the first thing that a stage would stumble over later."""
    _workers(recipe)
    for name, stage in recipe.stages.items():
        for source in files_of(stage, recipe):
            if not Path(source).exists():
                raise UserError(f"no file {source!r}, nor a stage of that name, for stage {name!r} to read; give one")
        for choice in speakers_of(stage).values():
            if choice.endpoint is not None:
                key_of(choice.endpoint)
        match stage:
            case RLStage():
                _rl(recipe, stage)
            case CollectStage():
                _collect(recipe, stage)
            case CompareStage():
                task_of(recipe, stage.task)
            case EvaluateStage():
                for task in stage.tasks:
                    task_of(recipe, task)
            case _:
                pass


def _workers(recipe: Recipe) -> None:
    """What a launcher cannot do, and what needs one."""
    launcher, choice = recipe.launcher, recipe.workers
    for name, stage in recipe.stages.items():
        if isinstance(stage, RLStage) and stage.rollouts.ahead and launcher == "here":
            raise UserError(
                f"{name}.rollouts.ahead={stage.rollouts.ahead} samples beside learning, which needs workers; add "
                "launcher=processes or launcher=ray, or set rollouts.ahead=0"
            )
    if launcher != "here" and recipe.engine.kind != "native":
        raise UserError(
            f"launcher={launcher} is for aha's own engine; set engine.kind=native, or launcher=here with "
            f"engine.kind={recipe.engine.kind}"
        )
    if launcher != "ray" and choice.address:
        raise UserError(f"workers.address={choice.address} is of a Ray cluster; add launcher=ray, or leave it out")
    if launcher != "ray" and choice.learners > 1:
        raise UserError(
            f"workers.learners={choice.learners} is for launcher=ray; start as many processes with torchrun instead"
        )


def files_of(stage: Stage, recipe: Recipe) -> list[str]:
    """The files of conversations, preferences and models that a stage names."""
    named = [*data_of(stage)]
    if isinstance(stage, CollectStage):
        named += stage.also
    return [name for name in named if name not in recipe.stages and name != "base" and not name.startswith(MODEL)]


def members(task: Task) -> dict[str, Task]:
    """The tasks that a task is made of, by name."""
    return {one.name: one for one in (task.tasks if isinstance(task, Mixture) else (task,))}


def _rl(recipe: Recipe, stage: RLStage) -> None:
    for name in {*stage.rewards, *(name for own in stage.rewards_of.values() for name in own)}:
        find(name)
    algorithm(stage.algorithm.name).setting.replaced(stage.algorithm.options)
    tasks = members(task_of(recipe, stage.task))
    for name in stage.rewards_of:
        if name not in tasks:
            raise UserError(f"rewards_of names {name!r}, which is no task of the stage{nearest(name, tasks)}")
    for name in stage.preferences:
        if name not in PREFERENCES or name in REWARDS:
            raise UserError(f"unknown preference {name!r}{nearest(name, PREFERENCES)}")


def _collect(recipe: Recipe, stage: CollectStage) -> None:
    for name in stage.least:
        find(name)
    ways.check(stage.ways)
    if "few-shot" in stage.ways and not stage.examples:
        raise UserError("the way few-shot needs examples; name a stage that collects, or a file, under `examples`")
    if isinstance(stage.refine, str):
        refiner(stage.refine)
    for name in stage.written:
        if not isinstance(task_of(recipe, name), Writes):
            raise UserError(f"task {name!r} writes no responses; name one under `written` that does, as 'requests'")
