"""Our own side, built as a run builds it: the loaded model, its engine, its learner."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from aha import runtime
from aha.config import AlgorithmChoice, OptimiserChoice, RLStage, Rollouts
from aha.models.loading import Loaded, load
from aha.pipeline.context import dialogue_of, engine_of
from aha.training.learner import Optimiser, TorchLearner
from aha.training.rl import Loop, one_step
from aha.types import Sampling
from peers.job import Figures, Job, repeat
from peers.questions import REWARDS, TEMPLATE, countdown

LEARNING_RATE = 1e-6


def start(job: Job) -> runtime.Runtime:
    """Choose and set device, dtype and threads."""
    chosen = runtime.choose(job.get("device", "cpu"), job["dtype"], job["threads"])
    runtime.apply(chosen)
    return chosen


def waiter(chosen: runtime.Runtime) -> Callable[[], None]:
    """What waits until the device has done all that it was asked for."""
    return torch.cuda.synchronize if chosen.device.startswith("cuda") else lambda: None


def learner_of(loaded: Loaded, chosen: runtime.Runtime, micro_batch_tokens: int) -> TorchLearner:
    """A learner without a reference, as GRPO without a KL term needs it."""
    return TorchLearner(
        loaded.fresh_copy(),
        Optimiser(lr=LEARNING_RATE),
        dtype=chosen.dtype,
        micro_batch_tokens=micro_batch_tokens,
        sampling=Sampling(max_tokens=1),
    )


def stage_of(point: dict[str, Any], micro_batch_tokens: int) -> RLStage:
    """The stage of a step. A group of one goes unvalidated: it has no advantage, and its step only samples."""
    rows = point["questions"] * point["group"]
    rollouts = Rollouts().model_copy(
        update={
            "questions": point["questions"],
            "group": point["group"],
            "max_tokens": point["max_tokens"],
            "slots": min(rows, Rollouts().slots),
        }
    )
    return RLStage(
        steps=1,
        rewards=REWARDS[point["rewards"]],
        rollouts=rollouts,
        algorithm=AlgorithmChoice(options={"kl_beta": 0.0}),
        optimiser=OptimiserChoice(lr=LEARNING_RATE, micro_batch_tokens=micro_batch_tokens),
    )


def step_figures(point: dict[str, Any], job: Job, chosen: runtime.Runtime) -> Figures:
    """Median seconds of a whole GRPO step (sample, score, learn, publish) and of its phases."""
    loaded = load(point["model"], chosen.device)
    stage = stage_of(point, job["micro_batch_tokens"])
    loop = Loop(stage, countdown(), 0, chosen.dtype_name, dialogue_of(loaded, TEMPLATE))
    engine = engine_of(loaded, chosen, stage.rollouts.slots)
    learner = learner_of(loaded, chosen, job["micro_batch_tokens"])
    engine.publish(learner.weights(), 0)
    seconds, steps = repeat(lambda number: one_step(loop, learner, engine, number), job, waiter(chosen))
    lengths = [len(r.completion.ids) for step in steps for group in step.groups for r in group.rollouts_G]
    phases = ("rollout", "score", "learn", "publish")
    return {
        "name": point["name"],
        "rate": 1 / statistics.median(seconds),
        "step_s": statistics.median(seconds),
        "seconds": seconds,
        **{f"{p}_s": statistics.median(step.metrics.values[f"time/{p}_s"] for step in steps) for p in phases},
        "mean_length": statistics.mean(lengths),
        "longest": max(lengths),
        "updates": sum(step.metrics.values["updates"] for step in steps),
    }
