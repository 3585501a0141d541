"""The rewards, a row each. A reward is a function of the task and one rollout; its outcome is typed."""

from __future__ import annotations

from collections.abc import Callable

from aha.protocols import Task
from aha.rewards.accuracy import accuracy
from aha.rewards.format import well_formed
from aha.types import Outcome, Rollout

RewardFunction = Callable[[Task, Rollout], Outcome]

REWARDS: dict[str, RewardFunction] = {
    "accuracy": accuracy,  # DeepSeek-R1 section 2.2.2: 1 for a right answer, else 0
    "format": well_formed,  # DeepSeek-R1 section 2.2.2: 1 for thinking and answer in their tags, else 0
}
