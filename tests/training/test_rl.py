"""The parts of an RL step: training rows, minibatches, the failure share, metrics, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.algorithms.advantages import group_normalised
from aha.config import AlgorithmChoice, RLStage
from aha.errors import RunFailed
from aha.models.templates import parse
from aha.seeds import seed_of
from aha.training.collect import check_failures
from aha.training.rl import Loop, _parts, learn
from aha.training.shaping import Graded
from aha.training.step_metrics import group_metrics
from aha.types import Completion, Failed, Group, Message, Outcome, Problem, Rollout, Sample, Score, StopReason, Verdict

PROBLEM = Problem("p", "countdown", (Message("user", "Make 22 from 3, 5, 7."),), "3*5+7")
RIGHT = "<think> 3+5=8, 8+7=15 no. wait, 3*5=15, 15+7=22 yes!</think><answer>3*5+7</answer>"
WRONG = "<think>等等 3+5=9 not sure.</think><answer>3</answer>"


def rollout(text: str, ids: Sequence[int], stop: StopReason = "stop") -> Rollout:
    completion = Completion(tuple(ids), tuple(-0.1 * (i + 1) for i in range(len(ids))), stop, 0)
    return Rollout(PROBLEM, (1, 2), completion, text, parse(text))


def group(rollouts: Sequence[Rollout], outcomes: Sequence[Mapping[str, Outcome]]) -> Group:
    verdicts = []
    for named in outcomes:
        scores = [o.value for o in named.values() if isinstance(o, Score)]
        verdicts.append(Verdict(named, sum(scores) if len(scores) == len(named) else None))
    advantages = group_normalised([v.total for v in verdicts])
    return Group(PROBLEM, tuple(rollouts), tuple(verdicts), tuple(advantages))


TWO = group(
    [rollout(RIGHT, [5, 6, 7]), rollout(WRONG, [8], "length")],
    [{"accuracy": Score(1.0), "format": Score(1.0)}, {"accuracy": Score(0.0), "format": Score(0.0)}],
)


def test_failure_share() -> None:
    outcomes: list[Mapping[str, Outcome]] = [
        {"a": Score(1.0)},
        {"a": Failed("broke")},
        {"a": Score(0.0)},
        {"a": Score(0.0)},
    ]
    made = group([rollout(RIGHT, [5])] * 4, outcomes)
    graded = [Graded(PROBLEM, made.rollouts_G, made.verdicts_G)]
    check_failures(graded, 0.25, 1)
    with pytest.raises(RunFailed, match=r"step 3: 1 of 4 rewards failed.*0\.2.*broke"):
        check_failures(graded, 0.2, 3)


def test_metrics_of_a_step() -> None:
    values = group_metrics([TWO])
    assert values["pass@1"] == values["reward/accuracy"] == 0.5
    assert values["reward/total"] == 1.0
    assert values["format"] == 0.5  # the second has its tags, and was cut off
    assert values["response/mean_length"] == 2 and values["response/max_length"] == 3
    assert values["response/truncated"] == 0.5
    assert values["response/reflection_words"] == 1.0  # "wait" and 等等, two responses
    assert values["response/mixed_language"] == 0.5
    assert values["response/arithmetic_right"] == pytest.approx(4 / 5)
    assert values["zero_variance_groups"] == values["dropped_groups"] == 0 and values["failed"] == 0
    assert values["entropy"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.1) / 4)


def test_each_task_of_a_mixture_has_its_pass1() -> None:
    wrong = Group(replace(PROBLEM, task="logic"), TWO.rollouts_G[1:], TWO.verdicts_G[1:], (0.0,))
    values = group_metrics([TWO, wrong])
    assert values["pass@1"] == pytest.approx(1 / 3)
    assert values["pass@1/countdown"] == 0.5 and values["pass@1/logic"] == 0.0
    assert not any(name.startswith("pass@1/") for name in group_metrics([TWO]))


def test_what_was_not_measured_is_absent() -> None:
    made = group([rollout("no sums", [5])] * 2, [{"accuracy": Failed("x")}, {"accuracy": Failed("x")}])
    values = group_metrics([made])
    assert not {"pass@1", "reward/accuracy", "reward/total", "response/arithmetic_right"} & set(values)
    assert values["failed"] == 1 and values["dropped_groups"] == 1


@given(st.integers(1, 40), st.integers(1, 16), st.integers())
def test_minibatches_are_a_partition(size: int, count: int, seed: int) -> None:
    samples = [Sample(ids=(0, i), loss_mask=(0, 1)) for i in range(size)]
    parts = _parts(samples, count, seed)
    assert sorted(s.ids for part in parts for s in part) == sorted(s.ids for s in samples)
    assert len(parts) == min(count, size) and max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == _parts(samples, count, seed)


def test_seeds_differ_by_run_step_and_place() -> None:
    seeds = {seed_of(s, t, p) for s in range(3) for t in range(20) for p in range(32)}
    assert len(seeds) == 3 * 20 * 32


class CountingLearner:
    """Knows one log-prob a token and counts what it is asked."""

    def __init__(self) -> None:
        self.denominators: list[float] = []

    def logprobs(self, samples: Sequence[Sample], which: str = "policy") -> list[tuple[float, ...]]:
        return [s.behaviour_logprobs for s in samples]

    def with_reference(self, samples: Sequence[Sample]) -> list[Sample]:
        return list(samples)

    def forward_backward(
        self, samples: Sequence[Sample], loss: Any, denominator: float, *, entropies: bool = False
    ) -> dict[str, float]:
        self.denominators.append(denominator)
        return {"loss": 0.0, "clipped": 0.0, "gap": 0.0, "kl": 0.0}

    def optim_step(self) -> dict[str, float]:
        return {"grad_norm": 1.0, "lr": 1.0, "update_refused": 0.0}


@pytest.mark.parametrize("updates", [1, 2])
def test_denominators_count_what_was_sampled(updates: int) -> None:
    """4 mixed groups of a rollout whose other 4 carried no signal: a token-mean over 16 rows has twice the tokens."""
    stage = RLStage(algorithm=AlgorithmChoice(updates_per_rollout=updates))
    loop = Loop(stage, None, 0, "float32", None)  # type: ignore[arg-type]
    mixed = Graded(PROBLEM, TWO.rollouts_G, TWO.verdicts_G)
    same = Graded(PROBLEM, TWO.rollouts_G, TWO.verdicts_G[:1] * 2)
    learner = CountingLearner()
    learned = learn(loop, learner, [mixed] * 4 + [same] * 4, done=0)  # type: ignore[arg-type]
    assert len(learned.groups) == 8 and len(learned.samples) == 8
    assert sum(learner.denominators) == 2 * 4 * (3 + 1) and len(learner.denominators) == updates
    assert learned.values["updates"] == updates and math.isfinite(learned.values["kl"])
    nothing = learn(loop, learner, [same], done=0)  # type: ignore[arg-type]
    assert not nothing.samples and nothing.values == {"updates": 0.0}
