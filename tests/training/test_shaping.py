"""From graded rollouts to training rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from aha.algorithms.setting import Setting
from aha.algorithms.table import ALGORITHMS, algorithm
from aha.models.templates import parse
from aha.training.shaping import Graded, Place, corrected, drafted, sample_of, shaped, token_advantages
from aha.types import Completion, Failed, Message, Outcome, Problem, Rollout, Sample, Score, StopReason, Verdict

PROBLEM = Problem("p", "countdown", (Message("user", "Make 22 from 3, 5, 7."),), "3*5+7")
LIMIT = 10


def rollout(ids: Sequence[int], stop: StopReason = "stop") -> Rollout:
    completion = Completion(tuple(ids), tuple(-0.1 * (i + 1) for i in range(len(ids))), stop, 0)
    return Rollout(PROBLEM, (1, 2), completion, "", parse(""))


def graded(lengths: Sequence[int], totals: Sequence[float | None], stops: Sequence[StopReason] = ()) -> Graded:
    """A group of rollouts of given lengths; a total of None is a reward that failed."""
    ends = stops or ["stop"] * len(lengths)
    rollouts = [rollout(range(5, 5 + n), stop) for n, stop in zip(lengths, ends, strict=True)]
    outcomes: list[Mapping[str, Outcome]] = [{"accuracy": Failed("x") if t is None else Score(t)} for t in totals]
    verdicts = [Verdict(o, t) for o, t in zip(outcomes, totals, strict=True)]
    return Graded(PROBLEM, tuple(rollouts), tuple(verdicts))


TWO = graded([3, 1], [2.0, 0.0], ["stop", "length"])


def rows_of(groups: Sequence[Graded], name: str, **options: object) -> dict[Place, Sample]:
    row = algorithm(name)
    setting = row.setting.replaced({"kl_beta": 0.0, **options})
    return shaped(groups, drafted(groups, setting), row, setting, LIMIT)[1]


def test_training_rows() -> None:
    found = rows_of([TWO], "grpo")
    assert found[0, 0] == Sample(
        ids=(1, 2, 5, 6, 7),
        loss_mask=(0, 0, 1, 1, 1),
        advantages=(0.0, 0.0, 1.0, 1.0, 1.0),
        behaviour_logprobs=(0.0, 0.0, -0.1, -0.2, pytest.approx(-0.3)),  # type: ignore[arg-type]
    )
    assert found[0, 1].advantages == (0.0, 0.0, -1.0) and found[0, 1].n_targets == 1


def test_truncated_answers_are_kept_masked_or_penalised() -> None:
    assert set(rows_of([TWO], "grpo", truncated="keep")) == {(0, 0), (0, 1)}
    masked = rows_of([TWO], "grpo", truncated="mask")
    assert set(masked) == {(0, 0)} and masked[0, 0].advantages[-1] == 1.0, "it stays in the group's statistics"
    same = graded([3, 1], [1.0, 1.0], ["stop", "length"])
    assert not rows_of([same], "dr-grpo")
    penalised = rows_of([same], "dr-grpo", truncated="penalise", penalty=0.5)
    assert [s.advantages[-1] for s in penalised.values()] == [0.25, -0.25]


def test_long_answers_cost() -> None:
    """DAPO: over the last 4 of 10 tokens the reward falls from 0 to -1."""
    found = rows_of([graded([6, 8, 10], [1.0, 1.0, 1.0])], "dr-grpo", overlong_buffer=4)
    assert [s.advantages[-1] for s in found.values()] == [0.5, 0.0, -0.5]


def test_a_failed_reward_trains_nothing() -> None:
    found = rows_of([graded([1, 1, 1], [1.0, None, 0.0])], "grpo")
    assert {place: s.advantages[-1] for place, s in found.items()} == {(0, 0): 1.0, (0, 2): -1.0}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_group_without_a_signal(name: str) -> None:
    """Where rollouts are compared within a group it makes no rows; whitened over the batch it says something."""
    groups = [graded([1, 1], [1.0, 1.0]), graded([1, 1], [1.0, 0.0])]
    found = rows_of(groups, name)
    by_token = algorithm(name).advantage is None
    assert set(found) == ({(0, 0), (0, 1)} if by_token else set()) | {(1, 0), (1, 1)}
    if by_token:
        third = 1 / math.sqrt(3)
        assert [s.advantages[-1] for s in found.values()] == pytest.approx([third, third, third, -3 * third])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_advantages_of_a_batch_sum_to_zero_over_responses(name: str) -> None:
    groups = [graded([2, 2, 2], [1.0, 0.0, 0.5]), graded([2, 2, 2], [0.0, 0.0, 1.0])]
    found = rows_of(groups, name)
    assert sum(sum(s.advantages) for s in found.values()) == pytest.approx(0, abs=1e-9)
    assert all(a == 0 for s in found.values() for a, on in zip(s.advantages, s.loss_mask, strict=True) if not on)


def with_reference(drafts: Mapping[Place, Sample], gap: float) -> dict[Place, Sample]:
    """Drafts whose reference log-probs are `gap` below the policy's, a token."""

    def below(s: Sample) -> tuple[float, ...]:
        return tuple(x - gap * on for x, on in zip(s.behaviour_logprobs, s.loss_mask, strict=True))

    return {place: replace(s, reference_logprobs=below(s)) for place, s in drafts.items()}


