"""From graded rollouts to training rows: what an algorithm makes of rewards. Pure functions; nothing is sampled here.

    drafts = drafted(graded, setting)                   # a row for each rollout that may be trained, no advantages yet
    groups, samples = shaped(graded, drafts, row, setting, max_tokens, values)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aha.algorithms.returns import gae, kl_of_token, overlong_penalty, whitened
from aha.algorithms.setting import Setting
from aha.algorithms.table import Algorithm
from aha.types import Group, Problem, Rollout, Sample, Verdict

Place = tuple[int, int]  # number of the group, and of the rollout in it


@dataclass(frozen=True, slots=True)
class Graded:
    """All rollouts of one problem with their verdicts. `trained` is False where it was sampled for statistics alone."""

    problem: Problem
    rollouts_G: tuple[Rollout, ...]
    verdicts_G: tuple[Verdict, ...]
    trained: bool = True

    @property
    def mixed(self) -> bool:
        """True where some answers are right and some are not: by raw correctness, or, without it, by the totals."""
        right = [v.value("accuracy") for v in self.verdicts_G]
        known = {x for x in (right if any(x is not None for x in right) else self._totals) if x is not None}
        return len(known) > 1

    @property
    def _totals(self) -> list[float | None]:
        return [v.total for v in self.verdicts_G]


def drafted(graded: Sequence[Graded], setting: Setting) -> dict[Place, Sample]:
    """A row for each rollout that can be trained: all of its rewards came back, and it is not masked as truncated."""
    drafts: dict[Place, Sample] = {}
    for g, group in enumerate(graded):
        for i, (rollout, verdict) in enumerate(zip(group.rollouts_G, group.verdicts_G, strict=True)):
            masked = setting.truncated == "mask" and rollout.completion.stop_reason == "length"
            if group.trained and verdict.total is not None and not masked:
                drafts[g, i] = sample_of(rollout)
    return drafts


def sample_of(rollout: Rollout) -> Sample:
    """The training row of a rollout: its completion is trained, its prompt is not."""
    prompt, completion = len(rollout.prompt_ids), rollout.completion
    return Sample(
        ids=rollout.prompt_ids + completion.ids,
        loss_mask=(0,) * prompt + (1,) * len(completion.ids),
        behaviour_logprobs=(0.0,) * prompt + completion.logprobs,
    )


def shaped(
    graded: Sequence[Graded],
    drafts: Mapping[Place, Sample],
    row: Algorithm,
    setting: Setting,
    max_tokens: int,
    values: Mapping[Place, Sequence[float]] | None = None,
) -> tuple[tuple[Group, ...], dict[Place, Sample]]:
    """Groups with a number for each rollout, and the rows with an advantage for each trained token.

    `drafts` have their reference log-probs where the KL term is in the reward; `values` are a critic's, one a token of
    a row. A group of equal totals has no signal: where groups are compared, it makes no rows.
    """
    if row.advantage is None:
        tokens = token_advantages(graded, drafts, setting, max_tokens, values)
        white = dict(zip(tokens, whitened(list(tokens.values()), [s.loss_mask for s in drafts.values()]), strict=True))
        found = {place: replace(sample, advantages=tuple(white[place])) for place, sample in drafts.items()}
        return _centred(graded, setting, max_tokens), found
    groups = []
    found = {}
    for g, group in enumerate(graded):
        totals = [
            _less_kl(total, drafts.get((g, i)), setting) for i, total in enumerate(_totals(group, setting, max_tokens))
        ]
        advantages = row.advantage(totals)
        groups.append(_group(group, advantages))
        for i, advantage in enumerate(advantages):
            if (g, i) in drafts and advantage is not None and not groups[-1].zero_variance:
                sample = drafts[g, i]
                found[g, i] = replace(sample, advantages=tuple(advantage * on for on in sample.loss_mask))
    return tuple(groups), found


def token_advantages(
    graded: Sequence[Graded],
    drafts: Mapping[Place, Sample],
    setting: Setting,
    max_tokens: int,
    values: Mapping[Place, Sequence[float]] | None = None,
) -> dict[Place, tuple[float, ...]]:
    """GAE over the trained tokens of each row, 0 on the others: the total is the last token's reward, the KL term is
    taken off at each token; a critic's `values` stand before each (0 without one)."""
    found = {}
    for (g, i), sample in drafts.items():
        total = _totals(graded[g], setting, max_tokens)[i]
        assert total is not None, "a rollout without a total makes no row"
        rewards = [-setting.kl_beta * x for x in _kl(sample, setting)]
        rewards[-1] += total
        before = [0.0] * len(rewards) if values is None else _trained(values[g, i], sample)
        left = iter(gae(rewards, before, setting.gae_lambda))
        found[g, i] = tuple(next(left) if on else 0.0 for on in sample.loss_mask)
    return found


def corrected(sample: Sample, logprobs: Sequence[float], cap: float) -> Sample:
    """Truncated importance sampling (https://fengyao.notion.site/off-policy-rl): where an engine draws from another
    distribution than the learner computes, tokens count by min(cap, learner's / engine's probability), and ratios are
    to the learner's own log-probs before its first update."""
    pairs = zip(logprobs, sample.behaviour_logprobs, strict=True)
    corrections = tuple(min(cap, math.exp(min(own - engine, 80.0))) for own, engine in pairs)
    return replace(sample, behaviour_logprobs=tuple(logprobs), corrections=corrections)


def _totals(group: Graded, setting: Setting, max_tokens: int) -> list[float | None]:
    """Totals of a group with the penalties of length."""
    totals: list[float | None] = []
    for rollout, verdict in zip(group.rollouts_G, group.verdicts_G, strict=True):
        c, total = rollout.completion, verdict.total
        if total is not None:
            total += overlong_penalty(len(c.ids), max_tokens, setting.overlong_buffer)
            total -= setting.penalty if setting.truncated == "penalise" and c.stop_reason == "length" else 0.0
        totals.append(total)
    return totals


def _less_kl(total: float | None, sample: Sample | None, setting: Setting) -> float | None:
    """A total less the KL term of its whole row."""
    return total if total is None or sample is None else total - setting.kl_beta * math.fsum(_kl(sample, setting))


def _kl(sample: Sample, setting: Setting) -> list[float]:
    """The KL estimate of each trained token; 0 where it is not in the reward."""
    if not setting.kl_beta or setting.kl_in != "reward":
        return [0.0] * sample.n_targets
    pairs = zip(*(_trained(s, sample) for s in (sample.behaviour_logprobs, sample.reference_logprobs)), strict=True)
    return [kl_of_token(setting.kl, own, reference) for own, reference in pairs]


def _trained(stream: Sequence[float], sample: Sample) -> list[float]:
    """The numbers of the trained tokens."""
    return [x for x, on in zip(stream, sample.loss_mask, strict=True) if on]


def _centred(graded: Sequence[Graded], setting: Setting, max_tokens: int) -> tuple[Group, ...]:
    """Groups with totals less the batch's mean: what stands for rollouts whose tokens have advantages of their own."""
    totals = [_totals(group, setting, max_tokens) for group in graded]
    known = [t for row in totals for t in row if t is not None]
    mean = math.fsum(known) / max(1, len(known))
    centred = [[None if t is None else t - mean for t in row] for row in totals]
    return tuple(_group(group, row) for group, row in zip(graded, centred, strict=True))


def _group(group: Graded, advantages: Sequence[float | None]) -> Group:
    return Group(group.problem, group.rollouts_G, group.verdicts_G, tuple(advantages))
