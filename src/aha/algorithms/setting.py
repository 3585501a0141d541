"""What an algorithm leaves to choose: one frozen record, whose neutral values are no term at all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from aha.errors import UserError, nearest

Estimator = Literal["k1", "k2", "k3"]
Aggregation = Literal["token-mean", "sequence-mean", "constant"]
Truncated = Literal["keep", "mask", "penalise"]

LIMITS = {"clip_low": (0.0, 1.0), "gae_lambda": (0.0, 1.0), "attempts": (1.0, math.inf)}


@dataclass(frozen=True, slots=True)
class Setting:
    """The terms of an objective. A row of the table names those of its paper; a recipe replaces any of them."""

    # r is clipped to [1 - clip_low, 1 + clip_high]
    clip_low: float = 0.2
    clip_high: float = 0.2
    # KL(policy || reference), by one of Schulman's estimators, as a term of the loss or taken off the reward
    kl_beta: float = 0.0
    kl: Estimator = "k3"
    kl_in: Literal["loss", "reward"] = "loss"
    kl_importance: bool = False  # times r, so that the term's mean is the policy's own KL after an update too
    entropy_beta: float = 0.0  # times the entropy of each token's distribution, taken off the loss
    aggregation: Aggregation = "token-mean"
    # An answer that was cut off: trained as it scored, left out of the gradient, or with `penalty` off its reward.
    truncated: Truncated = "keep"
    penalty: float = 1.0
    # DAPO eq. 13: the reward falls by up to 1 over the last so many tokens before the limit; 0: it does not
    overlong_buffer: int = 0
    # Rollouts of new questions, at most, for groups in which all answers are right or all are wrong; 1: none are new
    attempts: int = 1
    # Truncated importance sampling: tokens count by min(cap, learner's / engine's probability); 0: they do not
    importance_cap: float = 0.0
    # Advantages of tokens by GAE, for algorithms with a critic
    gae_lambda: float = 1.0
    critic_lr: float = 1e-5
    critic_clip: float = 0.2  # of a value's change in one rollout; 0: none

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            low, high = LIMITS.get(field.name, (0.0, math.inf))
            value = getattr(self, field.name)
            if not isinstance(value, (str, bool)) and not low <= value <= high:
                raise UserError(f"algorithm option {field.name}={value!r} is outside of {low:g} to {high:g}")

    def replaced(self, options: Mapping[str, Any]) -> Setting:
        """This setting with `options` in place of its own. Raises UserError for an unknown name or value."""
        hints = get_type_hints(Setting)
        for name, value in options.items():
            if name not in hints:
                raise UserError(f"unknown algorithm option {name!r}{nearest(name, hints)}")
            _check(name, value, hints[name])
        return dataclasses.replace(self, **options)


def _check(name: str, value: Any, hint: Any) -> None:
    if get_origin(hint) is Literal:
        allowed = get_args(hint)
        if value not in allowed:
            raise UserError(f"algorithm option {name}={value!r} is none of {', '.join(allowed)}")
    elif hint is bool:
        if not isinstance(value, bool):
            raise UserError(f"algorithm option {name}={value!r} has to be true or false")
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"algorithm option {name}={value!r} has to be a number")
    elif hint is int and value != int(value):
        raise UserError(f"algorithm option {name}={value!r} has to be a whole number")
