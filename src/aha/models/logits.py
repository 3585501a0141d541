"""From hidden states to log-probs, in one place for engine and learner.

`sampled_logprobs` is the one function that turns logits into the distribution that is sampled: the engine draws from
it, the learner differentiates it, so temperature and truncation can never be applied on one side only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aha.types import Sampling


def text_config(model: nn.Module) -> Any:
    """The configuration of the language model: a part of its own in a model that also sees."""
    config: Any = model.config
    return config.get_text_config()


def hidden_states(model: nn.Module, **inputs: object) -> Tensor:
    """The last hidden states [B, T, H] of a causal LM, before its output head."""
    out: Tensor = model.base_model(**inputs, return_dict=True).last_hidden_state  # type: ignore[operator]
    return out


def logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """Logits of hidden states [..., H] -> [..., V], as the model's own forward computes them, in float32 at least."""
    out: Tensor = model.get_output_embeddings()(hidden)  # type: ignore[operator]
    if out.dtype != torch.float64:
        out = out.float()
    cap = getattr(text_config(model), "final_logit_softcapping", None)
    return torch.tanh(out / cap) * cap if cap else out


def sampled_logprobs(logits_NV: Tensor, sampling: Sampling) -> Tensor:
    """Log-probs of the distribution that is sampled: temperature, then top-k, then top-p; -inf outside of its support.

    Temperature 0 keeps the log-probs of temperature 1: a greedy choice is made by the sampler, not by the distribution.
    """
    logits_NV = _tempered(logits_NV, sampling)
    outside = _outside(logits_NV, sampling)
    if outside is not None:
        logits_NV = logits_NV.masked_fill(outside, float("-inf"))
    return torch.log_softmax(logits_NV, -1)


def token_logprobs(logits_NV: Tensor, targets_N: Tensor, sampling: Sampling) -> Tensor:
    """Log-prob of each target [N], for targets that were drawn under `sampling`.

    A target that was drawn belongs to the support: where rounding or an update has moved the support's edge past it,
    it is counted in, so that its log-prob is finite and has a gradient.
    """
    logits_NV = _tempered(logits_NV, sampling)
    outside = _outside(logits_NV, sampling)
    if outside is not None:
        outside = outside.scatter(-1, targets_N[:, None], False)
        logits_NV = logits_NV.masked_fill(outside, float("-inf"))
    return -F.cross_entropy(logits_NV, targets_N, reduction="none")


def _tempered(logits_NV: Tensor, sampling: Sampling) -> Tensor:
    return logits_NV if sampling.temperature in (0.0, 1.0) else logits_NV / sampling.temperature


def _outside(logits_NV: Tensor, sampling: Sampling) -> Tensor | None:
    """[N, V] bool: what top-k, and then top-p among the tokens that it left, cut off; None where both are off.

    Tokens as likely as the k-th are all kept: which of them are inside does not depend on the order of a sort.
    """
    with torch.no_grad():
        outside = None
        if 0 < sampling.top_k < logits_NV.shape[-1]:
            outside = logits_NV < torch.topk(logits_NV, sampling.top_k, dim=-1).values[..., -1:]
        if sampling.top_p < 1.0:
            kept = logits_NV if outside is None else logits_NV.masked_fill(outside, float("-inf"))
            ordered, order = torch.sort(kept, dim=-1, descending=True, stable=True)
            probabilities = torch.softmax(ordered, -1)
            tail = probabilities.cumsum(-1) - probabilities >= sampling.top_p
            tail[..., 0] = False  # the likeliest token always stays
            cut = torch.zeros_like(tail).scatter(-1, order, tail)
            outside = cut if outside is None else outside | cut
        return outside
