"""Sampling and grading the groups of a step.

Everything drawn follows from the seed, the step and the attempt, so a resumed run samples what an unbroken one does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aha.config import RLStage
from aha.errors import RunFailed
from aha.models.dialogue import Dialogue
from aha.protocols import Engine, Finished, Task
from aha.rewards.beside import beside
from aha.rewards.compose import verdict
from aha.seeds import seed_of
from aha.training.shaping import Graded
from aha.types import Failed, Prompt, Rollout, Sampling, Verdict


@dataclass(frozen=True, slots=True)
class Collector:
    """What it takes to sample a step's groups and to grade them."""

    stage: RLStage
    task: Task
    seed: int
    dialogue: Dialogue

    @property
    def sampling(self) -> Sampling:
        r = self.stage.rollouts
        return Sampling(r.max_tokens, r.temperature, r.top_k, r.top_p)


def collect(collector: Collector, engine: Engine, done: int, attempts: int) -> tuple[list[Graded], float]:
    """Groups of the step after `done` others, and how long grading went on after sampling, in seconds.

    With one attempt, a group for each question of the step. With more (DAPO's dynamic sampling, arXiv 2503.14476,
    eq. 11) new questions are sampled, up to `attempts` times, until as many groups as there are questions are mixed;
    only those are trained, and what is beyond them is not.
    """
    wanted = collector.stage.rollouts.questions
    if attempts == 1:
        return _attempt(collector, engine, done)
    found: list[Graded] = []
    lag = 0.0
    for attempt in range(attempts):
        sampled, waited = _attempt(collector, engine, done * attempts + attempt)
        lag += waited
        room = wanted - sum(g.trained for g in found)
        for group in sampled:
            trained = group.mixed and room > 0
            room -= trained
            found.append(replace(group, trained=trained))
        if not room:
            break
    return found, lag


def _attempt(collector: Collector, engine: Engine, number: int) -> tuple[list[Graded], float]:
    """A group for each question of rollout `number`."""
    r = collector.stage.rollouts
    problems = [collector.task.problem("train", number * r.questions + place) for place in range(r.questions)]
    prompts = [
        Prompt(collector.dialogue.prompt(problem), r.group, seed_of(collector.seed, number, place))
        for place, problem in enumerate(problems)
    ]
    sampled_at = 0.0

    def grade(finished: Finished) -> tuple[int, int, Rollout, Verdict]:
        place, sample, completion = finished
        rollout = collector.dialogue.read(problems[place], prompts[place].ids, completion)
        return place, sample, rollout, verdict(collector.task, rollout, collector.stage.rewards)

    def sampled() -> Iterator[Finished]:
        nonlocal sampled_at
        yield from engine.stream(prompts, collector.sampling)
        sampled_at = time.perf_counter()

    threads = collector.stage.reward_threads
    graded = {(p, s): (rollout, found) for p, s, rollout, found in beside(sampled(), grade, threads=threads)}
    groups = []
    for place, problem in enumerate(problems):
        pairs = [graded[place, sample] for sample in range(r.group)]
        groups.append(Graded(problem, tuple(rollout for rollout, _ in pairs), tuple(found for _, found in pairs)))
    return groups, time.perf_counter() - sampled_at


def check_failures(groups: Sequence[Graded], largest_share: float, step: int) -> None:
    """Stop where too many rewards failed: the data would be a biased rest."""
    outcomes = [o for group in groups for v in group.verdicts_G for o in v.outcomes.values()]
    failed = [o for o in outcomes if isinstance(o, Failed)]
    if len(failed) > largest_share * len(outcomes):
        raise RunFailed(
            f"step {step}: {len(failed)} of {len(outcomes)} rewards failed, more than the set share of "
            f"{largest_share:g}; the first: {failed[0].reason}"
        )
