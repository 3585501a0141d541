"""Sampling and grading the groups of a step.

Everything drawn follows from the seed, the step and the attempt, so a resumed run samples what an unbroken one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from aha.config import RLStage
from aha.errors import RunFailed
from aha.evaluation.grading import Pairs, Share, all_here, graded
from aha.models.dialogue import Dialogue
from aha.protocols import Engine, Finished, Task
from aha.rewards.compose import combined
from aha.seeds import seed_of
from aha.training.shaping import Graded
from aha.types import Failed, Outcome, Problem, Prompt, Rollout, Sampling, Verdict

Scorer = Callable[[Sequence[Rollout]], Sequence[Outcome]]  # a reward model, on many rollouts at once


@dataclass(frozen=True, slots=True)
class Collector:
    """What it takes to sample a step's groups and to grade them."""

    stage: RLStage
    task: Task
    seed: int
    dialogue: Dialogue
    scorers: Mapping[str, Scorer] = field(default_factory=dict)  # by the names of the stage's preferences
    share: Share = all_here  # by which several processes divide the questions

    def weights_of(self, problem: Problem) -> Mapping[str, float]:
        """The rewards of a problem: those of its task, or the stage's."""
        return self.stage.rewards_of.get(problem.task, self.stage.rewards)

    def active(self, done: int) -> list[str]:
        """The preferences that count in the step after `done` others."""
        steps = self.stage.steps
        first = {n: min(steps - 1, round(steps * (1 - c.last_share))) for n, c in self.stage.preferences.items()}
        return [name for name, step in first.items() if done >= step]

    @property
    def sampling(self) -> Sampling:
        r = self.stage.rollouts
        return Sampling(r.max_tokens, r.temperature, r.top_k, r.top_p)


@dataclass(frozen=True, slots=True)
class Collected:
    """The groups of a step, the seconds for which grading went on after sampling (None: nobody measured), more numbers
    of the step by name, and the places of the groups' problems in the train split, where workers have made them."""

    groups: list[Graded]
    lag: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    places: tuple[int, ...] = ()


class Source(Protocol):
    """Where a step's groups come from: `collect`, or workers."""

    def __call__(self, collector: Collector, engine: Engine, done: int, attempts: int) -> Collected:
        """Groups of the step after `done` others; `attempts` as in `collect`."""
        ...


# collector, engine, number of a rollout, preferences -> its groups, and how long grading went on after sampling
Attempt = Callable[[Collector, Engine, int, Sequence[str]], tuple[list[Graded], float | None]]


def sampled_here(
    collector: Collector, engine: Engine, number: int, preferences: Sequence[str]
) -> tuple[list[Graded], float | None]:
    """A group for each question of rollout `number`, graded by rules and by the reward models of `preferences`."""
    problems, prompts = asked(collector, number)
    sampled_at = time.perf_counter()

    def make(places: Sequence[int]) -> list[Pairs]:
        own = [prompts[place] for place in places]

        def sampled() -> Iterator[Finished]:
            nonlocal sampled_at
            yield from engine.stream(own, collector.sampling)
            sampled_at = time.perf_counter()

        them, threads = [problems[place] for place in places], collector.stage.reward_threads
        found = graded(sampled(), them, own, collector.dialogue, collector.task, collector.weights_of, threads)
        return preferred(collector, preferences, found)

    found = collector.share(problems, prompts, make)
    return [group_of(pairs) for pairs in found], time.perf_counter() - sampled_at


def collect(
    collector: Collector, engine: Engine, done: int, attempts: int, attempt: Attempt = sampled_here
) -> Collected:
    """Groups of the step after `done` others, each rollout of questions made by `attempt`.

    With one attempt, a group for each question of the step. With more (DAPO's dynamic sampling, arXiv 2503.14476,
    eq. 11) new questions are sampled, up to `attempts` times, until as many groups as there are questions are mixed;
    only those are trained, and what is beyond them is not.
    """
    wanted, preferences = collector.stage.rollouts.questions, collector.active(done)
    if attempts == 1:
        return Collected(*attempt(collector, engine, done, preferences))
    found: list[Graded] = []
    lags: list[float | None] = []
    for turn in range(attempts):
        sampled, lag = attempt(collector, engine, done * attempts + turn, preferences)
        lags.append(lag)
        room = wanted - sum(g.trained for g in found)
        for group in sampled:
            trained = group.mixed and room > 0
            room -= trained
            found.append(replace(group, trained=trained))
        if not room:
            break
    measured = [lag for lag in lags if lag is not None]
    return Collected(found, sum(measured) if measured else None)


def asked(collector: Collector, number: int) -> tuple[list[Problem], list[Prompt]]:
    """The problems of rollout `number` and how they are put."""
    count = collector.stage.rollouts.questions
    both = [question(collector, number * count + place) for place in range(count)]
    return [problem for problem, _ in both], [prompt for _, prompt in both]


def question(collector: Collector, index: int) -> tuple[Problem, Prompt]:
    """Problem `index` of training and how it is put; what is drawn follows from the rollout that it is of."""
    r = collector.stage.rollouts
    problem = collector.task.problem("train", index)
    seed = seed_of(collector.seed, index // r.questions, index % r.questions)
    return problem, Prompt(collector.dialogue.prompt(problem), r.group, seed)


def group_of(pairs: Pairs) -> Graded:
    """The rollouts of a problem with their verdicts."""
    return Graded(pairs[0][0].problem, tuple(rollout for rollout, _ in pairs), tuple(given for _, given in pairs))


def preferred(collector: Collector, names: Sequence[str], groups: list[Pairs]) -> list[Pairs]:
    """The groups with the scores of the reward models `names` added, each where a problem is for it."""
    for name in names:
        groups = _preferred(collector, name, groups)
    return groups


def _preferred(collector: Collector, name: str, groups: list[Pairs]) -> list[Pairs]:
    """The groups with the reward model's scores added where the problem is for it."""
    meant = [pairs[0][0].problem.hidden.get("preference") == name for pairs in groups]
    asked = [rollout for pairs, its in zip(groups, meant, strict=True) if its for rollout, _ in pairs]
    outcomes = iter(collector.scorers[name](asked))
    weight = collector.stage.preferences[name].weight

    def scored(rollout: Rollout, verdict: Verdict) -> tuple[Rollout, Verdict]:
        weights = {**collector.weights_of(rollout.problem), name: weight}
        return rollout, combined({**verdict.outcomes, name: next(outcomes)}, weights)

    return [
        [scored(r, v) for r, v in pairs] if its else pairs for pairs, its in zip(groups, meant, strict=True)
    ]


def check_failures(groups: Sequence[Graded], largest_share: float, step: int) -> None:
    """Stop where too many rewards failed: the data would be a biased rest."""
    outcomes = [o for group in groups for v in group.verdicts_G for o in v.outcomes.values()]
    failed = [o for o in outcomes if isinstance(o, Failed)]
    if len(failed) > largest_share * len(outcomes):
        raise RunFailed(
            f"step {step}: {len(failed)} of {len(outcomes)} rewards failed, more than the set share of "
            f"{largest_share:g}; the first: {failed[0].reason}"
        )
