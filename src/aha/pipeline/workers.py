"""Who samples for an RL stage: this process, or workers of a launcher.

    with sampler(context, stage, loaded, dialogue, attempts) as drawn:
        drawn.begin(done, state.get("sampler", {}))
        Loop(..., share=drawn.share, source=drawn.source), drawn.engine

`kit_of` makes a worker of what it is told (`distributed/rollout/channel.py`).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from aha import runtime
from aha.config import RLStage, validate
from aha.distributed.ray.launcher import Actors
from aha.distributed.rollout.books import BOOKS, Books, Line, opened
from aha.distributed.rollout.channel import Kind, Launcher, Setup
from aha.distributed.rollout.elastic import Wanted, ask_for, present
from aha.distributed.rollout.engine import PoolEngine
from aha.distributed.rollout.local import Processes
from aha.distributed.rollout.pool import Pool
from aha.distributed.rollout.questions import Kit
from aha.distributed.rollout.ranks import FirstMakes, Told
from aha.distributed.rollout.sources import Ahead, Resumed, Within
from aha.engines.native.engine import NativeEngine
from aha.errors import UserError
from aha.evaluation.grading import Share
from aha.models.dialogue import Dialogue
from aha.models.loading import Loaded, load, resolve
from aha.pipeline.context import Context, dialogue_of, engine_of, task_of
from aha.pipeline.processes import share_of
from aha.pipeline.run_folder import in_use
from aha.protocols import Engine
from aha.training.collect import Collector, Source, collect


@dataclass(frozen=True, slots=True)
class Drawn:
    """By what a stage samples: the engine of evaluations, how they are divided, and where a step's groups come from."""

    engine: Engine
    share: Share
    source: Source = collect
    resumed: Resumed | None = None
    notes: Callable[[], list[str]] = list  # what has happened to workers since the last call

    def begin(self, done: int, state: Mapping[str, Any]) -> None:
        """Go on after `done` steps; `state` is what `state` was then."""
        if self.resumed is not None:
            self.resumed.begin(done, state)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return self.resumed.state() if self.resumed is not None else {}


@contextlib.contextmanager
def sampler(context: Context, stage: RLStage, loaded: Loaded, dialogue: Dialogue, attempts: int) -> Iterator[Drawn]:
    """This process, or workers, for as long as the `with` lasts. Workers belong to the first process."""
    recipe, world = context.recipe, context.world
    if recipe.launcher == "here":
        yield Drawn(engine_of(loaded, context.runtime, stage.rollouts.slots), share_of(context, dialogue))
        return
    with contextlib.ExitStack() as held:
        pool, source = held.enter_context(_pool(context, stage, loaded, attempts)) if world.first else (None, None)
        engine, notes = PoolEngine(pool), pool.notes if pool is not None else list
        if world.size > 1:
            told = Told(world, dialogue, source)
            yield Drawn(engine, FirstMakes(world, dialogue), told, told, notes)
        else:
            assert source is not None, "a process that is alone is the first one"
            yield Drawn(engine, share_of(context, dialogue), source, source, notes)


@contextlib.contextmanager
def _pool(context: Context, stage: RLStage, loaded: Loaded, attempts: int) -> Iterator[tuple[Pool, Resumed]]:
    choice, r = context.recipe.workers, stage.rollouts
    with opened(context.folder.path / BOOKS) as file:
        lock = threading.Lock()

        def log(line: Line) -> None:
            with lock:
                file.write(json.dumps({"time": time.time(), **line}) + "\n")

        books = Books(log)
        counts: dict[Kind, int] = {"rollout": choice.rollout, "reward": choice.reward}
        wanted = Wanted(context.folder.path.parent.parent, counts)
        setups = {kind: _setup(context, stage, loaded, kind) for kind in counts}
        with Pool(launcher_of(context), setups, choice, wanted, books, log, slots=r.slots) as pool:
            yield pool, Ahead(pool, books, r.ahead) if r.ahead else Within(pool, books, r.questions, attempts)


def launcher_of(context: Context) -> Launcher:
    """What starts the workers of a run."""
    if context.recipe.launcher == "ray":
        return Actors(context.recipe, context.folder.path.parent.parent.name)
    return Processes(context.world.local_size)


def _setup(context: Context, stage: RLStage, loaded: Loaded, kind: Kind) -> Setup:
    recipe, chosen = context.recipe, context.runtime
    together = recipe.workers.rollout + bool(stage.rollouts.ahead)  # that compute at the same time
    threads = recipe.workers.threads or max(1, chosen.threads // together)
    device = chosen.device.partition(":")[0] if kind == "rollout" else "cpu"
    return Setup(
        kind, recipe.model_dump_json(), context.folder.name, context.start, device, chosen.dtype_name, threads, kit_of,
        tuple(sorted(loaded.eos_ids)),
    )  # fmt: skip


def kit_of(setup: Setup) -> Kit:
    """What a worker works with, made in its own process."""
    recipe = validate(json.loads(setup.recipe))
    stage = recipe.stages[setup.stage]
    assert isinstance(stage, RLStage), "workers are for stages of RL"
    chosen = runtime.Runtime(setup.device, getattr(torch, setup.dtype), setup.threads)
    runtime.apply(chosen, deterministic=recipe.deterministic)
    task = task_of(recipe, stage.task)
    if setup.kind == "reward":
        tokenizer = AutoTokenizer.from_pretrained(resolve(setup.model), trust_remote_code=False)
        dialogue = Dialogue(tokenizer, recipe.template, frozenset(setup.eos_ids))
        return Kit(Collector(stage, task, recipe.seed, dialogue))
    loaded = load(setup.model, setup.device, stage.positions)
    engine = NativeEngine(
        loaded.model, loaded.eos_ids, dtype=chosen.dtype, slots=stage.rollouts.slots, context=loaded.context
    )
    return Kit(Collector(stage, task, recipe.seed, dialogue_of(loaded, recipe.template)), engine)


def asked_for(folder: Path, counts: Mapping[Kind, int]) -> dict[str, Any]:
    """The workers of the run in `folder`, asked to be as many as `counts` says. Raises UserError where it has none."""
    there = present(folder) if in_use(folder) else None
    if there is None:
        raise UserError(f"{folder} has no run with workers now; start one with launcher=processes or launcher=ray")
    if counts:
        ask_for(folder, counts)
    return {"workers": there, "asked for": dict(counts)}
