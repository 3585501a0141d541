"""From hidden states to log-probs, in one place for engine and learner.

`sampled_logprobs` is the one function that turns logits into the distribution that is sampled: the engine draws from
it, the learner differentiates it, so temperature and truncation can never be applied on one side only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aha.types import Sampling


def hidden_states(model: nn.Module, **inputs: object) -> Tensor:
    """The last hidden states [B, T, H] of a causal LM, before its output head."""
    out: Tensor = model.base_model(**inputs, return_dict=True).last_hidden_state  # type: ignore[operator, union-attr]
    return out


def logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """Logits in float32 of hidden states [..., H] -> [..., V], as the model's own forward computes them."""
    config = model.config
    out: Tensor = model.get_output_embeddings()(hidden).float()  # type: ignore[operator]
    cap = getattr(config, "final_logit_softcapping", None)
    return torch.tanh(out / cap) * cap if cap else out


def sampled_logprobs(logits_NV: Tensor, sampling: Sampling) -> Tensor:
    """Log-probs of the distribution that is sampled: temperature, then top-k, then top-p; -inf outside of its support.

    Temperature 0 keeps the log-probs of temperature 1: a greedy choice is made by the sampler, not by the distribution.
    """
    if sampling.temperature not in (0.0, 1.0):
        logits_NV = logits_NV / sampling.temperature
    if sampling.top_k and sampling.top_k < logits_NV.shape[-1]:
        least = torch.topk(logits_NV, sampling.top_k, dim=-1).values[..., -1:]
        logits_NV = logits_NV.masked_fill(logits_NV < least, float("-inf"))
    if sampling.top_p < 1.0:
        ordered, order = torch.sort(logits_NV, dim=-1, descending=True)
        probabilities = torch.softmax(ordered, -1)
        outside = probabilities.cumsum(-1) - probabilities >= sampling.top_p  # the first token always stays
        logits_NV = logits_NV.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
    return torch.log_softmax(logits_NV, -1)


def token_logprobs(logits_NV: Tensor, targets_N: Tensor, sampling: Sampling) -> Tensor:
    """Log-prob of each target [N]."""
    if not sampling.top_k and sampling.top_p >= 1.0:
        if sampling.temperature not in (0.0, 1.0):
            logits_NV = logits_NV / sampling.temperature
        return -F.cross_entropy(logits_NV, targets_N, reduction="none")
    return sampled_logprobs(logits_NV, sampling).gather(-1, targets_N[:, None]).squeeze(-1)
