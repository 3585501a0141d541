"""Drawing a token from logits with one random number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.engines.native.sampler import draw, uniforms
from aha.models.logits import sampled_probabilities
from aha.types import Sampling

LAST = float(np.nextafter(np.float32(1), np.float32(0)))


def test_uniforms_belong_to_seed_and_sample() -> None:
    stream = uniforms(5, 3, 1000)
    assert stream.dtype == np.float32 and stream.min() >= 0 and stream.max() < 1
    assert np.array_equal(stream[:10], uniforms(5, 3, 10))
    for seed, sample in ((5, 4), (6, 3), (-1, 3), (2**80, 3)):
        assert not np.array_equal(stream, uniforms(seed, sample, 1000))


def test_inverse_cdf_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.0, 0.25]])).expand(7, -1)
    uniform = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.75, 0.99, LAST])
    tokens, logprobs = draw(logits, uniform, Sampling(1))
    assert tokens.tolist() == [0, 0, 1, 1, 3, 3, 3]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25]))


@pytest.mark.parametrize("uniform", [0.0, 1e-45, 1e-8, 0.5, LAST])
@pytest.mark.parametrize(
    "sampling", [Sampling(1), Sampling(1, top_k=3), Sampling(1, top_p=0.7), Sampling(1, 0.6, top_k=5, top_p=0.9)]
)
def test_nothing_impossible_is_drawn(uniform: float, sampling: Sampling) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 8 * torch.randn(500, 40, generator=generator)
    logits[:, [0, 7, 39]] = float("-inf")  # impossible tokens at both ends
    tokens, logprobs = draw(logits, torch.full((500,), uniform), sampling)
    assert torch.isfinite(logprobs).all()
    assert not set(tokens.tolist()) & {0, 7, 39}
    expected = sampled_probabilities(logits, sampling).gather(-1, tokens[:, None])[:, 0].log()
    torch.testing.assert_close(logprobs, expected, atol=2e-6, rtol=1e-6)


def test_greedy_takes_the_likeliest() -> None:
    tokens, logprobs = draw(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([LAST]), Sampling(1, temperature=0.0))
    assert tokens.tolist() == [1]
    assert logprobs.item() == pytest.approx(torch.log_softmax(torch.tensor([1.0, 3.0, 2.0]), 0)[1].item())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.6, 1.0, 1.3]), st.integers(0, 6), st.sampled_from([0.3, 0.9, 1.0]))
def test_frequencies(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    sampling = Sampling(1, temperature, top_k, top_p)
    logits = 2 * torch.randn(1, 8, generator=torch.Generator().manual_seed(seed))
    n = 4096
    grid = (torch.arange(n) + 0.5) / n  # evenly spaced: the counts are the distribution up to one a token
    tokens, _ = draw(logits.expand(n, -1), grid, sampling)
    counts = torch.bincount(tokens, minlength=8)
    assert (counts - n * sampled_probabilities(logits, sampling)[0]).abs().max() <= 1.01


@pytest.mark.parametrize("vocabulary", [2, 255, 256, 257, 5000])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
def test_the_kernel_draws_what_pytorch_draws(
    vocabulary: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn(300, vocabulary, generator=generator)
    logits[::3, 0] = float("-inf")
    uniform = torch.rand(300, generator=generator)
    tokens, logprobs = draw(logits, uniform, Sampling(1, temperature))
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    expected, of_expected = draw(logits, uniform, Sampling(1, temperature))
    same = tokens == expected  # a number next to an edge of the CDF may fall to either side
    assert same.float().mean() > 0.99
    torch.testing.assert_close(logprobs[same], of_expected[same], atol=3e-6, rtol=1e-6)
