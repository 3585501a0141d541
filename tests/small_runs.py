"""Runs of a few steps on a tiny random model, how to break them off, and what has to be the same after that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM

from aha.config import Recipe, override
from aha.pipeline.observer import Silent
from aha.pipeline.recipes import recipe
from aha.types import StepMetrics
from tiny_models import TinyFactory

SMALL = [
    "steps=4", "rollouts.questions=2", "rollouts.group=4", "rollouts.max_tokens=12", "checkpoint_every=1",
    "evaluation.problems=3", "evaluation.samples=2", "optimiser.lr=1e-2", "threads=1", "template=short",
]  # fmt: skip
TIMES = ("time", "memory", "tokens_per_s")


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it and tidy up."""


class KillAt(Silent):
    """Dies while `step` is being told."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, metrics: StepMetrics) -> None:
        if metrics.step == self.at:
            raise Killed


def small(tiny: TinyFactory, *more: str, architecture: str = "qwen3") -> Recipe:
    return override(recipe("zero"), [f"model={tiny(architecture)}", *SMALL, *more])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict())


def steady(path: Path) -> list[dict[str, Any]]:
    """Metrics without what depends on the clock."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not any(t in k for t in TIMES)} for line in lines]


def stored(path: Path) -> list[Any]:
    return [pq.read_table(file).to_pylist() for file in sorted(path.glob("*.parquet"))]
