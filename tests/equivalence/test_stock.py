"""The learner against plain `transformers` with its own attention, one row at a time and without padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from aha.models.loading import load
from aha.training.learner import Optimiser, TorchLearner
from aha.types import Sample, Sampling

TEMPERED = [Sampling(1), Sampling(1, temperature=0.6), Sampling(1, temperature=1.3)]


def rows(seed: int = 0, lengths: tuple[int, ...] = (2, 9, 17, 30, 5)) -> list[Sample]:
    generator = np.random.default_rng(seed)
    made = []
    for n in lengths:
        ids = tuple(int(i) for i in generator.integers(0, 256, n))
        prompt = max(1, n // 3)
        made.append(Sample(ids, (0,) * prompt + (1,) * (n - prompt)))
    return made


@torch.no_grad()
def stock_logprobs(model: torch.nn.Module, sample: Sample, temperature: float = 1.0) -> Tensor:
    """[T] log-probs from a forward pass of the model itself; 0 outside of the loss mask."""
    ids = torch.tensor(sample.ids)
    logits = model(ids[None]).logits[0, :-1].double() / temperature
    found = torch.log_softmax(logits, -1).gather(-1, ids[1:, None])[:, 0]
    return torch.cat([torch.zeros(1), found]) * torch.tensor(sample.loss_mask)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_learner_is_plain_transformers(arch: Path, attention: str) -> None:
    if attention == "sdpa" and "gemma2" in arch.name:
        pytest.skip("transformers has no softcapping under sdpa")
    stock = AutoModelForCausalLM.from_pretrained(arch, dtype=torch.float32, attn_implementation=attention)
    loaded = load(str(arch))
    assert stock.config._attn_implementation == attention
    assert loaded.model.config._attn_implementation == "aha"
    for sampling in TEMPERED:
        learner = TorchLearner(loaded.model, Optimiser(lr=0.0), sampling=sampling)
        for sample, ours in zip(rows(), learner.logprobs(rows()), strict=True):
            theirs = stock_logprobs(stock, sample, sampling.temperature)
            assert len(theirs) < 9 or theirs.std() > 0.5, "a model that says nothing tests nothing"
            torch.testing.assert_close(torch.tensor(ours), theirs.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_the_window_matters(name: str, tiny) -> None:
    """With the window taken away the log-probs move, so the test above has seen it."""
    narrow, wide = (load(str(tiny(name, sliding_window=w))) for w in (5, 200))
    wide.model.load_state_dict(narrow.model.state_dict())
    ids = torch.tensor([rows()[3].ids])
    difference = (narrow.model(ids).logits - wide.model(ids).logits).abs().amax(-1)[0]
    assert difference[:5].max() < 1e-5 < 1e-2 < difference[5:].max()


def test_gradient_is_plain_transformers(arch: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(arch, dtype=torch.float32, attn_implementation="eager")
    loaded = load(str(arch))
    learner = TorchLearner(loaded.model, Optimiser(lr=0.0))
    samples = rows()
    learner.forward_backward(samples, lambda logprobs, _: (-logprobs.sum(), {}), 7.0)
    for sample in samples:
        ids = torch.tensor(sample.ids)
        on = torch.tensor(sample.loss_mask[1:], dtype=torch.bool)
        logprobs = torch.log_softmax(stock(ids[None]).logits[0, :-1], -1).gather(-1, ids[1:, None])[:, 0]
        (-logprobs[on].sum() / 7.0).backward()
    theirs = dict(stock.named_parameters())
    for name, p in loaded.model.named_parameters():
        assert (p.grad is None) == (theirs[name].grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, theirs[name].grad, atol=1e-4, rtol=1e-3)
