"""From hidden states to log-probs, in one place for engine and learner.

`sampled_probabilities` and `token_logprobs` cut and temper logits by the same functions: the engine draws from the one,
the learner differentiates the other, so temperature and truncation can never be applied on one side only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aha.models.attention import Layout
from aha.types import Sampling


def text_config(model: nn.Module) -> Any:
    """The configuration of the language model: a part of its own in a model that also sees."""
    config: Any = model.config
    return config.get_text_config()


def hidden_states(model: Any, ids_N: Tensor, positions_N: Tensor, layout: Layout) -> Tensor:
    """The last hidden states [N, hidden] of a causal LM by its own code, before its output head."""
    out = model.base_model(
        input_ids=ids_N[None], position_ids=positions_N[None], use_cache=False, return_dict=True, layout=layout
    )
    last: Tensor = out.last_hidden_state[0]
    return last


def logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """Logits of hidden states [..., H] -> [..., V], as the model's own forward computes them, in float32 at least."""
    return capped(model, model.get_output_embeddings()(hidden))  # type: ignore[operator]


def capped(model: nn.Module, out: Tensor) -> Tensor:
    """What a head's products `out` become as logits: float32 at least, soft-capped where the model does so."""
    if out.dtype != torch.float64:
        out = out.float()
    cap = getattr(text_config(model), "final_logit_softcapping", None)
    return torch.tanh(out / cap) * cap if cap else out


def sampled_probabilities(logits_NV: Tensor, sampling: Sampling) -> Tensor:
    """The distribution that is sampled: temperature, then top-k, then top-p; 0 outside of its support.

    Temperature 0 keeps that of temperature 1: a greedy choice is made by the sampler, not by the distribution.
    """
    logits_NV = _tempered(logits_NV, sampling)
    outside = _outside(logits_NV, sampling)
    if outside is not None:
        logits_NV = logits_NV.masked_fill(outside, float("-inf"))
    return torch.softmax(logits_NV, -1)


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


def head_logprobs(model: Any, hidden_NH: Tensor, targets_N: Tensor, sampling: Sampling, chunk: int) -> Tensor:
    """`token_logprobs` of hidden states [N, H]; logits exist for `chunk` tokens at a time, in both directions.

    Made for `backward()`: where the head's weight has a `grad`, what comes is added to it in place.
    """
    head: Any = model.get_output_embeddings()
    whole = len(hidden_NH) <= chunk
    if not whole and type(head) is nn.Linear and head.bias is None:
        values: Tensor = _ChunkedHead.apply(hidden_NH, head.weight, targets_N, model, sampling, chunk)
        return values
    pieces = [(hidden_NH, targets_N)] if whole else zip(hidden_NH.split(chunk), targets_N.split(chunk), strict=True)
    return torch.cat([token_logprobs(logits(model, h), t, sampling) for h, t in pieces])


def head_entropies(model: Any, hidden_NH: Tensor, sampling: Sampling, chunk: int) -> Tensor:
    """Entropy [N] of the sampled distribution at hidden states [N, H], in nats; logits exist for `chunk` at a time."""

    def entropies(hidden: Tensor) -> Tensor:
        probabilities = sampled_probabilities(logits(model, hidden), sampling)
        return -torch.xlogy(probabilities, probabilities).sum(-1)

    return torch.cat([checkpoint(entropies, piece, use_reentrant=False) for piece in hidden_NH.split(chunk)])


class _ChunkedHead(torch.autograd.Function):
    """The gradient of a large head, added up in place: autograd would hold one of the head's size for each chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, model: nn.Module, sampling: Sampling, chunk: int
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets)
        ctx.settings = model, sampling, chunk
        pieces = zip(hidden.split(chunk), targets.split(chunk), strict=True)
        return torch.cat([token_logprobs(capped(model, F.linear(h, weight)), t, sampling) for h, t in pieces])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets = ctx.saved_tensors
        model, sampling, chunk = ctx.settings
        exact = torch.promote_types(weight.dtype, torch.float32)  # a sum of many pieces needs more than bfloat16
        in_place = weight.grad is not None and weight.dtype == exact
        of_weight = weight.grad if in_place else torch.zeros_like(weight, dtype=exact)
        of_hidden = torch.empty_like(hidden)
        for at in range(0, len(hidden), chunk):
            piece = slice(at, at + chunk)
            with torch.enable_grad():
                scores = F.linear(hidden[piece].detach(), weight.detach()).requires_grad_()
                values = token_logprobs(capped(model, scores), targets[piece], sampling)
                (of_scores,) = torch.autograd.grad(values, scores, gradient[piece])
            del scores, values
            torch.mm(of_scores, weight, out=of_hidden[piece])
            if exact == weight.dtype:
                of_weight.addmm_(of_scores.T, hidden[piece])
            else:
                of_weight += of_scores.T @ hidden[piece]
        return of_hidden, None if in_place else of_weight.to(weight.dtype), None, None, None, None


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
