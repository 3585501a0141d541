"""The learner: schedule, updates, refusals, reference, state. Its log-probs and gradients are in tests/equivalence."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aha.models.loading import load
from aha.training.batch import MicroBatch
from aha.training.learner import Optimiser, TorchLearner
from aha.types import Sample, Sampling

SAMPLES = [
    Sample((5, 8, 4, 200), (0, 0, 1, 1), (0.0, 0.0, 1.0, 1.0)),
    Sample((7, 6, 9, 3, 2, 41, 17), (0, 0, 1, 1, 1, 1, 1), (0.0, 0.0, -1.0, -1.0, -1.0, -1.0, -1.0)),
]


def policy_gradient(logprobs: Tensor, batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
    return -(batch.advantages * logprobs).sum(), {"tokens": torch.tensor(float(len(logprobs)))}


def learner_of(
    folder: Path, dtype: torch.dtype = torch.float32, reference: bool = False, lr: float = 1e-2
) -> TorchLearner:
    loaded = load(str(folder))
    return TorchLearner(
        loaded.model, Optimiser(lr=lr), dtype=dtype, sampling=Sampling(1),
        reference=loaded.fresh_copy() if reference else None,
    )  # fmt: skip


def step(learner: TorchLearner) -> dict[str, float]:
    sums = learner.forward_backward(SAMPLES, policy_gradient, 7.0)
    assert sums["tokens"] == 7
    return learner.optim_step()


def test_schedule() -> None:
    constant = Optimiser(lr=1.0, warmup_steps=4)
    assert [constant.lr_at(t) for t in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    cosine = Optimiser(lr=1.0, warmup_steps=2, schedule="cosine", total_steps=12, final_share=0.1)
    assert [cosine.lr_at(t) for t in (0, 2, 7, 12, 50)] == pytest.approx([0.5, 1.0, 0.55, 0.1, 0.1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_updates_raise_what_is_rewarded(tiny, dtype: torch.dtype) -> None:
    learner = learner_of(tiny("qwen3"), dtype)
    first, second = map(sum, learner.logprobs(SAMPLES))
    for _ in range(3):
        metrics = step(learner)
        assert metrics["grad_norm"] > 0 and metrics["update_refused"] == 0
    now_first, now_second = map(sum, learner.logprobs(SAMPLES))
    assert now_first > first and now_second < second
    assert {p.dtype for p in learner.model.parameters()} == {dtype}
    masters = learner.master_weights()
    assert {m.dtype for m in masters.values()} == {torch.float64 if dtype == torch.float64 else torch.float32}
    for name, p in learner.model.named_parameters():
        assert torch.equal(masters[name].to(dtype), p.data), "the policy is its master, rounded"


def test_small_updates_are_not_lost_in_bfloat16(tiny) -> None:
    """A step below a bfloat16 weight's resolution accumulates in the float32 master."""
    learner = learner_of(tiny("qwen3"), torch.bfloat16, lr=1e-5)
    start = {name: m.clone() for name, m in learner.master_weights().items()}
    step(learner)
    moved = [not torch.equal(m, start[name]) for name, m in learner.master_weights().items()]
    assert all(moved)


def test_the_gradient_is_clipped_and_cleared(tiny) -> None:
    learner = learner_of(tiny("qwen3"))
    learner.forward_backward(SAMPLES, policy_gradient, 1e-3)
    assert learner.optim_step()["grad_norm"] > 1
    assert all(p.grad is None for p in learner.model.parameters())


def test_a_gradient_that_is_not_finite_is_refused(tiny) -> None:
    learner = learner_of(tiny("qwen3"))
    before = {name: w.clone() for name, w in learner.weights().items()}
    learner.forward_backward(SAMPLES, lambda logprobs, _: (logprobs.sum() * float("nan"), {}), 1.0)
    assert learner.optim_step()["update_refused"] == 1
    assert all(torch.equal(before[name], w) for name, w in learner.weights().items())
    assert step(learner)["update_refused"] == 0


def test_reference_stays_until_refreshed(tiny) -> None:
    learner = learner_of(tiny("qwen3"), reference=True)
    start = learner.logprobs(SAMPLES)
    assert learner.logprobs(SAMPLES, "reference") == start
    step(learner)
    assert learner.logprobs(SAMPLES) != start
    assert [s.reference_logprobs for s in learner.with_reference(SAMPLES)] == start
    learner.refresh_reference()
    assert learner.logprobs(SAMPLES, "reference") == learner.logprobs(SAMPLES)
    step(learner)
    assert learner.logprobs(SAMPLES, "reference") != learner.logprobs(SAMPLES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_resume_is_exact(tiny, tmp_path: Path, dtype: torch.dtype) -> None:
    folder = tiny("deepseek_v3")
    whole = learner_of(folder, dtype, reference=True)
    for _ in range(2):
        step(whole)
    torch.save(whole.state(), tmp_path / "state.pt")
    for _ in range(2):
        step(whole)
    resumed = learner_of(folder, dtype, reference=True)
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.updates == 2
    for _ in range(2):
        step(resumed)
    for name, w in whole.weights().items():
        assert torch.equal(w, resumed.weights()[name]), name
    assert whole.logprobs(SAMPLES, "reference") == resumed.logprobs(SAMPLES, "reference")


@pytest.mark.parametrize("reference", [False, True])
def test_resume_goes_on_in_the_schedule(tiny, reference: bool) -> None:
    """Also where there is no reference to load."""
    loaded = load(str(tiny("qwen3")))
    frozen = loaded.fresh_copy() if reference else None
    optimiser = Optimiser(lr=1e-2, warmup_steps=2, schedule="cosine", total_steps=6)
    whole, resumed = (TorchLearner(loaded.fresh_copy(), optimiser, reference=frozen) for _ in range(2))
    rates = []
    for number in range(4):
        if number == 2:
            resumed.load_state(copy.deepcopy(whole.state()))
        step(whole)
        rates.append(whole.optimiser.lr_at(whole.updates))
    for _ in range(2):
        step(resumed)
    assert resumed.updates == 4 and len(set(rates)) == 3
    for name, w in whole.weights().items():
        assert torch.equal(w, resumed.weights()[name]), name


def test_weights_have_the_router_bias_and_masters_what_is_trained(tiny) -> None:
    learner = learner_of(tiny("deepseek_v3"), torch.bfloat16)
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert learner.weights()[bias].dtype == torch.float32
    assert bias not in learner.master_weights()


def test_dropout_is_off(tiny) -> None:
    learner = learner_of(tiny("qwen2", attention_dropout=0.5))
    assert learner.logprobs(SAMPLES) == learner.logprobs(SAMPLES)


def test_samples_without_a_target_cost_nothing(tiny) -> None:
    learner = learner_of(tiny("qwen3"))
    silent = Sample((1, 2, 3), (0, 0, 0))
    assert learner.logprobs([silent, SAMPLES[0]]) == [(0.0, 0.0, 0.0), *learner.logprobs([SAMPLES[0]])]
    assert learner.forward_backward([silent], policy_gradient, 1.0)["loss"] == 0.0
    assert learner.logprobs([]) == []


def test_micro_batches_add_up_in_bfloat16(tiny) -> None:
    norms = []
    for budget in (1, 10_000):
        learner = learner_of(tiny("qwen3"), torch.bfloat16)
        learner.micro_batch_tokens = budget
        norms.append(step(learner)["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=0.02)
