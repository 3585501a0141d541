"""What a row's log-probs and a batch's gradient are does not depend on how the rows are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aha.models.loading import load
from aha.training.batch import MicroBatch
from aha.training.learner import Optimiser, TorchLearner
from aha.types import Sample


class StayInFloat64(TorchFunctionMode):
    """Architectures compute norms and routers in float32 at any dtype; here their float64 tensors stay as they are."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        narrows = func is Tensor.float or (func in (Tensor.to, Tensor.type) and torch.float32 in args[1:])
        if narrows and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **(kwargs or {}))


BUDGETS = (1, 20, 48, 100, 10_000)


def rows(count: int = 9) -> list[Sample]:
    generator = np.random.default_rng(3)
    made = []
    for n in generator.integers(2, 26, count):
        mask = (0, *(int(x) for x in generator.integers(0, 2, n - 2)), 1)
        advantages = tuple(float(x) for x in generator.normal(size=n))
        made.append(Sample(tuple(int(i) for i in generator.integers(0, 256, n)), mask, advantages))
    return made


def learner_of(folder: Path, budget: int, dtype: torch.dtype = torch.float32) -> TorchLearner:
    loaded = load(str(folder))
    return TorchLearner(loaded.model, Optimiser(lr=1e-3), dtype=dtype, micro_batch_tokens=budget)


def weighted(logprobs: Tensor, batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """A loss with every stream in it: advantages, the share of a row's length, the token's own probability."""
    per_token = -(batch.advantages * logprobs / batch.lengths + 0.1 * logprobs.exp())
    return per_token.sum(), {"tokens": torch.tensor(len(logprobs))}


def gradients(learner: TorchLearner, parts: Sequence[Sequence[Sample]]) -> tuple[dict[str, Tensor], float]:
    sums = [learner.forward_backward(part, weighted, 13.0) for part in parts]
    found = {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}
    learner.model.zero_grad()
    assert sum(s["tokens"] for s in sums) == sum(s.n_targets for part in parts for s in part)
    return found, sum(s["loss"] for s in sums)


def test_logprobs_do_not_depend_on_the_micro_batch(arch: Path) -> None:
    samples = rows()
    alone = [learner_of(arch, 1).logprobs([s])[0] for s in samples]
    for budget in BUDGETS:
        together = learner_of(arch, budget).logprobs(samples)
        for sample, one, other in zip(samples, alone, together, strict=True):
            assert len(other) == len(sample.ids)
            assert [x == 0.0 for x in other] == [m == 0 for m in sample.loss_mask]
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_gradient_does_not_depend_on_the_split(arch: Path) -> None:
    tolerance = 1e-10
    samples = rows()
    with StayInFloat64():
        whole, loss = gradients(learner_of(arch, 10_000, torch.float64), [samples])
        assert all(g.dtype == torch.float64 for g in whole.values())
        splits = [[samples[:4], samples[4:]], [[s] for s in reversed(samples)], [samples[::2], samples[1::2]]]
        cases = [(budget, [samples]) for budget in BUDGETS[:-1]] + [(10_000, split) for split in splits]
        for budget, parts in cases:
            found, same_loss = gradients(learner_of(arch, budget, torch.float64), parts)
            assert same_loss == pytest.approx(loss, rel=tolerance)
            assert found.keys() == whole.keys()
            for name, gradient in found.items():
                scale = whole[name].abs().max().item()
                assert scale > 0 or "experts" in name, name
                assert (gradient - whole[name]).abs().max().item() <= tolerance * max(scale, 1.0), (budget, name)


def test_rows_do_not_see_each_other(arch: Path) -> None:
    samples = rows()
    learner = learner_of(arch, 10_000)
    before = learner.logprobs(samples)
    for changed in (0, 4):
        ids = tuple((i + 7) % 256 for i in samples[changed].ids)
        others = [replace(s, ids=ids) if i == changed else s for i, s in enumerate(samples)]
        after = learner.logprobs(others)
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            if i == changed:
                assert not np.allclose(one, other, atol=1e-2)
            else:
                np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_token_does_not_see_later_ones(arch: Path) -> None:
    sample = replace(rows()[0], ids=tuple(range(40, 60)), loss_mask=(0,) + (1,) * 19, advantages=())
    learner = learner_of(arch, 10_000)
    before = np.array(learner.logprobs([sample])[0])
    after = np.array(learner.logprobs([replace(sample, ids=(*sample.ids[:12], 200, *sample.ids[13:]))])[0])
    np.testing.assert_allclose(before[:12], after[:12], atol=1e-6)
    assert np.abs(before - after)[12:].max() > 1e-2


def groups() -> list[Sample]:
    """Rows of three prompts, not in their order: five samples, one, and three."""
    generator = np.random.default_rng(5)
    made = []
    for prompt in (0, 1, 0, 2, 0, 0, 2, 2, 0):
        length, first = int(generator.integers(1, 9)), 7 * prompt + 3
        ids = (*range(first, first + 4 + 3 * prompt), *(int(i) for i in generator.integers(0, 256, length)))
        mask = (0,) * (len(ids) - length) + (1,) * length
        made.append(Sample(ids, mask, tuple(float(x) for x in generator.normal(size=len(ids)))))
    return made


def test_sharing_prompts_changes_neither_logprobs_nor_gradient(arch: Path) -> None:
    samples = groups()
    with StayInFloat64():
        apart = learner_of(arch, 10_000, torch.float64)
        apart.share_prompts = False
        whole, loss = gradients(apart, [samples])
        for budget in (1, 20, 10_000):
            learner = learner_of(arch, budget, torch.float64)
            for one, other in zip(apart.logprobs(samples), learner.logprobs(samples), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-10)
            found, same_loss = gradients(learner, [samples])
            assert same_loss == pytest.approx(loss, rel=1e-10)
            for name, gradient in found.items():
                torch.testing.assert_close(gradient, whole[name], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_change_gradients_by_rounding_alone(
    arch: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = groups()
    exact, _ = gradients(learner_of(arch, 10_000, torch.float64), [samples])
    error: dict[bool, float] = {}
    for kernels in (True, False):
        if not kernels:
            monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
        learner = learner_of(arch, 10_000, dtype)
        learner.forward_backward(samples, weighted, 13.0)
        names = [name for name, p in learner.model.named_parameters() if p.requires_grad]
        found = {n: p.grad for n, p in zip(names, learner._master, strict=True) if p.grad is not None}
        total = torch.stack([(g.double() - exact[name]).norm() for name, g in found.items()]).norm()
        error[kernels] = float(total / torch.stack([exact[name].norm() for name in found]).norm())
    assert error[True] < 1.5 * error[False] + 1e-6
    assert error[True] < {torch.float32: 1e-4, torch.bfloat16: 0.3}[dtype]


def test_chunks_of_logits_change_nothing(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = rows()
    whole, loss = gradients(learner_of(tiny("qwen2"), 100, torch.float64), [samples])
    monkeypatch.setattr("aha.training.learner.LOGITS_CHUNK", 260 * 3)
    chunked, same_loss = gradients(learner_of(tiny("qwen2"), 100, torch.float64), [samples])
    assert same_loss == pytest.approx(loss, rel=1e-12)
    for name, gradient in chunked.items():
        torch.testing.assert_close(gradient, whole[name], atol=1e-10, rtol=0)
