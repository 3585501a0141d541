"""Every algorithm on a whole model: how a batch is cut changes no gradient, and what must have a gradient has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from aha.algorithms.aggregation import aggregate
from aha.algorithms.table import ALGORITHMS, algorithm
from aha.models.loading import load
from aha.training.learner import Optimiser, TorchLearner
from aha.types import Sample

EVERYTHING = {"kl_beta": 0.2, "kl": "k3", "kl_in": "loss", "entropy_beta": 0.1}
MAX_TOKENS = 12


def samples() -> list[Sample]:
    """Three groups of three, of unequal lengths, each with its prompt."""
    generator = np.random.default_rng(5)
    made = []
    for group in range(3):
        prompt = tuple(range(5 + 9 * group, 9 + 10 * group))
        for _ in range(3):
            length = int(generator.integers(1, MAX_TOKENS))
            ids = (*prompt, *(int(i) for i in generator.integers(0, 250, length)))
            mask = (0,) * len(prompt) + (1,) * length
            advantage = float(generator.normal())
            made.append(
                Sample(
                    ids,
                    mask,
                    advantages=tuple(advantage * on for on in mask),
                    corrections=tuple(float(x) for x in generator.uniform(0.5, 1.5, len(ids))),
                )
            )
    return made


def learner_of(folder: object, budget: int = 10_000, *, share: bool = True) -> TorchLearner:
    loaded = load(str(folder))
    return TorchLearner(
        loaded.model, Optimiser(lr=1e-2), dtype=torch.float64, micro_batch_tokens=budget, share_prompts=share,
        reference=load(str(folder)).model,
    )  # fmt: skip


def prepared(folder: object, drift: float) -> list[Sample]:
    """Rows with the log-probs of a behaviour policy and a reference that are `drift` away from the learner's."""
    rows = samples()
    generator = np.random.default_rng(6)
    own = learner_of(folder).logprobs(rows)

    def moved(sample: Sample, row: Sequence[float]) -> tuple[float, ...]:
        return tuple((x + drift * float(generator.normal())) * on for x, on in zip(row, sample.loss_mask, strict=True))

    return [
        replace(s, behaviour_logprobs=moved(s, row), reference_logprobs=moved(s, row))
        for s, row in zip(rows, own, strict=True)
    ]


def gradients(
    learner: TorchLearner, rows: Sequence[Sample], name: str, parts: int = 1, **options: object
) -> dict[str, Tensor]:
    """The gradient of the whole objective, whose samples may come in several calls."""
    row = algorithm(name)
    setting = row.setting.replaced({**EVERYTHING, **options})
    weighted, denominator = aggregate(rows, setting.aggregation, len(rows), MAX_TOKENS)
    for i in range(parts):
        learner.forward_backward(weighted[i::parts], row.loss(setting), denominator, entropies=True)
    found = {n: p.grad.clone().to_dense() for n, p in learner.model.named_parameters() if p.grad is not None}
    learner.model.zero_grad()
    return found


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, other[name], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_gradient_does_not_depend_on_the_cut(tiny, name: str) -> None:
    """Micro-batches, prompts in the stream once or in every row, order, and calls."""
    folder = tiny("qwen3")
    rows = prepared(folder, drift=0.1)
    whole = gradients(learner_of(folder), rows, name)
    for budget, share in ((1, True), (30, True), (60, False), (10_000, False)):
        assert_close(whole, gradients(learner_of(folder, budget, share=share), rows, name))
    assert_close(whole, gradients(learner_of(folder), rows, name, parts=4))
    assert_close(whole, gradients(learner_of(folder), rows[::-1], name))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_beta_and_advantages_change_the_gradient(tiny, name: str) -> None:
    folder = tiny("llama")
    rows = prepared(folder, drift=0.1)
    base = gradients(learner_of(folder), rows, name)
    for options in ({"kl_beta": 0.4}, {"entropy_beta": 0.3}):
        other = gradients(learner_of(folder), rows, name, **options)
        assert any(not torch.allclose(base[n], other[n]) for n in base)
    flipped = [replace(s, advantages=tuple(-a for a in s.advantages)) for s in rows]
    other = gradients(learner_of(folder), flipped, name)
    assert any(not torch.allclose(base[n], other[n]) for n in base)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_first_and_second_update(tiny, name: str) -> None:
    """On policy all ratios are 1 and there is a gradient; after an update they are not."""
    folder = tiny("llama")
    rows = prepared(folder, drift=0.0)
    learner = learner_of(folder)
    row = algorithm(name)
    setting = row.setting.replaced({"kl_beta": 0.0})
    reports = []
    for _ in range(2):
        weighted, denominator = aggregate(rows, setting.aggregation, len(rows), MAX_TOKENS)
        reports.append(learner.forward_backward(weighted, row.loss(setting), denominator))
        reports[-1] |= learner.optim_step()
    assert reports[0]["grad_norm"] > 1e-4
    assert reports[0]["gap"] < 1e-4 < 1e-3 < reports[1]["gap"]
    assert reports[0]["clipped"] == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_stop_token_is_trained_and_the_prompt_is_not(tiny, name: str) -> None:
    folder = tiny("llama")
    rows = prepared(folder, drift=0.1)
    base = gradients(learner_of(folder), rows, name)

    def changed(stream: str, value: float, where: str) -> list[Sample]:
        """`stream` set to `value` on the prompts, or on the last tokens, which ended the responses."""
        made = []
        for s in rows:
            last = len(s.ids) - 1
            chosen = [on == 0 if where == "prompt" else t == last for t, on in enumerate(s.loss_mask)]
            numbers = zip(getattr(s, stream), chosen, strict=True)
            made.append(replace(s, **{stream: tuple(value if yes else x for x, yes in numbers)}))
        return made

    for stream, value in (("advantages", 9.0), ("behaviour_logprobs", -5.0), ("reference_logprobs", -5.0)):
        assert_close(base, gradients(learner_of(folder), changed(stream, value, "prompt"), name))
        other = gradients(learner_of(folder), changed(stream, value, "end"), name)
        assert any(not torch.allclose(base[n], other[n]) for n in base), stream
