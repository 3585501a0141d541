"""Loss functions: pure functions of per-token streams. Each returns a sum over tokens; the learner divides it by a
denominator of the whole batch, so it is the same for every split into micro-batches.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Streams(Protocol):
    """What a loss may look at beside the log-probs: flat streams [N] over the trained tokens."""

    @property
    def advantages(self) -> Tensor: ...
    @property
    def behaviour_logprobs(self) -> Tensor: ...
    @property
    def reference_logprobs(self) -> Tensor: ...
    @property
    def weights(self) -> Tensor: ...


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) per token by Schulman's k3, DeepSeek-R1 eq. 2: r - log r - 1 with r = reference / policy.

    Never negative, and 0 where both agree.
    """
    log_ratio = reference - logprobs
    return torch.exp(log_ratio) - log_ratio - 1


def clipped_policy_gradient(
    logprobs: Tensor, streams: Streams, *, clip_low: float, clip_high: float, kl_beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO, DeepSeek-R1 eq. 1 on tokens: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) + kl_beta * k3.

    r is the policy's probability over the behaviour policy's. Reports sums: `kl`, `clipped` (tokens whose gradient the
    clip takes away) and `gap` (|log r|).
    """
    log_ratio = logprobs - streams.behaviour_logprobs
    ratio = torch.exp(log_ratio)
    unclipped = ratio * streams.advantages
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * streams.advantages
    loss = -torch.minimum(unclipped, clipped)
    reported = {"clipped": (clipped < unclipped).sum(), "gap": log_ratio.detach().abs().sum()}
    if kl_beta:
        kl = k3(logprobs, streams.reference_logprobs)
        loss = loss + kl_beta * kl
        reported["kl"] = kl.detach().sum()
    return (loss * streams.weights).sum(), reported
