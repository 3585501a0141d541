"""The accuracy reward: the task grades the answer."""

from __future__ import annotations

from aha.errors import boundary
from aha.protocols import Task
from aha.types import Outcome, Rollout


def accuracy(task: Task, rollout: Rollout) -> Outcome:
    """What `task.grade` says; Failed where it raises. Source: DeepSeek-R1, arXiv 2501.12948 v1, section 2.2.2."""
    return boundary(lambda: task.grade(rollout.problem, rollout.parsed.answer), "accuracy")
