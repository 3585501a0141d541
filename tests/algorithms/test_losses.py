"""Every row's loss: a hand-computed 2 x 3 example, brute force, finite differences, and what each term does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from aha.algorithms.losses import kl_estimate
from aha.algorithms.setting import Setting
from aha.algorithms.table import ALGORITHMS, algorithm

DOUBLE = torch.float64


@dataclass
class Rows:
    """Two sequences of three tokens."""

    advantages: Tensor
    behaviour_logprobs: Tensor
    reference_logprobs: Tensor
    weights: Tensor
    corrections: Tensor
    entropies: Tensor
    sequence: Tensor
    lengths: Tensor


def rows(**changes: Tensor) -> Rows:
    made = Rows(
        advantages=torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], dtype=DOUBLE),
        behaviour_logprobs=torch.full((6,), 0.5, dtype=DOUBLE).log(),
        reference_logprobs=torch.tensor([0.5, 0.25, 0.5, 0.5, 0.5, 1.0], dtype=DOUBLE).log(),
        weights=torch.ones(6, dtype=DOUBLE),
        corrections=torch.ones(6, dtype=DOUBLE),
        entropies=torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], dtype=DOUBLE),
        sequence=torch.tensor([0, 0, 0, 1, 1, 1]),
        lengths=torch.full((6,), 3),
    )
    return dataclasses.replace(made, **changes)


POLICY = torch.tensor([0.5, 0.75, 0.25, 0.5, 0.75, 0.25], dtype=DOUBLE).log()
PLAIN = {"kl_beta": 0.0, "clip_low": 0.2, "clip_high": 0.2}


def loss_of(name: str, policy: Tensor = POLICY, given: Rows | None = None, **options: object) -> tuple[Tensor, dict]:
    row = algorithm(name)
    return row.loss(row.setting.replaced(options))(policy, given or rows())


def gradient(name: str, policy: Tensor = POLICY, given: Rows | None = None, **options: object) -> Tensor:
    policy = policy.clone().requires_grad_()
    loss_of(name, policy, given, **options)[0].backward()
    assert policy.grad is not None
    return policy.grad


# Ratios 1, 1.5, 0.5 in both sequences: the product is 0.75, its cube root 0.9086; bounds 0.8 and 1.2.
TOKENS = (1 + 1.2 + 0.5) + (-1 - 1.5 - 0.8)
HAND = {
    "grpo": -TOKENS,
    "dr-grpo": -TOKENS,
    "dapo": -TOKENS,
    "maxrl": -TOKENS,
    "reinforce++": -TOKENS,
    "ppo": -TOKENS,
    "gspo": -(3 * 0.75 ** (1 / 3) - 3 * 0.75 ** (1 / 3)),  # inside of the bounds: the two cancel
    "rloo": -(3 * 0.75 - 3 * 0.8),  # A = 1: min(0.75, 0.8); A = -1: min(-0.75, -0.8)
    "cispo": -sum(w * a * math.log(p) for w, a, p in zip((1, 1.2, 0.8) * 2, (1, 1, 1, -1, -1, -1),
                                                         (0.5, 0.75, 0.25) * 2, strict=True)),
}  # fmt: skip
CLIPPED = {"gspo": 0, "rloo": 3, "cispo": 4}  # of the others two: too high with A > 0, too low with A < 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_hand_computed(name: str) -> None:
    loss, reported = loss_of(name, **PLAIN)
    assert loss.item() == pytest.approx(HAND[name])
    assert reported["clipped"].item() == CLIPPED.get(name, 2)
    assert reported["gap"].item() == pytest.approx(2 * (math.log(1.5) + math.log(2)))


def test_the_kl_term_hand_computed() -> None:
    quotients = [1, 1 / 3, 2, 1, 2 / 3, 4]  # reference over policy
    kl = sum(q - math.log(q) - 1 for q in quotients)
    loss, reported = loss_of("grpo", **{**PLAIN, "kl_beta": 0.1})
    assert loss.item() == pytest.approx(HAND["grpo"] + 0.1 * kl)
    assert reported["kl"].item() == pytest.approx(kl)


def brute(name: str, policy: list[float], given: Rows, s: Setting) -> float:
    """The loss of a row by the formula of its paper, a token at a time, in plain numbers."""
    stream = {f.name: getattr(given, f.name).tolist() for f in dataclasses.fields(given)}
    total = 0.0
    for t, own in enumerate(policy):
        same = [u for u in range(len(policy)) if stream["sequence"][u] == stream["sequence"][t]]
        logs = [policy[u] - stream["behaviour_logprobs"][u] for u in same]
        token = math.exp(own - stream["behaviour_logprobs"][t])
        ratio = {"gspo": math.exp(sum(logs) / len(logs)), "rloo": math.prod(map(math.exp, logs))}.get(name, token)
        bound = min(max(ratio, 1 - s.clip_low), 1 + s.clip_high)
        a = stream["advantages"][t]
        value = -bound * a * own if name == "cispo" else -min(ratio * a, bound * a)
        value *= stream["corrections"][t]
        if s.kl_beta and s.kl_in == "loss":
            gap = own - stream["reference_logprobs"][t]
            kl = {"k1": gap, "k2": gap * gap / 2, "k3": math.exp(-gap) + gap - 1}[s.kl]
            value += s.kl_beta * kl * (token if s.kl_importance else 1.0)
        value -= s.entropy_beta * stream["entropies"][t]
        total += value * stream["weights"][t]
    return total


OPTIONS: list[dict[str, object]] = [
    {},
    {"kl_beta": 0.3, "kl_in": "loss", "kl": "k1"},
    {"kl_beta": 0.3, "kl_in": "loss", "kl": "k2", "kl_importance": True},
    {"kl_beta": 0.3, "kl_in": "loss", "kl": "k3", "entropy_beta": 0.1},
    {"clip_low": 0.01, "clip_high": 0.02},
]


def random_rows(seed: int) -> tuple[Tensor, Rows]:
    """Five sequences of different lengths, with every stream."""
    torch.manual_seed(seed)
    lengths = torch.tensor([1, 4, 2, 7, 3])
    n = int(lengths.sum())
    numbers = {
        name: torch.randn(n, dtype=DOUBLE)
        for name in ("advantages", "behaviour_logprobs", "reference_logprobs", "entropies")
    }
    numbers["behaviour_logprobs"] = -numbers["behaviour_logprobs"].abs()
    given = Rows(
        **numbers,
        weights=torch.rand(n, dtype=DOUBLE),
        corrections=torch.rand(n, dtype=DOUBLE),
        sequence=torch.arange(5).repeat_interleave(lengths),
        lengths=lengths.repeat_interleave(lengths),
    )
    return given.behaviour_logprobs + 0.3 * torch.randn(n, dtype=DOUBLE), given


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_against_brute_force(name: str, options: dict) -> None:
    for seed in range(5):
        policy, given = random_rows(seed)
        expected = brute(name, policy.tolist(), given, algorithm(name).setting.replaced(options))
        assert loss_of(name, policy, given, **options)[0].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_gradient_by_finite_differences(name: str, options: dict) -> None:
    policy, given = random_rows(7)
    found = gradient(name, policy, given, **options)
    if name == "cispo":  # the weight is held where it is: differences are taken of what is left
        weight = torch.exp(policy - given.behaviour_logprobs)
        s = algorithm(name).setting.replaced(options)
        weight = weight.clamp(1 - s.clip_low, 1 + s.clip_high)
        held = -(weight * given.advantages * given.corrections * given.weights)
        without = gradient(name, policy, dataclasses.replace(given, advantages=torch.zeros_like(policy)), **options)
        assert torch.allclose(found - without, held)
        return
    for i in range(len(policy)):
        step = torch.zeros_like(policy)
        step[i] = 1e-6
        above, below = (loss_of(name, p, given, **options)[0].item() for p in (policy + step, policy - step))
        assert found[i].item() == pytest.approx((above - below) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_on_policy_the_gradient_is_the_advantage(name: str) -> None:
    """At the first update, where all ratios are 1; of a sequence's mean ratio each token moves its share."""
    behaviour = rows().behaviour_logprobs
    expected = -rows().advantages * {"rloo": 3.0}.get(name, 1.0)  # three tokens move a product that counts three times
    assert torch.allclose(gradient(name, behaviour, kl_beta=0.0), expected)
    assert gradient(name, POLICY, kl_beta=0.0).ne(gradient(name, behaviour, kl_beta=0.0)).any()


