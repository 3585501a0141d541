"""Run a recipe in a folder: its stages in order, finished ones skipped, a broken one resumed.

run(recipe, Path("runs/demo"), observer)
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from aha import __version__, runtime
from aha.config import (
    MODEL,
    CollectStage,
    CompareStage,
    EvaluateStage,
    PretrainStage,
    Recipe,
    RLStage,
    SFTStage,
    Stage,
    data_of,
    identity_of,
)  # fmt: skip
from aha.distributed.lead import led
from aha.distributed.rollout.elastic import forget_wanted
from aha.distributed.watch import Explained, watched
from aha.distributed.world import World, gpu_of, joined, launched
from aha.errors import Stopped, UserError, nearest
from aha.models.loading import resolve
from aha.pipeline.checks import check, files_of
from aha.pipeline.collect_stage import run_collect
from aha.pipeline.compare_stage import run_compare
from aha.pipeline.context import Context, task_of
from aha.pipeline.evaluate_stage import run_evaluate
from aha.pipeline.guard import stop_requests, watchdog
from aha.pipeline.observer import Observer, Silent
from aha.pipeline.pretrain_stage import run_pretrain
from aha.pipeline.processes import helping
from aha.pipeline.reward_stage import run_reward_model
from aha.pipeline.rl_stage import run_rl
from aha.pipeline.run_folder import RunFolder, StageFolder
from aha.pipeline.sft_stage import run_sft
from aha.plugins import is_plugin

Listen = Callable[[Callable[[], None]], None]
EDGE = 1 << 20  # bytes read at either end of a weight file for its digest


RUNNERS: dict[str, Callable[[Context, Any], dict[str, Any]]] = {
    "pretrain": run_pretrain,
    "rl": run_rl,
    "sft": run_sft,
    "collect": run_collect,
    "compare": run_compare,
    "reward-model": run_reward_model,
    "evaluate": run_evaluate,
}
LED = ("collect", "compare", "evaluate")  # by the first process, where there are several; the others sample for it


def run(
    recipe: Recipe, out: Path, observer: Observer | None = None, begin: str = "", listen: Listen | None = None
) -> dict[str, Any]:
    """Run `recipe` in `out`; returns the result of its last stage. The same call resumes; with `begin` that stage and
    all after it are made again, whatever they made before is kept aside. Several processes that a launcher has started
    all make the same call; the first one writes and is observed. `listen` is told how to ask the run to stop, where it
    runs in a thread that hears no signals."""
    if begin and begin not in recipe.stages:
        raise UserError(f"no stage {begin!r} to begin with{nearest(begin, recipe.stages)}")
    chosen = _chosen(recipe, launched())
    runtime.apply(chosen, deterministic=recipe.deterministic)
    task = task_of(recipe)
    check(recipe)
    with contextlib.ExitStack() as held:
        grace = recipe.sharding.grace_s
        stop, alive = held.enter_context(stop_requests(grace)), held.enter_context(watchdog(recipe.stuck_after_s))
        if listen is not None:
            listen(stop.ask)
        world = held.enter_context(joined(recipe.stuck_after_s, chosen.device))
        explained = held.enter_context(watched(world, stop, recipe.sharding.deadline_s))
        if len(set(world.told(recipe.model_dump_json()))) > 1:
            raise UserError("the processes of this run were given different recipes; start all by the same command")
        observer = observer if observer is not None and world.first else Silent()
        folder = RunFolder(out, recipe, writes=world.first)
        held.callback(folder.close)
        stages = {name: folder.stage(number, name) for number, name in enumerate(recipe.stages, 1)}
        if begin and world.first:
            _begin_again(stages, begin)
        if world.first:
            forget_wanted(out)  # a process that was killed may have left it
            held.callback(forget_wanted, out)
        folder.write_json("run.json", {**describe(recipe, chosen), "processes": world.size})
        folder.event("start", recipe=recipe.name)
        result: dict[str, Any] = {}
        for name, stage in recipe.stages.items():
            own_task = (
                task_of(recipe, stage.task)
                if isinstance(stage, RLStage | SFTStage | CollectStage | CompareStage)
                else task
            )
            start, data = _inputs(recipe, stages, stage)
            context = Context(recipe, chosen, stages[name], observer, own_task, start, data, stop, alive, world)
            result = _stage(context, name, stage, explained)
            folder.event("stage finished", stage=name)
        return result


def _inputs(recipe: Recipe, stages: Mapping[str, StageFolder], stage: Stage) -> tuple[str, dict[str, str]]:
    """The model that a stage begins from ("" for none), and where that is which it reads beside."""
    start = "" if isinstance(stage, PretrainStage | EvaluateStage) else _made(recipe, stages, stage.start)
    return start, {name: _made(recipe, stages, name) for name in data_of(stage)}


def _made(recipe: Recipe, stages: Mapping[str, StageFolder], name: str) -> str:
    """What `name` stands for: what a stage makes (a model or data), a model, or the path that it is."""
    if name in stages:
        folder = stages[name]
        makes_data = isinstance(recipe.stages[name], CollectStage | CompareStage)
        return str(folder.path / "data.jsonl" if makes_data else folder.model)
    if name == "base":
        return resolve(recipe.model)
    return resolve(name.removeprefix(MODEL)) if name.startswith(MODEL) else name


def _begin_again(stages: Mapping[str, StageFolder], begin: str) -> None:
    """Set aside what `begin` and the stages after it have made. Raises UserError where an earlier one is unfinished."""
    reached = False
    for name, folder in stages.items():
        reached = reached or name == begin
        if not reached and folder.state().get("state") != "finished":
            raise UserError(f"stage {name!r} comes before {begin!r} and is not finished; run without --from first")
        if reached and folder.state():
            folder.set_aside()


def _read_by(context: Context, stage: Stage) -> dict[str, str]:
    """All that a stage reads beside its model, by name: what other stages made, its own files, those of its tasks."""
    choice = getattr(stage, "task", None) or context.recipe.task
    specs = [choice] if isinstance(choice, str) else list(choice)
    if isinstance(stage, EvaluateStage):
        specs = list(stage.tasks)
    sources = [spec.partition(":")[0 if is_plugin(spec) else 2] for spec in specs]
    files = [path for path in (*files_of(stage, context.recipe), *sources) if path and Path(path).exists()]
    return {**{path: path for path in files}, **context.data}


def _chosen(recipe: Recipe, world: World) -> runtime.Runtime:
    """The machine as one process of `world` uses it. Raises UserError for a device that has no room for several."""
    chosen = replace(runtime.choose(recipe.device, recipe.dtype, recipe.threads), engine=recipe.engine)
    if world.size % recipe.sharding.tensor:
        raise UserError(
            f"sharding.tensor={recipe.sharding.tensor} does not divide {world.size} processes; start more with "
            "torchrun, or set a number that does"
        )
    if world.size == 1:
        return chosen
    if recipe.engine.kind != "native":
        raise UserError(f"engine.kind={recipe.engine.kind} is for a run of one process, and {world.size} were started")
    kind, _, number = chosen.device.partition(":")
    if kind == "mps" or number:
        raise UserError(f"device={chosen.device} is for one process; use device=cuda or device=cpu with {world.size}")
    threads = recipe.threads or max(1, chosen.threads // world.local_size)
    return replace(chosen, device=f"cuda:{gpu_of(world)}" if kind == "cuda" else kind, threads=threads)


def _stage(context: Context, name: str, stage: Stage, explained: Explained) -> dict[str, Any]:
    """The result of one stage: what it was where it is finished and its inputs are the same, else made now."""
    world, folder = context.world, context.folder
    done = world.agreed(_finished(context, name, stage) if world.first else None)
    if done is not None:
        return dict(done)
    try:
        with explained(lambda state, reason: folder.set_state(state=state, reason=reason)):
            result = _made_by(context, stage)
    except Stopped as stopped:
        folder.set_state(state="stopped", reason=str(stopped))
        raise
    except BaseException as error:
        folder.set_state(state="failed", reason=f"{type(error).__name__}: {error}")
        raise
    folder.set_state(state="finished", result=result)
    world.wait()  # until what it has made can be read
    return result


def _made_by(context: Context, stage: Stage) -> dict[str, Any]:
    """What a stage's own code makes, on all processes or on the first."""
    made = functools.partial(RUNNERS[stage.kind], context, stage)
    if context.world.size == 1 or stage.kind not in LED:
        return made()
    return led(context.world, made, functools.partial(helping, context), context.alive)


