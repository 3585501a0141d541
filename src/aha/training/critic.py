"""A critic: the value of every state on the way through a response, learned by regression on returns (PPO).

It is a learner like the policy's, of the same architecture, with one number a token in place of a distribution.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aha.training.batch import MicroBatch
from aha.training.learner import Optimiser, TorchLearner
from aha.types import Sample, Sampling


class ValueLearner(TorchLearner):
    """A critic from a copy of the policy, whose output head becomes one number, 0 at first. `logprobs` of a sample are
    the values of the states before its trained tokens."""

    def __init__(self, model: Any, optimiser: Optimiser, *, dtype: torch.dtype, micro_batch_tokens: int) -> None:
        embedding = model.get_input_embeddings().weight
        model.config.tie_word_embeddings = False
        head = nn.Linear(embedding.shape[1], 1, bias=False, device=embedding.device, dtype=embedding.dtype)
        nn.init.zeros_(head.weight)
        model.set_output_embeddings(head)
        super().__init__(model, optimiser, dtype=dtype, micro_batch_tokens=micro_batch_tokens, read=_values)

    def learn(self, samples: Sequence[Sample], clip: float) -> dict[str, float]:
        """One update towards the returns of `samples`, whose streams are those of `value_loss`."""
        targets = sum(s.n_targets for s in samples)
        sums = self.forward_backward(samples, functools.partial(value_loss, clip=clip), float(targets))
        stepped = self.optim_step()
        return {"critic/loss": sums["loss"] / targets, "critic/grad_norm": stepped["grad_norm"]}


def value_loss(values: Tensor, batch: MicroBatch, *, clip: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Half of the squared error to the returns, which are the values before (`behaviour_logprobs`) and how far they
    were off (`advantages`). A value that has moved by more than `clip` gets no gradient to move further (as PPO is
    implemented, arXiv 2005.12729, section 3)."""
    before, returns = batch.behaviour_logprobs, batch.behaviour_logprobs + batch.advantages
    errors = (values - returns).square()
    if clip:
        near = before + (values - before).clamp(-clip, clip)
        errors = torch.maximum(errors, (near - returns).square())
    return (errors * batch.weights).sum() / 2, {}


def _values(model: Any, hidden_NH: Tensor, _: Tensor, __: Sampling, ___: int) -> Tensor:
    """The values [N] of hidden states [N, H]."""
    values: Tensor = model.get_output_embeddings()(hidden_NH).squeeze(-1)
    return values if values.dtype == torch.float64 else values.float()
