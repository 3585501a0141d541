"""Loss functions: pure functions of per-token streams. Each returns a sum over tokens; the learner divides it by a
denominator of the whole batch, so it is the same for every split into micro-batches.

An algorithm has a term of its own, what it does with the ratio r = policy / behaviour policy; `policy_loss` adds what
all share. All streams are flat [N], over the trained tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from aha.algorithms.setting import Setting


class Streams(Protocol):
    """What a loss may look at beside the log-probs."""

    @property
    def advantages(self) -> Tensor: ...
    @property
    def behaviour_logprobs(self) -> Tensor: ...
    @property
    def reference_logprobs(self) -> Tensor: ...
    @property
    def corrections(self) -> Tensor: ...  # a factor of each token's policy term
    @property
    def entropies(self) -> Tensor: ...  # of the distribution that each token was drawn from, with a gradient
    @property
    def weights(self) -> Tensor: ...
    @property
    def sequence(self) -> Tensor: ...  # number of the token's row
    @property
    def lengths(self) -> Tensor: ...  # trained tokens of the token's row


# log-probs, log r, streams, setting -> the loss of each token, and which tokens the clip leaves without a gradient
Term = Callable[[Tensor, Tensor, Streams, Setting], tuple[Tensor, Tensor]]


def token_clip(_: Tensor, log_ratio: Tensor, streams: Streams, setting: Setting) -> tuple[Tensor, Tensor]:
    """PPO's clip on tokens (arXiv 1707.06347 eq. 7), GRPO's (DeepSeek-R1 eq. 1): -min(r A, clip(r) A)."""
    return _clipped(torch.exp(log_ratio), streams.advantages, setting)


def sequence_mean_clip(_: Tensor, log_ratio: Tensor, streams: Streams, setting: Setting) -> tuple[Tensor, Tensor]:
    """GSPO, arXiv 2507.18071 eq. 5-7: the clip on one ratio a sequence, the geometric mean of its tokens' ratios."""
    return _clipped(torch.exp(_row_sums(log_ratio, streams) / streams.lengths), streams.advantages, setting)


def sequence_clip(_: Tensor, log_ratio: Tensor, streams: Streams, setting: Setting) -> tuple[Tensor, Tensor]:
    """The clip on a sequence's own ratio, the product of its tokens': REINFORCE of whole responses, whose ratio is 1
    at the first update of a rollout (RLOO, arXiv 2402.14740)."""
    return _clipped(torch.exp(_row_sums(log_ratio, streams)), streams.advantages, setting)


def weighted_likelihood(
    logprobs: Tensor, log_ratio: Tensor, streams: Streams, setting: Setting
) -> tuple[Tensor, Tensor]:
    """CISPO, MiniMax-M1, arXiv 2506.13585 eq. 4-5: -stop_gradient(clip(r)) A log p. Clipped tokens keep a gradient."""
    ratio = torch.exp(log_ratio.detach())
    weight = ratio.clamp(1 - setting.clip_low, 1 + setting.clip_high)
    return -weight * streams.advantages * logprobs, weight != ratio


def policy_loss(
    logprobs: Tensor, streams: Streams, *, term: Term, setting: Setting
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum over tokens of `term`, the KL term and the entropy bonus, each times the token's weight.

    Reports sums: `clipped`, `gap` (|log r|) and, where they are in the loss, `kl` and `entropy`.
    """
    log_ratio = logprobs - streams.behaviour_logprobs
    loss, clipped = term(logprobs, log_ratio, streams, setting)
    loss = loss * streams.corrections
    reported = {"clipped": clipped.sum(), "gap": log_ratio.detach().abs().sum()}
    if setting.kl_beta and setting.kl_in == "loss":
        kl = kl_estimate(setting.kl, logprobs, streams.reference_logprobs)
        if setting.kl_importance:
            kl = kl * torch.exp(log_ratio)
        loss = loss + setting.kl_beta * kl
        reported["kl"] = kl.detach().sum()
    if setting.entropy_beta:
        loss = loss - setting.entropy_beta * streams.entropies
        reported["policy_entropy"] = streams.entropies.detach().sum()
    return (loss * streams.weights).sum(), reported


def kl_estimate(estimator: str, logprobs: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) of each token by Schulman's estimators, http://joschu.net/blog/kl-approx.html.

    What they are as a term of the loss differs from what they are as numbers. Over tokens that the policy drew:

    - "k1", log p - log q: its mean is the KL, its gradient's mean is 0. As a loss it only adds noise; it belongs into
      the reward.
    - "k2", (log p - log q)^2 / 2: its mean is not the KL, its gradient's mean is the KL's.
    - "k3", q/p - log(q/p) - 1 (DeepSeek-R1 eq. 2): its mean is the KL, never negative; its gradient's mean is that of
      KL(reference || policy), close to the KL's where both are close.

    Times r (`kl_importance`), k1 and k3 have the KL's value and gradient, also after an update.
    """
    log_ratio = reference - logprobs
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return torch.exp(log_ratio) - log_ratio - 1


def _clipped(ratio: Tensor, advantages: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
    free = ratio * advantages
    bound = ratio.clamp(1 - setting.clip_low, 1 + setting.clip_high) * advantages
    return -torch.minimum(free, bound), bound < free


def _row_sums(values: Tensor, streams: Streams) -> Tensor:
    """For each token the sum over its row."""
    rows = int(streams.sequence.max()) + 1 if len(values) else 0
    return values.new_zeros(rows).index_add(0, streams.sequence, values)[streams.sequence]
