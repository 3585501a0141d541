"""A learner that is divided between processes computes what one process does: log-probs, gradients, updates."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributed.tensor import DTensor

from aha.distributed.sharded import Sharded, shares
from aha.distributed.world import joined
from aha.models.loading import load
from aha.training.batch import MicroBatch
from aha.training.critic import ValueLearner
from aha.training.learner import Optimiser, TorchLearner
from aha.training.lora import with_lora
from aha.training.spread import ALONE, Spread
from aha.types import Sample, Sampling
from rank_processes import on_ranks
from tiny_models import TinyFactory

EXACT = {"atol": 1e-10, "rtol": 1e-10}


def row(prompt: int, lengths: tuple[int, int], sign: float) -> Sample:
    before, after = lengths
    ids = tuple((prompt + 7 * i) % 250 for i in range(before)) + tuple(
        (31 * prompt + i * i) % 250 for i in range(after)
    )
    advantages, behaviour = ((0.0,) * before + (x,) * after for x in (sign, -1.0))
    return Sample(ids, (0,) * before + (1,) * after, advantages, behaviour)


# prompts that are shared and not, and one row as long as all others
ROWS = [row(3, (4, 9), 1), row(3, (4, 2), -1), row(11, (6, 1), 0.5), row(20, (2, 40), -0.5), row(3, (4, 5), 2.0)]


def ratio_loss(logprobs: Tensor, batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """What a policy's loss is made of."""
    ratio = torch.exp(logprobs - batch.behaviour_logprobs)
    surprise = batch.entropies.sum() if len(batch.entropies) else 0.0
    return -(ratio * batch.advantages * batch.weights).sum() - 0.01 * surprise, {"up": (ratio > 1).sum()}


def learner_of(folder: str, spread: Spread = ALONE, **more: Any) -> TorchLearner:
    loaded = load(folder)
    placed = {"dtype": torch.float64, "micro_batch_tokens": 24, "reference": loaded.fresh_copy(), **more}
    return TorchLearner(loaded.model, Optimiser(lr=1e-2), sampling=Sampling(1, 0.9), spread=spread, **placed)


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.to_dense()).clone()


def learned(learner: TorchLearner, rows: Sequence[Sample], steps: int = 2) -> dict[str, Any]:
    """All that can be seen of an update and of one after it."""
    found: dict[str, Any] = {"before": learner.logprobs(rows)}
    for _ in range(steps):
        found["sums"] = learner.forward_backward(rows, ratio_loss, 11.0, entropies=True)
        names = [name for name, p in learner.model.named_parameters() if p.requires_grad]
        masters = dict(zip(names, learner._master, strict=True))
        found["gradient"] = {name: whole(p.grad) for name, p in masters.items() if p.grad is not None}
        found["metrics"] = learner.optim_step()
    found["weights"] = {name: whole(w) for name, w in learner.weights().items()}
    found["after"] = learner.logprobs(rows)
    found["reference"] = [s.reference_logprobs for s in learner.with_reference(rows)]
    learner.refresh_reference()
    found["refreshed"] = learner.logprobs(rows, "reference")
    return found


def same(one: Any, other: Any, **tolerance: float) -> None:
    torch.testing.assert_close(one, other, **(tolerance or EXACT))


def updates(folder: str) -> list[dict[str, Any]]:
    """Of all rows, of one row that only one process has, and of all rows again with less memory."""
    with joined(60, "cpu") as world:
        make = functools.partial(learner_of, folder, Sharded(world, "cpu"))
        cases = [(make(), ROWS), (make(), ROWS[:1]), (make(recompute=True), ROWS), (make(offload=True), ROWS)]
        return [learned(learner, rows) for learner, rows in cases]


@pytest.mark.parametrize("architecture", ["qwen3", "deepseek_v3"])  # by our own decoder, and by the model's code
def test_two_processes_are_one(tiny: TinyFactory, architecture: str) -> None:
    folder = str(tiny(architecture))
    expected = [learned(learner_of(folder), rows) for rows in (ROWS, ROWS[:1])]
    assert max(float(g.abs().max()) for g in expected[0]["gradient"].values()) > 1e-3
    assert len(shares(ROWS, 2)[0]) != len(shares(ROWS, 2)[1]) and [] in shares(ROWS[:1], 2)
    for everything, single, recomputed, offloaded in on_ranks(updates, folder):
        same(everything, expected[0])
        same(single, expected[1])
        same(recomputed, expected[0])
        same(offloaded, expected[0])


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma2", "deepseek_v3"])
@pytest.mark.parametrize("way", ["recompute", "offload"])
def test_less_memory_changes_nothing(tiny: TinyFactory, architecture: str, way: str) -> None:
    """In one process."""
    folder = str(tiny(architecture))
    same(learned(learner_of(folder, **{way: True}), ROWS), learned(learner_of(folder), ROWS))


def test_recomputing_by_kernels_has_the_same_bits(tiny: TinyFactory) -> None:
    """In float32, where kernels compute: what is computed again is what was there."""
    folder = str(tiny("qwen3"))
    one, two = (learned(learner_of(folder, dtype=torch.float32, recompute=again), ROWS) for again in (False, True))
    same(one, two, atol=0, rtol=0)