def _finished(context: Context, name: str, stage: Stage) -> dict[str, Any] | None:
    """The result of a stage that is finished, its inputs being the same; else None, and the stage is noted as begun."""
    folder, observer = context.folder, context.observer
    inputs = {
        "stage": _text_digest(identity_of(stage)),
        "start": model_digest(context.start) if context.start else None,
        "data": {name: _digest(Path(path)) for name, path in _read_by(context, stage).items()},
    }
    before = folder.state().get("inputs", inputs)
    if before != inputs:
        changed = ", ".join(key for key in inputs if before.get(key) != inputs[key])
        kept = folder.set_aside()
        observer.note(f"what stage {name} starts from has changed ({changed}); its earlier work is kept in {kept.name}")
    if folder.state().get("state") == "finished":
        observer.note(f"stage {name} is finished")
        return dict(folder.state()["result"])
    planned = stage.steps if isinstance(stage, RLStage | PretrainStage) else None
    folder.set_state(
        name=name, kind=stage.kind, state="running", planned_steps=planned, inputs=inputs, result=None, reason=None,
        commit=commit(),
    )  # fmt: skip
    return None


def describe(recipe: Recipe, chosen: runtime.Runtime) -> dict[str, Any]:
    """run.json: versions, machine, seed."""
    return {
        "aha": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.node(),
        "cpu": runtime.processor_name(),
        "device": chosen.device,
        "dtype": chosen.dtype_name,
        "threads": chosen.threads,
        "seed": recipe.seed,
        "commit": commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def model_digest(folder: str) -> str:
    """A digest of a model folder: names, sizes and both ends of every file; of the name, for a hub id."""
    path = Path(folder)
    if not path.is_dir():
        return _text_digest(folder)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.iterdir() if p.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(EDGE))
            stream.seek(max(0, size - EDGE))
            digest.update(stream.read(EDGE))
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """Of a file's bytes, or of a model."""
    if not path.is_file():
        return model_digest(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()


def commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
