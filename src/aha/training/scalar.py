"""A causal LM whose output head is one number a token: what critics and reward models are made of."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from aha.types import Sampling


def with_scalar_head(model: Any) -> Any:
    """`model` with a head of one number, 0 at first, in place of its output head."""
    embedding = model.get_input_embeddings().weight
    model.config.tie_word_embeddings = False
    head = nn.Linear(embedding.shape[1], 1, bias=False, device=embedding.device, dtype=embedding.dtype)
    nn.init.zeros_(head.weight)
    model.set_output_embeddings(head)
    return model


def read_numbers(model: Any, hidden_NH: Tensor, _: Tensor, __: Sampling, ___: int) -> Tensor:
    """The numbers [N] of hidden states [N, H], where a learner else reads log-probs."""
    numbers: Tensor = model.get_output_embeddings()(hidden_NH).squeeze(-1)
    return numbers if numbers.dtype.itemsize == 8 else numbers.float()
