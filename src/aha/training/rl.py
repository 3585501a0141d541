"""The RL loop: draw problems, sample groups, grade, learn, publish; one step at a time.

    for step in train(loop, learner, engine, first_step=0): step.metrics, step.groups

Everything that a step draws follows from the seed and the step's number, so the loop's cursor is one integer and a
resumed run takes the same path as an unbroken one.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aha.algorithms.aggregation import aggregate
from aha.algorithms.table import algorithm
from aha.config import RLStage
from aha.errors import RunFailed
from aha.models.dialogue import Dialogue
from aha.protocols import Engine, Finished, Learner, LossFunction, Task
from aha.rewards.beside import beside
from aha.rewards.compose import verdict
from aha.seeds import seed_of
from aha.training import gate
from aha.training.step_metrics import group_metrics, memory_gb
from aha.types import Failed, Group, Problem, Prompt, Rollout, Sample, Sampling, StepMetrics, Verdict

GATE_SAMPLES = 16  # checked before every update


@dataclass(frozen=True, slots=True)
class Loop:
    """All that a step needs beside learner and engine. Nothing here has state."""

    stage: RLStage
    task: Task
    seed: int
    dtype: str  # of the forward pass, for the gate's tolerance
    dialogue: Dialogue

    @property
    def sampling(self) -> Sampling:
        r = self.stage.rollouts
        return Sampling(r.max_tokens, r.temperature, r.top_k, r.top_p)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step made."""

    metrics: StepMetrics
    groups: tuple[Group, ...]


def train(loop: Loop, learner: Learner, engine: Engine, first_step: int) -> Iterator[Step]:
    """Steps `first_step` + 1 to the stage's last. Raises RunFailed where a gate or the failure share stops the run."""
    engine.publish(learner.weights(), first_step)
    for done in range(first_step, loop.stage.steps):
        yield one_step(loop, learner, engine, done)


def one_step(loop: Loop, learner: Learner, engine: Engine, done: int) -> Step:
    """One rollout and its updates, after `done` earlier steps."""
    clock = [time.perf_counter()]
    groups, sampled = roll_out(loop, engine, done)
    check_failures(groups, loop.stage.largest_failure_share, done + 1)
    described = group_metrics(groups)
    clock += [sampled, time.perf_counter()]
    samples = [sample for group in groups if not group.zero_variance for sample in samples_of(group, loop.stage)]
    scored = sum(a is not None for group in groups for a in group.advantages_G)
    values = learn(loop, learner, samples, scored, done)
    clock.append(time.perf_counter())
    if loop.stage.algorithm.reference_refresh and (done + 1) % loop.stage.algorithm.reference_refresh == 0:
        learner.refresh_reference()
    engine.publish(learner.weights(), done + 1)
    clock.append(time.perf_counter())
    phases = dict(zip(("rollout", "score", "learn", "publish"), _differences(clock), strict=True))
    tokens = sum(len(r.completion.ids) for group in groups for r in group.rollouts_G)
    timing = {f"time/{name}_s": seconds for name, seconds in phases.items()}
    timing["time/step_s"] = clock[-1] - clock[0]
    timing["rollout/tokens_per_s"] = tokens / phases["rollout"]
    if samples:
        timing["learn/tokens_per_s"] = sum(s.n_targets for s in samples) / phases["learn"]
    values = {**described, **values, **timing, "memory/rss_gb": memory_gb()}
    return Step(StepMetrics(done + 1, values), groups)


def roll_out(loop: Loop, engine: Engine, done: int) -> tuple[tuple[Group, ...], float]:
    """Sample and grade a group for each question of the step; also the moment when sampling ended."""
    r = loop.stage.rollouts
    problems = [loop.task.problem("train", done * r.questions + place) for place in range(r.questions)]
    prompts = [
        Prompt(loop.dialogue.prompt(problem), r.group, seed_of(loop.seed, done, place))
        for place, problem in enumerate(problems)
    ]
    clock: list[float] = []

    def grade(finished: Finished) -> tuple[int, int, Rollout, Verdict]:
        place, sample, completion = finished
        rollout = loop.dialogue.read(problems[place], prompts[place].ids, completion)
        return place, sample, rollout, verdict(loop.task, rollout, loop.stage.rewards)

    def sampled() -> Iterator[Finished]:
        yield from engine.stream(prompts, loop.sampling)
        clock.append(time.perf_counter())

    graded = {(p, s): (rollout, v) for p, s, rollout, v in beside(sampled(), grade, threads=loop.stage.reward_threads)}
    return tuple(
        group_of(loop, problem, [graded[place, sample] for sample in range(r.group)])
        for place, problem in enumerate(problems)
    ), clock[0]


