"""The algorithms, a row each: naming one with no other key gives its paper's setting."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from aha.algorithms.advantages import (
    AdvantageFunction,
    group_centred,
    group_normalised,
    leave_one_out,
    mean_normalised,
)
from aha.algorithms.losses import Term, policy_loss, sequence_clip, sequence_mean_clip, token_clip, weighted_likelihood
from aha.algorithms.setting import Setting
from aha.errors import UserError, nearest
from aha.protocols import LossFunction


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What an algorithm makes of rewards, and of the ratio; where both are from.

    `advantage` compares the rollouts of a group. None: every token has an advantage of its own, the rewards to come
    less the values of a critic (where there is a `critic`), whitened over the batch.
    """

    advantage: AdvantageFunction | None
    term: Term
    setting: Setting
    paper: str
    formula: str
    critic: bool = False

    def loss(self, setting: Setting) -> LossFunction:
        """The loss function, as a learner takes it."""
        return functools.partial(policy_loss, term=self.term, setting=setting)


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm(
        advantage=group_normalised,
        term=token_clip,
        # The clip of R1-Zero is not printed; 0.2 is PPO's. With one update a rollout it all but never binds.
        setting=Setting(kl_beta=0.001),
        paper="DeepSeek-R1, arXiv 2501.12948 v2, eq. 1-3 and table of section 2.1",
        formula="-min(r A, clip(r) A) + beta (pi_ref/pi - log(pi_ref/pi) - 1),  A = (R - mean R) / std R",
    ),
    "dr-grpo": Algorithm(
        advantage=group_centred,
        term=token_clip,
        setting=Setting(aggregation="constant"),
        paper="Understanding R1-Zero-Like Training, arXiv 2503.20783, section 3.2",
        formula="-min(r A, clip(r) A),  A = R - mean R,  summed over tokens, over samples * max_tokens",
    ),
    "dapo": Algorithm(
        advantage=group_normalised,
        term=token_clip,
        setting=Setting(clip_high=0.28, attempts=3, overlong_buffer=64),
        paper="DAPO, arXiv 2503.14476, eq. 8-13",
        formula="-min(r A, clip(r, 1 - 0.2, 1 + 0.28) A),  A = (R - mean R) / std R,  mean over all tokens",
    ),
    "gspo": Algorithm(
        advantage=group_normalised,
        term=sequence_mean_clip,
        setting=Setting(clip_low=3e-4, clip_high=4e-4, aggregation="sequence-mean"),
        paper="Group Sequence Policy Optimization, arXiv 2507.18071, eq. 5-7 and section 5.1",
        formula="-min(s A, clip(s) A),  s = (prod r)^(1/|o|),  A = (R - mean R) / std R",
    ),
    "rloo": Algorithm(
        advantage=leave_one_out,
        term=sequence_clip,
        # On whole sequences; a mean over sequences of the same number for each of its tokens is their sum's weight.
        setting=Setting(kl_beta=0.001, kl="k1", kl_in="reward", aggregation="sequence-mean"),
        paper="Back to Basics: Revisiting REINFORCE, arXiv 2402.14740, eq. 6 and 8",
        formula="-min(s A, clip(s) A),  s = prod r,  A_i = R_i - mean of the others' R,  R less beta log(pi/pi_ref)",
    ),
    "reinforce++": Algorithm(
        advantage=None,
        term=token_clip,
        setting=Setting(kl_beta=0.001, kl="k1", kl_in="reward"),
        paper="REINFORCE++, arXiv 2501.03262, eq. 4-6",
        formula="-min(r A, clip(r) A),  A_t = R - beta sum over i >= t of log(pi/pi_ref), whitened over the batch",
    ),
    "cispo": Algorithm(
        advantage=group_normalised,
        term=weighted_likelihood,
        # No lower clip, as in the paper; its upper one is not printed, 4 is ScaleRL's (arXiv 2510.13786).
        setting=Setting(clip_low=1.0, clip_high=4.0),
        paper="MiniMax-M1, arXiv 2506.13585, eq. 4-5",
        formula="-stop_gradient(clip(r)) A log pi,  A = (R - mean R) / std R,  mean over all tokens",
    ),
    "maxrl": Algorithm(
        advantage=mean_normalised,
        term=token_clip,
        # Its estimator is unbiased where tokens are summed, so their sum is divided by a constant.
        setting=Setting(aggregation="constant"),
        paper="Maximum Likelihood Reinforcement Learning, arXiv 2602.02710, theorem 2",
        formula="-min(r A, clip(r) A),  A = (R - mean R) / mean R",
    ),
    "ppo": Algorithm(
        advantage=None,
        term=token_clip,
        setting=Setting(kl_beta=0.001, kl="k1", kl_in="reward", gae_lambda=1.0),
        paper="PPO, arXiv 1707.06347, eq. 7; GAE, arXiv 1506.02438; DeepSeek-R1 v2, appendix A.3, figure 4",
        formula="-min(r A, clip(r) A),  A by GAE over r_t - beta log(pi/pi_ref) with a critic's values, whitened",
        critic=True,
    ),
}


def algorithm(name: str) -> Algorithm:
    """The row `name`, or UserError that names the nearest one."""
    if name not in ALGORITHMS:
        raise UserError(f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]