def test_weights_and_corrections_scale_tokens() -> None:
    first, second = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=DOUBLE), torch.tensor([0.0, 0, 0, 1, 1, 1], dtype=DOUBLE)
    for name in ALGORITHMS:
        whole = loss_of(name)[0].item()
        for stream in ("weights", "corrections"):
            parts = [loss_of(name, given=rows(**{stream: part}), **PLAIN)[0].item() for part in (first, second)]
            assert loss_of(name, **PLAIN)[0].item() == pytest.approx(sum(parts), abs=1e-12)
        assert math.isfinite(whole)


def test_permuting_a_batch_permutes_its_gradients() -> None:
    order = [1, 0]
    for name in ALGORITHMS:
        policy, given = random_rows(3)
        moved = torch.cat([torch.where(given.sequence == s)[0] for s in (4, 2, 0, 3, 1)])
        permuted = Rows(**{f.name: getattr(given, f.name)[moved] for f in dataclasses.fields(given)})
        assert torch.allclose(gradient(name, policy, given)[moved], gradient(name, policy[moved], permuted))
    assert order


# --- KL estimators on a vocabulary of five, against the exact KL and its gradient ---


def categorical() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a policy, log-probs of a behaviour policy and of a reference."""
    torch.manual_seed(0)
    logits = torch.randn(5, dtype=DOUBLE)
    behaviour = torch.log_softmax(logits + 0.3 * torch.randn(5, dtype=DOUBLE), 0)
    return logits, behaviour, torch.log_softmax(torch.randn(5, dtype=DOUBLE), 0)


def gradient_of(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(torch.log_softmax(logits, 0)), logits)
    return found


def exact(policy: Tensor, reference: Tensor) -> Tensor:
    return (policy.exp() * (policy - reference)).sum()


def test_means_of_the_estimators() -> None:
    logits, _, reference = categorical()
    policy = torch.log_softmax(logits, 0)
    means = {k: (policy.exp() * kl_estimate(k, policy, reference)).sum() for k in ("k1", "k2", "k3")}
    assert means["k1"].item() == pytest.approx(exact(policy, reference).item())
    assert means["k3"].item() == pytest.approx(exact(policy, reference).item())
    assert means["k2"].item() != pytest.approx(exact(policy, reference).item(), rel=1e-2)
    assert (kl_estimate("k3", policy, reference) >= 0).all() and kl_estimate("k3", policy, policy).abs().max() == 0


def test_gradients_of_the_estimators_on_policy() -> None:
    """Each has the gradient that its docstring says, in the mean over what the policy draws."""
    logits, _, reference = categorical()
    drawn = torch.log_softmax(logits, 0).exp()
    found = {
        k: gradient_of(lambda p, k=k: (drawn * kl_estimate(k, p, reference)).sum(), logits) for k in ("k1", "k2", "k3")
    }
    true = gradient_of(lambda p: exact(p, reference), logits)
    other_way = gradient_of(lambda p: exact(reference, p), logits)
    assert torch.allclose(found["k1"], torch.zeros_like(true), atol=1e-12)
    assert torch.allclose(found["k2"], true) and torch.allclose(found["k3"], other_way)
    assert not torch.allclose(found["k3"], true, rtol=1e-2)


def test_with_importance_the_estimate_is_the_policy_s_own_after_an_update() -> None:
    logits, behaviour, reference = categorical()
    true = gradient_of(lambda p: exact(p, reference), logits)
    for k in ("k1", "k3"):

        def mean(p: Tensor, k: str = k) -> Tensor:
            return (behaviour.exp() * torch.exp(p - behaviour) * kl_estimate(k, p, reference)).sum()

        assert mean(torch.log_softmax(logits, 0)).item() == pytest.approx(
            exact(torch.log_softmax(logits, 0), reference).item()
        )
        assert torch.allclose(gradient_of(mean, logits), true)


def test_k1_in_the_reward_has_the_gradient_of_the_kl() -> None:
    """The policy gradient of -beta (log p - log q), the reward held fixed, is that of -beta KL."""
    logits, _, reference = categorical()
    policy = torch.log_softmax(logits, 0)
    reward = -(policy - reference)
    found = gradient_of(lambda p: (policy.exp() * reward * p).sum(), logits)
    assert torch.allclose(found, -gradient_of(lambda p: exact(p, reference), logits))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_whole_objective_on_five_tokens(name: str) -> None:
    """On policy, the mean gradient over all that can be drawn is that of -sum p R (with a baseline or without)."""
    logits, _, _ = categorical()
    policy = torch.log_softmax(logits, 0)
    reward = torch.tensor([1.0, 0.0, 0.5, 0.0, 2.0], dtype=DOUBLE)
    one = torch.ones(5, dtype=torch.long)
    given = Rows(
        advantages=reward, behaviour_logprobs=policy, reference_logprobs=policy, weights=policy.exp(),
        corrections=torch.ones(5, dtype=DOUBLE), entropies=torch.zeros(5, dtype=DOUBLE),
        sequence=torch.arange(5), lengths=one,
    )  # fmt: skip
    found = gradient_of(lambda p: loss_of(name, p, given, kl_beta=0.0)[0], logits)
    expected = gradient_of(lambda p: -(p.exp() * reward).sum(), logits)
    assert torch.allclose(found, expected)
    finite = torch.zeros(5, dtype=DOUBLE)
    for i in range(5):
        step = torch.zeros(5, dtype=DOUBLE)
        step[i] = 1e-6
        above, below = (-(torch.softmax(logits + d, 0) * reward).sum() for d in (step, -step))
        finite[i] = (above - below) / 2e-6
    assert torch.allclose(found, finite, atol=1e-7)


def test_the_entropy_bonus() -> None:
    entropies = torch.full((6,), 0.7, dtype=DOUBLE, requires_grad=True)
    loss, reported = loss_of("grpo", given=rows(entropies=entropies), **PLAIN, entropy_beta=0.01)
    assert loss.item() == pytest.approx(HAND["grpo"] - 0.01 * 6 * 0.7)
    assert reported["policy_entropy"].item() == pytest.approx(4.2)
    (found,) = torch.autograd.grad(loss, entropies)
    assert torch.allclose(found, torch.full((6,), -0.01, dtype=DOUBLE))