def group_of(loop: Loop, problem: Problem, graded_G: Sequence[tuple[Rollout, Verdict]]) -> Group:
    """The group of one problem's graded rollouts, with advantages."""
    advantages = algorithm(loop.stage.algorithm.name).advantage([v.total for _, v in graded_G])
    return Group(problem, tuple(r for r, _ in graded_G), tuple(v for _, v in graded_G), tuple(advantages))


def samples_of(group: Group, stage: RLStage) -> Iterator[Sample]:
    """The training rows of a group; a rollout without an advantage, or masked as truncated, makes none."""
    for rollout, advantage in zip(group.rollouts_G, group.advantages_G, strict=True):
        c = rollout.completion
        if advantage is None or (stage.algorithm.truncated == "mask" and c.stop_reason == "length"):
            continue
        prompt = len(rollout.prompt_ids)
        yield Sample(
            ids=rollout.prompt_ids + c.ids,
            loss_mask=(0,) * prompt + (1,) * len(c.ids),
            advantages=(0.0,) * prompt + (advantage,) * len(c.ids),
            behaviour_logprobs=(0.0,) * prompt + c.logprobs,
        )


def learn(loop: Loop, learner: Learner, samples: list[Sample], scored: int, done: int) -> dict[str, float]:
    """Check the numerics, then make the rollout's updates. No signal, no update."""
    choice = loop.stage.algorithm
    if not samples:
        return {"updates": 0.0}
    gap = gate.measure(learner, samples[:: max(1, len(samples) // GATE_SAMPLES)][:GATE_SAMPLES])
    gate.check(gap, loop.dtype, done + 1)
    row = algorithm(choice.name)
    loss = row.bind(choice.options)
    if {**row.defaults, **choice.options}.get("kl_beta"):
        samples = learner.with_reference(samples)
    values: dict[str, float] = {"gap/largest": gap.largest}
    parts = _parts(samples, choice.updates_per_rollout, seed_of(loop.seed, done, -1))
    for part in parts:
        share = max(len(part), round(scored * len(part) / len(samples)))
        values |= _update(learner, part, loss, choice.aggregation, share, loop.stage.rollouts.max_tokens)
    return {**values, "updates": float(len(parts))}


def _update(
    learner: Learner, samples: list[Sample], loss: LossFunction, aggregation: str, scored: int, max_tokens: int
) -> dict[str, float]:
    weighted, denominator = aggregate(samples, aggregation, scored, max_tokens)
    sums = learner.forward_backward(weighted, loss, denominator)
    targets = sum(s.n_targets for s in samples)
    values = {
        "loss": sums["loss"] / denominator,
        "clip_share": sums["clipped"] / targets,
        "gap/mean": sums["gap"] / targets,
    }
    if "kl" in sums:
        values["kl"] = sums["kl"] / targets
    return {**values, **learner.optim_step()}


def _parts(samples: list[Sample], count: int, seed: int) -> list[list[Sample]]:
    """A random split of a rollout into `count` minibatches of nearly equal size."""
    if count == 1:
        return [samples]
    shuffled = random.Random(seed).sample(samples, len(samples))
    return [part for i in range(count) if (part := shuffled[i::count])]


def check_failures(groups: Sequence[Group], largest_share: float, step: int) -> None:
    """Stop where too many rewards failed: the data would be a biased rest."""
    outcomes = [o for group in groups for v in group.verdicts_G for o in v.outcomes.values()]
    failed = [o for o in outcomes if isinstance(o, Failed)]
    if len(failed) > largest_share * len(outcomes):
        raise RunFailed(
            f"step {step}: {len(failed)} of {len(outcomes)} rewards failed, more than the set share of "
            f"{largest_share:g}; the first: {failed[0].reason}"
        )


def _differences(clock: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(clock)]
