"""GRPO's loss: a hand-computed 2 x 3 example, finite differences, and what each term does to the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from aha.algorithms.losses import clipped_policy_gradient, k3
from aha.algorithms.table import ALGORITHMS, algorithm
from aha.errors import UserError


@dataclass
class Rows:
    """Two sequences of three tokens."""

    advantages: Tensor
    behaviour_logprobs: Tensor
    reference_logprobs: Tensor
    weights: Tensor


def rows(weights: list[float] | None = None) -> Rows:
    return Rows(
        advantages=torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], dtype=torch.float64),
        behaviour_logprobs=torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64).log(),
        reference_logprobs=torch.tensor([0.5, 0.25, 0.5, 0.5, 0.5, 1.0], dtype=torch.float64).log(),
        weights=torch.tensor(weights or [1.0] * 6, dtype=torch.float64),
    )


POLICY = torch.tensor([0.5, 0.75, 0.25, 0.5, 0.75, 0.25], dtype=torch.float64).log()
SETTING = {"clip_low": 0.2, "clip_high": 0.2, "kl_beta": 0.1}


def test_hand_computed() -> None:
    # ratios 1, 1.5, 0.5; clipped to 1, 1.2, 0.8. A = 1: min -> 1, 1.2, 0.5. A = -1: min -> -1, -1.5, -0.8
    surrogate = (1 + 1.2 + 0.5) + (-1 - 1.5 - 0.8)
    quotients = [1, 1 / 3, 2, 1, 2 / 3, 4]  # reference over policy
    kl = sum(q - math.log(q) - 1 for q in quotients)
    loss, reported = clipped_policy_gradient(POLICY, rows(), **SETTING)
    assert loss.item() == pytest.approx(-surrogate + 0.1 * kl)
    assert reported["kl"].item() == pytest.approx(kl)
    assert reported["clipped"].item() == 2  # too high with A > 0, too low with A < 0
    assert reported["gap"].item() == pytest.approx(2 * (math.log(1.5) + math.log(2)))


def test_weights_scale_tokens() -> None:
    whole, _ = clipped_policy_gradient(POLICY, rows(), **SETTING)
    first, _ = clipped_policy_gradient(POLICY, rows([1, 1, 1, 0, 0, 0]), **SETTING)
    second, _ = clipped_policy_gradient(POLICY, rows([0, 0, 0, 1, 1, 1]), **SETTING)
    assert whole.item() == pytest.approx(first.item() + second.item())


def gradient(policy: Tensor, **setting: float) -> Tensor:
    policy = policy.clone().requires_grad_()
    clipped_policy_gradient(policy, rows(), **setting)[0].backward()
    assert policy.grad is not None
    return policy.grad


def test_gradient_by_finite_differences() -> None:
    found = gradient(POLICY, **SETTING)
    for i in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[i] = 1e-6
        above, _ = clipped_policy_gradient(POLICY + step, rows(), **SETTING)
        below, _ = clipped_policy_gradient(POLICY - step, rows(), **SETTING)
        assert found[i].item() == pytest.approx((above - below).item() / 2e-6, abs=1e-6)


def test_on_policy_the_gradient_is_the_advantage() -> None:
    behaviour = rows().behaviour_logprobs
    assert torch.allclose(gradient(behaviour, clip_low=0.2, clip_high=0.2, kl_beta=0.0), -rows().advantages)


def test_beta_changes_the_gradient() -> None:
    without = gradient(POLICY, clip_low=0.2, clip_high=0.2, kl_beta=0.0)
    with_kl = gradient(POLICY, **SETTING)
    # d k3 / d log p = 1 - reference / policy
    expected = 0.1 * (1 - torch.exp(rows().reference_logprobs - POLICY))
    assert torch.allclose(with_kl - without, expected)


def test_k3_estimates_the_exact_kl() -> None:
    torch.manual_seed(0)
    policy = torch.log_softmax(torch.randn(5, dtype=torch.float64), 0)
    reference = torch.log_softmax(torch.randn(5, dtype=torch.float64), 0)
    exact = (policy.exp() * (policy - reference)).sum()
    mean = (policy.exp() * k3(policy, reference)).sum()  # its expectation over tokens of the policy
    assert mean.item() == pytest.approx(exact.item())
    assert (k3(policy, reference) >= 0).all()
    assert k3(policy, policy).abs().max().item() == 0


def test_table() -> None:
    for name, row in ALGORITHMS.items():
        assert algorithm(name) is row
        assert row.paper and row.formula
        row.bind({})
    with pytest.raises(UserError, match=r"'gpro'; did you mean 'grpo'"):
        algorithm("gpro")
    with pytest.raises(UserError, match=r"'kl_bet'; did you mean 'kl_beta'"):
        algorithm("grpo").bind({"kl_bet": 1.0})
    default = algorithm("grpo").bind({})(POLICY, rows())[0]
    assert default.item() != algorithm("grpo").bind({"kl_beta": 1.0})(POLICY, rows())[0].item()
