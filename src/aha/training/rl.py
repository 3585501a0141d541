"""The RL loop: draw problems, sample groups, grade, learn, publish; one step at a time.

    for step in train(loop, learner, engine, first_step=0): step.metrics, step.groups

Everything that a step draws follows from the seed and the step's number, so the loop's cursor is one integer and a
resumed run takes the same path as an unbroken one. What an algorithm does with rewards is in `shaping.py`, with ratios
in `algorithms/losses.py`; nothing here asks which one it is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from aha.algorithms.aggregation import aggregate
from aha.algorithms.setting import Setting
from aha.algorithms.table import Algorithm, algorithm
from aha.config import RLStage
from aha.errors import RunFailed
from aha.evaluation.grading import Share, all_here
from aha.models.dialogue import Dialogue
from aha.protocols import Engine, Learner, Task
from aha.seeds import seed_of
from aha.training import gate
from aha.training.collect import Collector, Scorer, Source, check_failures, collect
from aha.training.shaping import Graded, Place, corrected, drafted, shaped, token_advantages
from aha.training.step_metrics import group_metrics, memory_gb
from aha.types import Group, Sample, Sampling, StepMetrics

GATE_SAMPLES = 16  # checked before every update
MOST_REFUSED = 3  # steps in a row


@dataclass(frozen=True, slots=True)
class Loop:
    """All that a step needs beside learner and engine. Nothing here has state."""

    stage: RLStage
    task: Task
    seed: int
    dtype: str  # of the forward pass, for the gate's tolerance
    dialogue: Dialogue
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    share: Share = all_here  # by which several processes divide a step's questions
    source: Source = collect  # where a step's groups come from

    @property
    def collector(self) -> Collector:
        return Collector(self.stage, self.task, self.seed, self.dialogue, self.scorers, self.share)

    @property
    def sampling(self) -> Sampling:
        return self.collector.sampling

    @property
    def row(self) -> Algorithm:
        return algorithm(self.stage.algorithm.name)

    @property
    def setting(self) -> Setting:
        return self.row.setting.replaced(self.stage.algorithm.options)


class Critic(Protocol):
    """Knows the value of the states on the way through a response."""

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """The value before each trained token of every sample; 0 on the others."""
        ...

    def learn(self, samples: Sequence[Sample], clip: float) -> dict[str, float]:
        """One update towards the returns of `samples`, whose `behaviour_logprobs` are the values before, and whose
        `advantages` are how far those were off; metrics."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one step made."""

    metrics: StepMetrics
    groups: tuple[Group, ...]
    refused: tuple[Sample, ...] = ()  # rows of updates whose gradient was not finite, which changed nothing


@dataclass(frozen=True, slots=True)
class Learned:
    """What was made of a step's groups."""

    groups: tuple[Group, ...]
    samples: list[Sample]
    values: dict[str, float]
    refused: tuple[Sample, ...] = ()


def train(
    loop: Loop, learner: Learner, engine: Engine, first_step: int, critic: Critic | None = None
) -> Iterator[Step]:
    """Steps `first_step` + 1 to the stage's last. Raises RunFailed where the gate, the share of failed rewards or
    refused updates stop the run."""
    engine.publish(learner.weights(), first_step)
    refused = 0
    for done in range(first_step, loop.stage.steps):
        step = one_step(loop, learner, engine, done, critic)
        yield step
        refused = refused + 1 if step.refused else 0
        if refused == MOST_REFUSED:
            raise RunFailed(
                f"step {done + 1}: the gradient was not finite in {refused} steps in a row; what they were to learn "
                "from is kept in the stage's folder, in refused/"
            )


def one_step(loop: Loop, learner: Learner, engine: Engine, done: int, critic: Critic | None = None) -> Step:
    """One rollout and its updates, after `done` earlier steps."""
    began = time.perf_counter()
    collected = loop.source(loop.collector, engine, done, loop.setting.attempts)
    graded, lag = collected.groups, collected.lag or 0.0
    check_failures(graded, loop.stage.largest_failure_share, done + 1)
    graded_at = time.perf_counter()
    memory = {"memory/after_rollout_gb": memory_gb()}
    learned = learn(loop, learner, graded, done, critic)
    groups, samples = learned.groups, learned.samples
    described = group_metrics(groups)
    learned_at = time.perf_counter()
    refresh = loop.stage.algorithm.reference_refresh
    if loop.setting.kl_beta and refresh and (done + 1) % refresh == 0:
        learner.refresh_reference()
    engine.publish(learner.weights(), done + 1)
    ended = time.perf_counter()
    phases = {
        "rollout": graded_at - began - lag,
        **({} if collected.lag is None else {"score": lag}),
        "learn": learned_at - graded_at,
        "publish": ended - learned_at,
        "step": ended - began,
    }
    timing = {f"time/{name}_s": seconds for name, seconds in phases.items()}
    tokens = sum(len(r.completion.ids) for group in groups for r in group.rollouts_G)
    timing["rollout/tokens_per_s"] = tokens / phases["rollout"]
    if samples:
        timing["learn/tokens_per_s"] = sum(s.n_targets for s in samples) / phases["learn"]
    values = {**described, **learned.values, **timing, **memory, "memory/rss_gb": memory_gb(), **collected.values}
    return Step(StepMetrics(done + 1, values), groups, learned.refused)


