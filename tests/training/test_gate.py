"""The numerics gate: passes what rounding explains, stops what it does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aha.errors import RunFailed
from aha.training import gate
from aha.types import Sample


class FixedLearner:
    """Says the same log-prob for every token."""

    def __init__(self, logprob: float) -> None:
        self.logprob = logprob

    def logprobs(self, samples: Sequence[Sample], which: str = "policy") -> list[tuple[float, ...]]:
        return [tuple(self.logprob * on for on in s.loss_mask) for s in samples]


SAMPLE = Sample(ids=(5, 6, 7), loss_mask=(0, 1, 1), behaviour_logprobs=(0.0, -1.0, -1.5))


def test_gap_is_over_trained_tokens_only() -> None:
    gap = gate.measure(FixedLearner(-1.0), [SAMPLE, SAMPLE])  # type: ignore[arg-type]
    assert gap == gate.Gap(mean=0.25, largest=0.5)


@pytest.mark.parametrize("dtype", gate.TOLERANCES)
def test_stops_beyond_the_tolerance(dtype: str) -> None:
    mean, largest = gate.TOLERANCES[dtype]
    gate.check(gate.Gap(mean, largest), dtype, 1)
    for gap in (gate.Gap(2 * mean, largest), gate.Gap(mean, 2 * largest), gate.Gap(float("nan"), 0.0)):
        with pytest.raises(RunFailed, match="step 7: engine and learner disagree"):
            gate.check(gap, dtype, 7)