def test_kl_in_the_reward_of_a_response() -> None:
    """RLOO: each reward falls by beta times the sum of log(policy / reference), here 0.2 a token."""
    group = graded([3, 1], [1.0, 1.0])
    row = algorithm("rloo")
    setting = row.setting.replaced({"kl_beta": 0.5})
    _, found = shaped([group], with_reference(drafted([group], setting), 0.2), row, setting, LIMIT)
    # 1 - 0.3 and 1 - 0.1, each less the other
    assert [s.advantages[-1] for s in found.values()] == pytest.approx([-0.2, 0.2])


def test_kl_in_the_reward_of_tokens() -> None:
    """Each token is charged for itself and for what comes after it."""
    group = graded([3], [1.0])
    setting = Setting(kl_beta=0.5, kl="k1", kl_in="reward")
    drafts = with_reference(drafted([group], setting), 0.2)
    found = token_advantages([group], drafts, setting, LIMIT)
    assert found[0, 0] == pytest.approx((0.0, 0.0, 1 - 0.3, 1 - 0.2, 1 - 0.1))


def test_values_are_taken_off() -> None:
    group = graded([2], [1.0])
    setting = Setting(gae_lambda=0.5)
    values = {(0, 0): (0.0, 0.0, 0.4, 0.6)}
    found = token_advantages([group], drafted([group], setting), setting, LIMIT, values)
    assert found[0, 0] == pytest.approx((0.0, 0.0, 0.2 + 0.5 * 0.4, 0.4))


def test_what_was_sampled_for_statistics_alone_is_not_trained() -> None:
    kept, extra = graded([1, 1], [1.0, 0.0]), replace(graded([1, 1], [1.0, 1.0]), trained=False)
    for name in ("grpo", "reinforce++"):
        row = algorithm(name)
        setting = row.setting.replaced({"kl_beta": 0.0})
        groups, found = shaped([extra, kept], drafted([extra, kept], setting), row, setting, LIMIT)
        assert len(groups) == 2 and set(found) == {(1, 0), (1, 1)}


def test_mixed_is_by_raw_correctness() -> None:
    """A group whose format differs and whose answers do not has nothing to teach DAPO."""

    def two(first: Mapping[str, Outcome], second: Mapping[str, Outcome]) -> Graded:
        totals = [sum(o.value for o in x.values() if isinstance(o, Score)) for x in (first, second)]
        return replace(TWO, verdicts_G=(Verdict(first, totals[0]), Verdict(second, totals[1])))

    right, wrong = {"accuracy": Score(1.0), "format": Score(1.0)}, {"accuracy": Score(0.0), "format": Score(1.0)}
    assert two(right, wrong).mixed and not two(right, right).mixed
    assert not two(right, {**right, "format": Score(0.0)}).mixed
    assert not two(right, {"accuracy": Failed("x")}).mixed
    assert two({"other": Score(1.0)}, {"other": Score(0.0)}).mixed, "without accuracy the totals say it"


def test_truncated_importance_sampling() -> None:
    sample = sample_of(rollout([5, 6, 7]))
    own = (0.0, 0.0, -0.1 + math.log(3), -0.2 + math.log(0.5), -0.3 + 1000)
    found = corrected(sample, own, cap=2.0)
    assert found.corrections == pytest.approx((1.0, 1.0, 2.0, 0.5, 2.0))
    assert found.behaviour_logprobs == own
