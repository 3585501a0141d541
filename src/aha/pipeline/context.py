"""What every stage is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aha.config import Recipe
from aha.engines.native.engine import NativeEngine
from aha.models.dialogue import Dialogue
from aha.models.loading import Loaded
from aha.pipeline.guard import Stop
from aha.pipeline.observer import Observer
from aha.pipeline.run_folder import StageFolder
from aha.protocols import Task
from aha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Context:
    """One stage's surroundings: `start` names the model that it begins from; `alive` is called after each phase."""

    recipe: Recipe
    runtime: Runtime
    folder: StageFolder
    observer: Observer
    task: Task
    start: str
    stop: Stop
    alive: Callable[[], None]


def dialogue_of(loaded: Loaded, template: str) -> Dialogue:
    """The dialogue of a loaded model under `template`."""
    return Dialogue(loaded.tokenizer, template, loaded.eos_ids)


def engine_of(loaded: Loaded, runtime: Runtime, slots: int) -> NativeEngine:
    """A native engine with a copy of the loaded model."""
    return NativeEngine(loaded.fresh_copy(), loaded.eos_ids, dtype=runtime.dtype, slots=slots, context=loaded.context)
