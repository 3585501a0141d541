"""The accuracy reward: the task grades the answer."""

from __future__ import annotations

from aha.errors import boundary
from aha.protocols import Task
from aha.rewards.prose import final_text
from aha.types import Outcome, Rollout


def accuracy(task: Task, rollout: Rollout) -> Outcome:
    """What `task.grade` says; Failed where it raises. Source: DeepSeek-R1, arXiv 2501.12948 v1, section 2.2.2.

    Where the problem's `hidden["whole_text"]` is set (programs, instructions to follow), the answer is all that follows
    the thinking.
    """
    whole = rollout.problem.hidden.get("whole_text", False)
    answer = final_text(rollout) if whole else rollout.parsed.answer
    return boundary(lambda: task.grade(rollout.problem, answer), "accuracy")
