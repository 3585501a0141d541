"""The attention that learner and native engine share, registered with `transformers` under the name "aha".

Two situations, told apart by the shapes: as many queries as keys (learning, prefill: causal, rows padded on the right,
which a causal mask makes harmless) and one query a row against a cache (decoding: `attention_mask` says which keys of
the row are valid). Query heads that share a key head are folded into its query rows, so keys are never repeated.
Dropout is never applied: the learner has to see the distribution that was sampled.

Axes: B rows, H query heads, K key heads, R = H / K, Q queries, T keys, D head width.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

NAME = "aha"


def attend(
    module: torch.nn.Module,
    query: Tensor,  # [B, H, Q, D]
    key: Tensor,  # [B, K, T, D]
    value: Tensor,  # [B, K, T, Dv]
    attention_mask: Tensor | None,  # [B, 1, 1, T] bool, decoding only
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax(scaling * q k^T + mask) v, as `transformers` expects it: [B, Q, H, Dv]."""
    if s_aux is not None:
        raise ValueError(f"{type(module).__name__} has attention sinks, which this attention does not compute")
    if not getattr(module, "is_causal", True):
        raise ValueError(f"{type(module).__name__} looks at later tokens, which this attention hides")
    batch, heads, queries, width = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    scaling = width**-0.5 if scaling is None else scaling
    decoding = attention_mask is not None
    if not decoding and queries != keys:
        raise ValueError(f"{queries} queries against {keys} keys without a mask")
    if query.is_cuda and softcap is None and not decoding and not (sliding_window and sliding_window < keys):
        return _fused(query, key, value, scaling), None
    folded = (query * scaling).reshape(batch * key_heads, heads // key_heads * queries, width)
    scores = torch.bmm(folded, key.flatten(0, 1).transpose(1, 2)).view(batch, heads, queries, keys)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is None:
        scores = scores + _causal_bias(queries, sliding_window or 0, scores.dtype, scores.device)
    else:
        scores = scores.masked_fill(~_valid(attention_mask, sliding_window), float("-inf"))
    probabilities = torch.softmax(scores, -1)
    out = torch.bmm(probabilities.view(batch * key_heads, -1, keys), value.flatten(0, 1))
    return out.view(batch, heads, queries, value.shape[-1]).transpose(1, 2), None


def _fused(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    out = F.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2)


def _valid(mask: Tensor, sliding_window: int | None) -> Tensor:
    """Narrow a decoding mask to the last `sliding_window` valid keys of each row."""
    if not sliding_window or sliding_window >= mask.shape[-1]:
        return mask
    lengths = mask.sum(-1, keepdim=True)
    return mask & (torch.arange(mask.shape[-1], device=mask.device) >= lengths - sliding_window)


def _causal_bias(size: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[size, size]: 0 where a key may be seen, -inf elsewhere."""
    # The bias of a shorter sequence is the corner of a longer one's: powers of two keep the number of them small.
    return _largest_bias(max(64, 1 << (size - 1).bit_length()), window, dtype, device)[:size, :size]


@functools.lru_cache(maxsize=16)
def _largest_bias(size: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        seen = torch.ones(size, size, dtype=torch.bool, device=device).tril()
        if window:
            seen &= ~torch.ones_like(seen).tril(-window)
        return torch.zeros(size, size, dtype=dtype, device=device).masked_fill(~seen, float("-inf"))


AttentionInterface.register(NAME, attend)
