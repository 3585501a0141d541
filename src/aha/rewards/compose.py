"""Several rewards of one rollout as one verdict: their weighted sum.

verdict(task, rollout, {"accuracy": 1.0, "format": 1.0}).total   # DeepSeek-R1, v2 eq. 4: equal weights
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from aha.errors import UserError, boundary, nearest
from aha.plugins import is_plugin, load_object
from aha.protocols import Task
from aha.rewards.table import REWARDS, RewardFunction
from aha.types import Abstain, Failed, Outcome, Rollout, Score, Verdict


def verdict(task: Task, rollout: Rollout, weights: Mapping[str, float]) -> Verdict:
    """All outcomes by name. `total` is None where a reward failed or none scored; a reward that abstains adds nothing.

    Raises UserError for a name that is not in `REWARDS`.
    """
    return combined({name: _outcome(name, task, rollout) for name in weights}, weights)


def combined(outcomes: Mapping[str, Outcome], weights: Mapping[str, float]) -> Verdict:
    """The verdict of outcomes that are there already."""
    scores = {name: outcome.value for name, outcome in outcomes.items() if isinstance(outcome, Score)}
    failed = any(isinstance(outcome, Failed) for outcome in outcomes.values())
    total = None if failed or not scores else sum(weights[name] * value for name, value in scores.items())
    return Verdict(outcomes, total)


def find(name: str) -> RewardFunction:
    """The reward `name` of the table, or the user's own, `FILE.py:NAME`. Raises UserError for an unknown one."""
    if is_plugin(name):
        own: RewardFunction = load_object(name)
        return own
    if name not in REWARDS:
        raise UserError(f"unknown reward {name!r}{nearest(name, REWARDS)}")
    return REWARDS[name]


def _outcome(name: str, task: Task, rollout: Rollout) -> Outcome:
    """One reward's outcome; a score that is no finite number is a failure."""
    reward = find(name)
    outcome = boundary(lambda: reward(task, rollout), name)
    if not isinstance(outcome, Score | Abstain | Failed):
        return Failed(f"{name}: returned {outcome!r}, which is no Score, Abstain or Failed")
    if isinstance(outcome, Score) and not math.isfinite(outcome.value):
        return Failed(f"{name}: {outcome.value} is not a finite number")
    return outcome
