"""A critic: what it starts from, its loss, and that it learns returns."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aha.algorithms.setting import Setting
from aha.models.loading import load
from aha.models.templates import parse
from aha.training.batch import collate
from aha.training.critic import ValueLearner, value_loss
from aha.training.learner import Optimiser
from aha.training.shaping import Graded, drafted, token_advantages
from aha.types import Completion, Message, Problem, Rollout, Sample, Score, Verdict

PROBLEM = Problem("p", "t", (Message("user", "?"),), "")


def taught(critic: ValueLearner, groups: list[Graded], setting: Setting) -> dict[str, float]:
    """One update, as the loop makes it."""
    drafts = drafted(groups, setting)
    values = dict(zip(drafts, critic.logprobs(list(drafts.values())), strict=True))
    errors = token_advantages(groups, drafts, setting, 10, values)
    rows = [replace(s, advantages=errors[p], behaviour_logprobs=values[p]) for p, s in drafts.items()]
    return critic.learn(rows, setting.critic_clip)


def critic_of(folder: Path, lr: float = 1e-2, dtype: torch.dtype = torch.float32) -> ValueLearner:
    return ValueLearner(load(str(folder)).model, Optimiser(lr=lr), dtype=dtype, micro_batch_tokens=64)


def graded() -> list[Graded]:
    """Two groups: what begins with 9 is worth 1, what begins with 30 nothing."""
    found = []
    for prompt in ((4, 5), (7,)):
        rollouts, verdicts = [], []
        for ids, total in (((9, 3, 8), 1.0), ((30, 2), 0.0), ((9, 6), 1.0)):
            completion = Completion(ids, (-0.1,) * len(ids), "stop", 0)
            rollouts.append(Rollout(PROBLEM, prompt, completion, "", parse("")))
            verdicts.append(Verdict({"accuracy": Score(total)}, total))
        found.append(Graded(PROBLEM, tuple(rollouts), tuple(verdicts)))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_the_returns(tiny, dtype: torch.dtype) -> None:
    for architecture in ("qwen3", "gemma"):
        critic, groups, setting = critic_of(tiny(architecture), dtype=dtype), graded(), Setting(critic_clip=0.0)
        drafts = drafted(groups, setting)
        first = critic.logprobs(list(drafts.values()))
        assert all(value == 0 for row in first for value in row), "it begins with no opinion"
        losses = []
        for _ in range(40):
            losses.append(taught(critic, groups, setting)["critic/loss"])
        assert losses[0] == pytest.approx((3 + 2) * 2 / (14 * 2), rel=0.02), "half of the mean square of the returns"
        assert losses[-1] < 0.2 * losses[0]
        last = dict(zip(drafts, critic.logprobs(list(drafts.values())), strict=True))
        assert last[0, 0][-1] > 0.6 and last[0, 1][-1] < 0.4, "after the first token it knows"


def test_hand_computed_loss() -> None:
    sample = Sample((1, 2, 3), (0, 1, 1), advantages=(0.0, 1.0, -1.0), behaviour_logprobs=(0.0, 0.5, 0.5))
    batch = collate([sample])
    values = torch.tensor([0.6, 1.0], requires_grad=True)  # returns 1.5 and -0.5
    loss, _ = value_loss(values, batch, clip=0.0)
    assert loss.item() == pytest.approx((0.9**2 + 1.5**2) / 2)
    # clipped to 0.2 around 0.5: 0.6 stays, 1.0 becomes 0.7, and the larger error counts
    assert value_loss(values, batch, clip=0.2)[0].item() == pytest.approx((0.9**2 + 1.5**2) / 2)
    towards = torch.tensor([0.9, 0.1], requires_grad=True)
    clipped, _ = value_loss(towards, batch, clip=0.2)
    assert clipped.item() == pytest.approx((0.8**2 + 0.8**2) / 2)
    (gradient,) = torch.autograd.grad(clipped, towards)
    assert gradient.tolist() == [0.0, 0.0], "both have moved far enough"
    weighted, _ = value_loss(values, collate([replace(sample, weight=2.0)]), clip=0.0)
    assert weighted.item() == pytest.approx(2 * loss.item())


def test_it_resumes(tiny) -> None:
    groups, setting = graded(), Setting()
    drafts = drafted(groups, setting)

    def learn(critic: ValueLearner, times: int) -> list[tuple[float, ...]]:
        for _ in range(times):
            taught(critic, groups, setting)
        return critic.logprobs(list(drafts.values()))

    one = critic_of(tiny("llama"))
    learn(one, 2)
    other = critic_of(tiny("llama"))
    other.load_state(copy.deepcopy(one.state()))
    np.testing.assert_array_equal(np.concatenate(learn(one, 2)), np.concatenate(learn(other, 2)))