def learn(loop: Loop, learner: Learner, graded: list[Graded], done: int, critic: Critic | None = None) -> Learned:
    """Check the numerics, then make the rollout's updates. No signal, no update."""
    setting = loop.setting
    drafts = drafted(graded, setting)
    if setting.kl_beta and setting.kl_in == "reward":
        drafts = _with_reference(learner, drafts)
    values = dict(zip(drafts, critic.logprobs(list(drafts.values())), strict=True)) if critic is not None else None
    groups, shaped_rows = shaped(graded, drafts, loop.row, setting, loop.stage.rollouts.max_tokens, values)
    samples = list(shaped_rows.values())
    if not samples:
        return Learned(groups, samples, {"updates": 0.0})
    gap = _gap(loop, learner, graded, shaped_rows, done)
    if setting.kl_beta and setting.kl_in == "loss":
        samples = learner.with_reference(samples)
    if setting.importance_cap:
        logprobs = learner.logprobs(samples)
        samples = [corrected(s, row, setting.importance_cap) for s, row in zip(samples, logprobs, strict=True)]
    trained = [group for group, it in zip(groups, graded, strict=True) if it.trained]
    scored = sum(a is not None for group in trained for a in group.advantages_G)
    found: dict[str, float] = {"gap/largest": gap.largest} if gap is not None else {}
    parts = _parts(samples, loop.stage.algorithm.updates_per_rollout, seed_of(loop.seed, done, -1))
    refused: list[Sample] = []
    for part in parts:
        share = max(len(part), round(scored * len(part) / len(samples)))
        found |= _update(loop, learner, part, share)
        refused += part if found["update_refused"] else []
    if critic is not None and values is not None:
        errors = token_advantages(graded, drafts, setting, loop.stage.rollouts.max_tokens, values)
        rows = [replace(s, advantages=errors[p], behaviour_logprobs=values[p]) for p, s in drafts.items()]
        found |= critic.learn(rows, setting.critic_clip)
    return Learned(groups, samples, {**found, "updates": float(len(parts))}, tuple(refused))


def _gap(
    loop: Loop, learner: Learner, graded: Sequence[Graded], rows: Mapping[Place, Sample], done: int
) -> gate.Gap | None:
    """How far engine and learner are apart, which stops the run where it is too far. Sampling that runs ahead leaves
    only rows to compare that the present weights have drawn as a whole; None where a step has none."""
    drawn = {place: graded[place[0]].rollouts_G[place[1]].completion for place in rows}
    ahead = loop.stage.rollouts.ahead
    samples = [row for place, row in rows.items() if not ahead or drawn[place].oldest == done]
    if not samples:
        return None
    gap = gate.measure(learner, samples[:: max(1, len(samples) // GATE_SAMPLES)][:GATE_SAMPLES])
    gate.check(gap, loop.dtype, done + 1)
    return gap


def _with_reference(learner: Learner, drafts: Mapping[Place, Sample]) -> dict[Place, Sample]:
    return dict(zip(drafts, learner.with_reference(list(drafts.values())), strict=True))


def _update(loop: Loop, learner: Learner, samples: list[Sample], scored: int) -> dict[str, float]:
    setting = loop.setting
    weighted, denominator = aggregate(samples, setting.aggregation, scored, loop.stage.rollouts.max_tokens)
    sums = learner.forward_backward(weighted, loop.row.loss(setting), denominator, entropies=bool(setting.entropy_beta))
    targets = sum(s.n_targets for s in samples)
    values = {
        "loss": sums["loss"] / denominator,
        "clip_share": sums["clipped"] / targets,
        "gap/mean": sums["gap"] / targets,
    }
    values |= {name: sums[name] / targets for name in ("kl", "policy_entropy") if name in sums}
    return {**values, **learner.optim_step()}


def _parts(samples: list[Sample], count: int, seed: int) -> list[list[Sample]]:
    """A random split of a rollout into `count` minibatches of nearly equal size."""
    if count == 1:
        return [samples]
    shuffled = random.Random(seed).sample(samples, len(samples))
    return [part for i in range(count) if (part := shuffled[i::count])]