def narrow(folder: str) -> tuple[Any, ...]:
    """In bfloat16: masters and gradients stay in float32, passes and what is published do not."""
    with joined(60, "cpu") as world:
        learner = learner_of(folder, Sharded(world, "cpu"), dtype=torch.bfloat16)
        first = learner.logprobs(ROWS)
        learner.forward_backward(ROWS, ratio_loss, 11.0)
        gradients = {p.grad.dtype for p in learner.model.parameters() if p.grad is not None}
        learner.optim_step()
        masters = {name: w.dtype for name, w in learner.master_weights().items()}
        return first, gradients, masters, {name: whole(w) for name, w in learner.weights().items()}, world.rank


def test_bfloat16_rounds_as_one_process_does(tiny: TinyFactory) -> None:
    folder = str(tiny("qwen3"))
    alone = learner_of(folder, dtype=torch.bfloat16)
    for first, gradients, masters, published, rank in on_ranks(narrow, folder):
        assert first == alone.logprobs(ROWS), "the same products of the same numbers"
        assert gradients == {torch.float32}
        assert set(masters.values()) == ({torch.float32} if rank == 0 else set()), "one process writes"
        assert {w.dtype for w in published.values()} == {torch.bfloat16}


def adapted(folder: str, spread: Spread = ALONE) -> tuple[Any, ...]:
    frozen = load(folder).model
    policy = with_lora(load(folder).model, 4, 8.0)
    learner = TorchLearner(
        policy, Optimiser(lr=1e-2), dtype=torch.float64, micro_batch_tokens=24, spread=spread, recompute=True
    )
    for _ in range(2):
        sums = learner.forward_backward(ROWS, ratio_loss, 11.0)
        learner.optim_step()
    published = {name: whole(w) for name, w in learner.weights().items()}
    return sums, published, learner.logprobs(ROWS), learner.master_weights(frozen)


def adapted_on_ranks(folder: str) -> tuple[Any, ...]:
    with joined(60, "cpu") as world:
        return adapted(folder, Sharded(world, "cpu"))


def test_adapters_are_divided_too(tiny: TinyFactory) -> None:
    """Products of float32 are published: adapters are added in that."""
    pytest.importorskip("peft")
    folder = str(tiny("llama"))
    sums, published, after, masters = adapted(folder)
    one, two = on_ranks(adapted_on_ranks, folder)
    for found in (one, two):
        same(found[0], sums)
        same(found[1], published, atol=1e-6, rtol=1e-6)
        same(found[2], after)
    same(one[3], masters, atol=1e-6, rtol=1e-6)
    assert two[3] == {}, "one process writes"


def refused(folder: str) -> tuple[float, bool, float]:
    """A loss that is not finite on one process alone."""
    with joined(60, "cpu") as world:
        learner = learner_of(folder, Sharded(world, "cpu"))
        before = {name: whole(w).clone() for name, w in learner.weights().items()}

        def broken(logprobs: Tensor, batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
            return logprobs.sum() * (float("nan") if world.rank == 1 else 1.0), {}

        learner.forward_backward(ROWS, broken, 11.0)
        stepped = learner.optim_step()
        unchanged = all(torch.equal(before[name], whole(w)) for name, w in learner.weights().items())
        learner.forward_backward(ROWS, ratio_loss, 11.0)
        return stepped["update_refused"], unchanged, learner.optim_step()["update_refused"]


def test_all_refuse_what_is_not_finite_on_one(tiny: TinyFactory) -> None:
    assert on_ranks(refused, str(tiny("qwen3"))) == [(1.0, True, 0.0)] * 2


def values(folder: str, spread: Spread = ALONE) -> tuple[Any, ...]:
    critic = ValueLearner(
        load(folder).model, Optimiser(lr=1e-2), dtype=torch.float64, micro_batch_tokens=24, spread=spread
    )
    return [critic.learn(ROWS, 0.2) for _ in range(2)], critic.logprobs(ROWS)


def values_on_ranks(folder: str) -> tuple[Any, ...]:
    with joined(60, "cpu") as world:
        return values(folder, Sharded(world, "cpu"))


def test_a_critic_is_divided_too(tiny: TinyFactory) -> None:
    folder = str(tiny("qwen3"))
    for found in on_ranks(values_on_ranks, folder, size=3):
        same(found, values(folder))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 60)), max_size=24), st.integers(1, 5))
def test_shares_are_whole_and_even(made: list[tuple[int, int, int]], count: int) -> None:
    rows = [row(prompt, (before, after), 1.0) for prompt, before, after in made]
    parts = shares(rows, count)
    assert len(parts) == count and sorted(i for part in parts for i in part) == list(range(len(rows)))
    sizes = [sum(len(rows[i].ids) for i in part) for part in parts]
    longest = max((len(r.ids) for r in rows), default=0)
    assert all(abs(size - sum(sizes) / count) <= longest for size in sizes)


def test_a_checkpoint_that_is_whole_is_divided(tiny: TinyFactory, tmp_path: Path) -> None:
    """What one process has saved, two go on from."""
    folder = str(tiny("qwen3"))
    alone = learner_of(folder)
    learned(alone, ROWS, 1)
    torch.save(alone.state(), tmp_path / "state.pt")
    expected = learned(alone, ROWS, 1)
    for found in on_ranks(going_on, folder, str(tmp_path / "state.pt")):
        same(found, expected)


def going_on(folder: str, file: str) -> dict[str, Any]:
    with joined(60, "cpu") as world:
        learner = learner_of(folder, Sharded(world, "cpu"))
        learner.load_state(torch.load(file, weights_only=True))
        return learned(learner, ROWS, 1)
