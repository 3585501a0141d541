"""The format reward: thinking and answer in their tags, and nothing else."""

from __future__ import annotations

from aha.protocols import Task
from aha.types import Outcome, Rollout, Score


def well_formed(task: Task, rollout: Rollout) -> Outcome:
    """1 for a well-formed response that ended by itself, else 0. Source: DeepSeek-R1, v1, section 2.2.2."""
    if rollout.completion.stop_reason != "stop":
        return Score(0.0, "cut off at the length limit")
    if not rollout.parsed.well_formed:
        return Score(0.0, "not <think>..</think> then <answer>..</answer>")
    return Score(1.0, "well formed")
