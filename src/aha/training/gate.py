"""The numerics gate: before an update, engine and learner must agree on the log-probs of what the engine sampled.

A stale or misread weight, a temperature or a truncation on one side only shows here before it can train anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aha.errors import RunFailed
from aha.protocols import Learner
from aha.types import Sample

# mean and largest |engine - learner| per token; measured gaps are some 20 times smaller
TOLERANCES = {"float32": (1e-4, 1e-2), "float64": (1e-4, 1e-2), "bfloat16": (0.05, 4.0), "float16": (0.02, 2.0)}


@dataclass(frozen=True, slots=True)
class Gap:
    """Absolute difference of log-probs per token."""

    mean: float
    largest: float


def measure(learner: Learner, samples: Sequence[Sample]) -> Gap:
    """The gap on `samples`, whose behaviour log-probs are the engine's."""
    learned = learner.logprobs(samples)
    gaps = [
        abs(ours - theirs)
        for sample, row in zip(samples, learned, strict=True)
        for ours, theirs, on in zip(row, sample.behaviour_logprobs, sample.loss_mask, strict=True)
        if on
    ]
    assert gaps, "the gate needs at least one sampled token"
    return Gap(sum(gaps) / len(gaps), max(gaps))


def check(gap: Gap, dtype: str, step: int) -> None:
    """Stop the run where engine and learner disagree beyond what `dtype` explains."""
    mean, largest = TOLERANCES[dtype]
    if not (gap.mean <= mean and gap.largest <= largest):
        raise RunFailed(
            f"step {step}: engine and learner disagree on the engine's own tokens: |log-prob difference| is "
            f"{gap.mean:.3g} on average and {gap.largest:.3g} at most, where {dtype} explains {mean:.3g} and "
            f"{largest:.3g}; the weights were published wrong or the two sample different distributions"
        )
