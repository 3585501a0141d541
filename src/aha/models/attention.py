"""The attention that learner and native engine share, registered with `transformers` under the name "aha".

A model sees one flat stream of tokens, without padding. Which keys a query may look at, and where they lie, is known to
a `Layout` that the caller passes through the model: rows packed side by side (`models/packing.py`, learning and
prefill) or rows that continue from a cache (`engines/native/cache.py`, decoding). Without one, rows are plain causal.
Query heads that share a key head are folded into its query rows, so keys are never repeated.
Dropout is never applied: the learner has to see the distribution that was sampled.

Axes: N tokens of the stream, H query heads, K key heads, D head width, B rows of a block, Q queries, T keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

NAME = "aha"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a layer does to its scores. `window` 0: every earlier token is seen; `softcap` 0: none."""

    scaling: float
    window: int = 0
    softcap: float = 0.0


class Layout(Protocol):
    """Where the tokens of a stream stand, and what each may look at."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """[N, H, D], [N, K, D], [N, K, Dv] -> [N, H, Dv] of layer number `layer`."""
        ...


def attend(
    module: torch.nn.Module,
    query: Tensor,  # [B, H, T, D]; with a layout B is 1 and T the stream
    key: Tensor,  # [B, K, T, D]
    value: Tensor,  # [B, K, T, Dv]
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    layout: Layout | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax(scaling * q k^T) v over what each token may see, as `transformers` expects it: [B, T, H, Dv]."""
    if s_aux is not None:
        raise ValueError(f"{type(module).__name__} has attention sinks, which this attention does not compute")
    if not getattr(module, "is_causal", True):
        raise ValueError(f"{type(module).__name__} looks at later tokens, which this attention hides")
    if attention_mask is not None:
        raise ValueError("this attention takes no mask: what a token sees follows from its layout")
    rule = Rule(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window or 0, softcap or 0.0)
    if layout is None:
        size = query.shape[2]
        places = torch.arange(size, device=query.device)
        hidden = hiding(places[None], places[None], rule.window, query.dtype)
        return attend_block(query.transpose(1, 2), key, value, hidden, rule), None
    query, key, value = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    return layout.attend(getattr(module, "layer_idx", 0), query, key, value, rule)[None], None


def hiding(query_places: Tensor, key_places: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    """[B, 1, Q, T]: 0 where a query at one of `query_places` [B, Q] sees a key at one of `key_places` [B, T], else
    -inf."""
    ahead = key_places[:, None, :] - query_places[:, :, None]
    hidden = ahead > 0
    if window:
        hidden |= ahead <= -window
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))[:, None]


def attend_block(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, rule: Rule) -> Tensor:
    """A dense block: queries [B, Q, H, D], keys [B, K, T, D], values [B, K, T, Dv], `hidden` added to the scores
    -> [B, Q, H, Dv]."""
    batch, queries, heads, width = query.shape
    key_heads, keys, value_width = key.shape[1], key.shape[2], value.shape[3]
    if query.is_cuda and not rule.softcap:
        out = F.scaled_dot_product_attention(
            query.transpose(1, 2), key, value, attn_mask=hidden, scale=rule.scaling, enable_gqa=heads != key_heads
        )
        return out.transpose(1, 2)
    folded = (query * rule.scaling).transpose(1, 2).reshape(batch * key_heads, -1, width)
    scores = torch.bmm(folded, key.flatten(0, 1).transpose(1, 2)).view(batch, heads, queries, keys)
    scores = soft_capped(scores, rule).add_(hidden)
    probabilities = torch.softmax(scores, -1).view(batch * key_heads, -1, keys)
    out = torch.bmm(probabilities, value.flatten(0, 1)).view(batch, heads, queries, value_width)
    return out.transpose(1, 2)


def soft_capped(scores: Tensor, rule: Rule) -> Tensor:
    """Scores squeezed into (-softcap, softcap), where the rule has one."""
    return torch.tanh(scores / rule.softcap) * rule.softcap if rule.softcap else scores


AttentionInterface.register(NAME, attend)
