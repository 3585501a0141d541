"""Run a recipe in a folder: its stages in order, finished ones skipped, a broken one resumed.

run(recipe, Path("runs/demo"), observer)
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
import transformers

from aha import __version__, runtime
from aha.config import PretrainStage, Recipe, RLStage
from aha.errors import Stopped
from aha.models.loading import resolve
from aha.pipeline.context import Context
from aha.pipeline.guard import stop_requests, watchdog
from aha.pipeline.observer import Observer, Silent
from aha.pipeline.pretrain_stage import run_pretrain
from aha.pipeline.rl_stage import run_rl
from aha.pipeline.run_folder import RunFolder
from aha.tasks.table import make_task

EDGE = 1 << 20  # bytes read at either end of a weight file for its digest


def run(recipe: Recipe, out: Path, observer: Observer | None = None) -> dict[str, Any]:
    """Run `recipe` in `out`; returns the result of its last stage. The same call resumes."""
    observer = observer or Silent()
    chosen = runtime.choose(recipe.device, recipe.dtype, recipe.threads)
    runtime.apply(chosen, deterministic=recipe.deterministic)
    task = make_task(recipe.task, recipe.seed, recipe.task_options)
    folder = RunFolder(out, recipe)
    with contextlib.ExitStack() as held:
        held.callback(folder.close)
        stop, alive = held.enter_context(stop_requests()), held.enter_context(watchdog(recipe.stuck_after_s))
        folder.write_json("run.json", describe(recipe, chosen))
        folder.event("start", recipe=recipe.name)
        models = {"base": resolve(recipe.model)}
        result: dict[str, Any] = {}
        for number, (name, stage) in enumerate(recipe.stages.items(), 1):
            stage_folder = folder.stage(number, name)
            start = models[stage.start] if isinstance(stage, RLStage) else ""
            inputs = {"stage": _text_digest(stage.model_dump_json()), "start": model_digest(start) if start else None}
            if stage_folder.state().get("inputs", inputs) != inputs:
                kept = stage_folder.set_aside()
                observer.note(f"what stage {name} starts from has changed; its earlier work is kept in {kept.name}")
            state = stage_folder.state()
            models[name] = str(stage_folder.model)
            if state.get("state") == "finished":
                observer.note(f"stage {name} is finished")
                result = state["result"]
                continue
            stage_folder.set_state(
                name=name, kind=stage.kind, state="running", planned_steps=stage.steps, inputs=inputs, result=None,
                reason=None,
            )  # fmt: skip
            context = Context(recipe, chosen, stage_folder, observer, task, start, stop, alive)
            result = _guarded(context, stage)
            stage_folder.set_state(state="finished", result=result)
            folder.event("stage finished", stage=name)
        return result


def _guarded(context: Context, stage: RLStage | PretrainStage) -> dict[str, Any]:
    """Run one stage; what stops it is noted in its stage.json before it goes on up."""
    try:
        return run_rl(context, stage) if isinstance(stage, RLStage) else run_pretrain(context, stage)
    except Stopped as stopped:
        context.folder.set_state(state="stopped", reason=str(stopped))
        raise
    except BaseException as error:
        context.folder.set_state(state="failed", reason=f"{type(error).__name__}: {error}")
        raise


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
        "commit": _commit(),
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


def _text_digest(text: str) -> str:
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()


def _commit() -> str | None:
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
