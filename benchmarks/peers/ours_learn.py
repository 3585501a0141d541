"""Updates by this project's learner: `{"points": [{name, model, lengths, memory}], ...}`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from aha.algorithms.table import algorithm
from aha.models.loading import load
from aha.models.logits import text_config
from aha.training.learner import TorchLearner
from aha.types import Sample
from peers.flops import matmul_flops, training_flops
from peers.job import Figures, Job, serve
from peers.learning import learning_figures
from peers.ours import learner_of, start, waiter
from peers.rows import Row


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point, with the share of the matrix products' rate that is measured here."""
    chosen = start(job)
    wait = waiter(chosen)
    machine = None if any(p.get("memory") for p in job["points"]) else matmul_flops(chosen.dtype, chosen.device, wait)
    for point in job["points"]:
        loaded = load(point["model"], chosen.device)
        vocabulary = text_config(loaded.model).vocab_size
        flops = training_flops(loaded.model, point["lengths"])
        learner = learner_of(loaded, chosen, job["micro_batch_tokens"])
        del loaded  # the learner has its own copy, and memory is measured
        figures = learning_figures(job, point, vocabulary, functools.partial(update, learner), wait)
        if machine and "seconds" in figures:
            achieved = flops * figures["tokens_per_s"] / sum(p + c for p, c in point["lengths"])
            figures |= {"flops": achieved, "matmul_flops": machine, "matmul_share": achieved / machine}
        yield figures


def update(learner: TorchLearner, batch: Sequence[Row]) -> None:
    """One GRPO update without a KL term, the mean over all completion tokens."""
    samples = [sample_of(row) for row in batch]
    row = algorithm("grpo")
    loss = row.loss(row.setting.replaced({"kl_beta": 0.0}))
    learner.forward_backward(samples, loss, sum(s.n_targets for s in samples))
    learner.optim_step()


def sample_of(row: Row) -> Sample:
    """A row as the learner takes it; behaviour log-probs of 0 make every ratio a number like any other."""
    prompt, completion = len(row.prompt), len(row.completion)
    return Sample(
        ids=row.prompt + row.completion,
        loss_mask=(0,) * prompt + (1,) * completion,
        advantages=(0.0,) * prompt + (row.advantage,) * completion,
        behaviour_logprobs=(0.0,) * (prompt + completion),
    )


if __name__ == "__main__":
    serve(measure)
