"""Supervised training on samples: pretraining here, cold start and distillation by the same loop.

    for step in supervised(learner, batches, total_steps): ...

`batches(step)` is a pure function of the step number, so the loop's cursor is one integer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from aha.errors import RunFailed
from aha.protocols import Learner
from aha.training.batch import MicroBatch
from aha.types import Sample, StepMetrics

MOST_REFUSED = 3  # steps in a row


def next_token_loss(logprobs: Tensor, batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy: the sum of -log p over trained tokens, each with its sample's weight."""
    return -(logprobs * batch.weights).sum(), {}


def whole_text(ids: Sequence[int]) -> Sample:
    """A sample that trains every token of `ids` but the first."""
    return Sample(ids=tuple(ids), loss_mask=(0,) + (1,) * (len(ids) - 1))


def supervised(
    learner: Learner, batches: Callable[[int], Sequence[Sample]], first_step: int, total_steps: int
) -> Iterator[StepMetrics]:
    """Train from `first_step` to `total_steps`, yielding the metrics of each update. Raises RunFailed where the
    gradient is not finite three times in a row."""
    refused = 0
    for step in range(first_step, total_steps):
        started = time.perf_counter()
        samples = batches(step)
        targets = sum(s.n_targets for s in samples)
        sums = learner.forward_backward(samples, next_token_loss, float(targets))
        stepped = learner.optim_step()
        seconds = time.perf_counter() - started
        yield StepMetrics(
            step + 1,
            {"loss": sums["loss"] / targets, "tokens": float(targets), "tokens_per_s": targets / seconds, **stepped},
        )
        refused = refused + 1 if stepped["update_refused"] else 0
        if refused == MOST_REFUSED:
            raise RunFailed(f"step {step + 1}: the gradient was not finite in {refused} steps in a row")
