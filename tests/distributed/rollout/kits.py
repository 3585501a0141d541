"""What workers of tests are made with: a tiny random model, and rewards that it earns now and then."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from aha.config import RLStage, Rollouts
from aha.distributed.rollout.questions import Kit, Question
from aha.engines.native.engine import NativeEngine
from aha.models.dialogue import Dialogue
from aha.models.loading import Loaded, load
from aha.tasks.table import make_task
from aha.training.collect import Collector, question
from aha.types import Rollout, Score

_loading = threading.Lock()


def loaded_from(folder: Path) -> Loaded:
    """The model in `folder`; two threads of one process may not load at the same time."""
    with _loading:
        return load(str(folder))


def lucky(task: object, rollout: Rollout) -> Score:
    """Right where the sum of the tokens is odd."""
    return Score(float(sum(rollout.completion.ids) % 2))


def collector_of(folder: Path, **changes: Any) -> Collector:
    """Questions of Countdown to the model in `folder`."""
    loaded = loaded_from(folder)
    rollouts = {"questions": 3, "group": 2, "max_tokens": 6, "slots": 64, **changes.pop("rollouts", {})}
    stage = RLStage(rollouts=Rollouts(**rollouts), rewards={"accuracy": 1.0}, **{"reward_threads": 0, **changes})
    return Collector(stage, make_task("countdown"), 7, Dialogue(loaded.tokenizer, "short", loaded.eos_ids))


def engine_of(folder: Path, slots: int = 64) -> NativeEngine:
    loaded = loaded_from(folder)
    return NativeEngine(loaded.model, loaded.eos_ids, slots=slots, context=loaded.context)


def kit_of(folder: Path, **changes: Any) -> Kit:
    collector = collector_of(folder, **changes)
    return Kit(collector, engine_of(folder, collector.stage.rollouts.slots))


def questions_of(collector: Collector, *indices: int) -> list[Question]:
    """Questions of training, as a source asks them."""
    both = [(index, *question(collector, index)) for index in indices]
    return [Question(str(index), prompt, index, problem.id) for index, problem, prompt in both]
