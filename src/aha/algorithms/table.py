"""The algorithms, a row each: naming one with no other key gives its paper's setting."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aha.algorithms.advantages import AdvantageFunction, group_normalised
from aha.algorithms.losses import clipped_policy_gradient
from aha.errors import UserError, nearest
from aha.protocols import LossFunction


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An advantage function, a loss function with its keyword defaults, and where both are from."""

    advantage: AdvantageFunction
    loss: LossFunction
    defaults: Mapping[str, Any]
    paper: str
    formula: str

    def bind(self, options: Mapping[str, Any]) -> LossFunction:
        """The loss with `options` in place of its defaults. Raises UserError for a key that it does not have."""
        for key in options:
            if key not in self.defaults:
                raise UserError(f"unknown algorithm option {key!r}{nearest(key, self.defaults)}")
        return functools.partial(self.loss, **{**self.defaults, **options})


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm(
        advantage=group_normalised,
        loss=clipped_policy_gradient,
        # The clip of R1-Zero is not printed; 0.2 is PPO's. With one update a rollout it all but never binds.
        defaults={"clip_low": 0.2, "clip_high": 0.2, "kl_beta": 0.001},
        paper="DeepSeek-R1, arXiv 2501.12948 v2, eq. 1-3 and table of section 2.1",
        formula="-min(r A, clip(r) A) + beta (pi_ref/pi - log(pi_ref/pi) - 1),  A = (R - mean R) / std R",
    ),
}


def algorithm(name: str) -> Algorithm:
    """The row `name`, or UserError that names the nearest one."""
    if name not in ALGORITHMS:
        raise UserError(f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]
