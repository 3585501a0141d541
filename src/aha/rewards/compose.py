"""Several rewards of one rollout as one verdict: their weighted sum.

    verdict(task, rollout, {"accuracy": 1.0, "format": 1.0}).total   # DeepSeek-R1, v2 eq. 4: equal weights
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from aha.errors import UserError, boundary, nearest
from aha.protocols import Task
from aha.rewards.table import REWARDS
from aha.types import Failed, Outcome, Rollout, Score, Verdict


def verdict(task: Task, rollout: Rollout, weights: Mapping[str, float]) -> Verdict:
    """All outcomes by name. `total` is None where a reward failed or none scored; a reward that abstains adds nothing.

    Raises UserError for a name that is not in `REWARDS`.
    """
    outcomes = {name: _outcome(name, task, rollout) for name in weights}
    scores = {name: outcome.value for name, outcome in outcomes.items() if isinstance(outcome, Score)}
    failed = any(isinstance(outcome, Failed) for outcome in outcomes.values())
    total = None if failed or not scores else sum(weights[name] * value for name, value in scores.items())
    return Verdict(outcomes, total)


def _outcome(name: str, task: Task, rollout: Rollout) -> Outcome:
    """One reward's outcome; a score that is no finite number is a failure."""
    if name not in REWARDS:
        raise UserError(f"unknown reward {name!r}{nearest(name, REWARDS)}")
    outcome = boundary(lambda: REWARDS[name](task, rollout), name)
    if isinstance(outcome, Score) and not math.isfinite(outcome.value):
        return Failed(f"{name}: {outcome.value} is not a finite number")
    return outcome
