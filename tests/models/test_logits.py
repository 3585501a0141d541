"""The one function that makes logits the distribution that is sampled."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.models.loading import cast_, load
from aha.models.logits import head_logprobs, hidden_states, logits, sampled_probabilities, token_logprobs
from aha.models.packing import Packed, rows
from aha.types import Sampling

INF = math.inf
SHARES = torch.tensor([[0.4, 0.3, 0.2, 0.1]])


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(1, temperature=0.0), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(1, temperature=0.5), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        (Sampling(1, top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(1, top_k=1), [1, 0, 0, 0]),
        (Sampling(1, top_k=9), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(1, top_p=0.65), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(1, top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0]),
        (Sampling(1, top_p=0.0), [1, 0, 0, 0]),
        (Sampling(1, top_k=3, top_p=0.7), [4 / 7, 3 / 7, 0, 0]),  # of the three that are left: 4/9, 3/9, 2/9
        (Sampling(1, temperature=0.5, top_p=0.8), [16 / 25, 9 / 25, 0, 0]),
    ],
)
def test_by_hand(sampling: Sampling, expected: list[float]) -> None:
    found = sampled_probabilities(torch.log(SHARES), sampling)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float32), atol=1e-6, rtol=0)
    assert [x == 0 for x in found[0].tolist()] == [p == 0 for p in expected]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 1.7]), st.integers(0, 12), st.sampled_from([0.01, 0.5, 0.95, 1.0])
)
def test_support_is_the_likeliest_tokens(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    raw = 3 * torch.randn(5, 10, generator=torch.Generator().manual_seed(seed))
    found = sampled_probabilities(raw, Sampling(1, temperature, top_k, top_p)).log()
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(5))
    kept = found > -INF
    assert (kept.sum(-1) >= 1).all() and (not top_k or (kept.sum(-1) <= top_k).all())
    for row in range(5):  # within the support, the ratios are those of the whole distribution
        inside = kept[row]
        whole = torch.log_softmax(raw[row] / temperature, -1)
        assert whole[inside].min() >= whole[~inside].max() if (~inside).any() else True
        shift = found[row][inside] - whole[inside]
        torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(1), Sampling(1, 0.6), Sampling(1, top_k=3), Sampling(1, 1.3, top_p=0.7)])
def test_token_logprobs_are_those_of_the_distribution(sampling: Sampling) -> None:
    raw = torch.randn(50, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = sampled_probabilities(raw, sampling).log()
    for column in range(10):
        inside = whole[:, column] > -INF
        found = token_logprobs(raw, torch.full((50,), column), sampling)
        torch.testing.assert_close(found[inside], whole[inside, column])


def test_a_drawn_token_at_the_edge_of_the_support_stays_finite() -> None:
    """Rounding, or an update, moves the edge: the token was drawn all the same, and has a log-prob and a gradient."""
    raw = torch.log(SHARES).requires_grad_()
    found = token_logprobs(raw, torch.tensor([2]), Sampling(1, top_k=2))
    assert found.item() == pytest.approx(math.log(2 / 9))
    found.backward()
    assert raw.grad is not None and torch.isfinite(raw.grad).all() and raw.grad[0, 2] > 0


def test_gradient_of_a_truncated_distribution_stays_inside() -> None:
    raw = torch.log(SHARES).requires_grad_()
    token_logprobs(raw, torch.tensor([0]), Sampling(1, top_k=2)).backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad, torch.tensor([[3 / 7, -3 / 7, 0, 0]]))


def test_logits_are_in_float32_at_least(tiny) -> None:
    for dtype, expected in [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]:
        model = cast_(load(str(tiny("gemma2"))).model, dtype)
        layout = Packed(rows([2]))
        hidden = hidden_states(model, torch.tensor([1, 2]), layout.positions, layout)
        assert hidden.dtype == dtype
        assert logits(model, hidden).dtype == expected


def test_softcapping_is_applied(tiny) -> None:
    model = load(str(tiny("gemma2", final_logit_softcapping=0.5))).model
    assert logits(model, 100 * torch.ones(1, 16)).abs().max() <= 0.5


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gemma2"])  # a head of its own, a tied one, a capped one
@pytest.mark.parametrize("sampling", [Sampling(1), Sampling(1, 0.6), Sampling(1, 1.3, top_k=20, top_p=0.9)])
def test_chunks_of_the_head_change_neither_values_nor_gradients(tiny, architecture: str, sampling: Sampling) -> None:
    model = cast_(load(str(tiny(architecture))).model, torch.float64)
    head = model.get_output_embeddings().weight
    torch.manual_seed(0)
    hidden = torch.randn(23, 16, dtype=torch.float64, requires_grad=True)
    targets, gradient = torch.randint(0, 260, (23,)), torch.randn(23, dtype=torch.float64)
    found = {}
    for chunk in (23, 5, 1):
        values = head_logprobs(model, hidden, targets, sampling, chunk)
        found[chunk] = (values, *torch.autograd.grad(values, (hidden, head), gradient))
    for chunk in (5, 1):
        for one, other in zip(found[23], found[chunk], strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_chunks_of_a_narrow_head_are_added_up_in_float32(tiny) -> None:
    """300 pieces of one sign: in bfloat16 the sum would stop to grow at 256 times a piece."""
    model = cast_(load(str(tiny("qwen2"))).model, torch.bfloat16)
    head = model.get_output_embeddings().weight
    hidden = torch.ones(600, 16, dtype=torch.bfloat16)
    targets = torch.zeros(600, dtype=torch.long)
    (whole,) = torch.autograd.grad(head_logprobs(model, hidden, targets, Sampling(1), 600).sum(), head)
    (chunked,) = torch.autograd.grad(head_logprobs(model, hidden, targets, Sampling(1), 2).sum(), head)
    torch.testing.assert_close(whole, chunked, rtol=0.01, atol=0.01)


def test_a_gradient_that_is_there_is_added_to(tiny) -> None:
    """In place where it is in the weight's type: two passes are one of both."""
    model = load(str(tiny("llama"))).model
    head = model.get_output_embeddings().weight
    torch.manual_seed(3)
    hidden, targets = torch.randn(7, 16), torch.randint(0, 260, (7,))
    for part in (slice(4), slice(4, 7)):
        head_logprobs(model, hidden[part], targets[part], Sampling(1), 2).sum().backward()
    added, head.grad = head.grad, None
    head_logprobs(model, hidden, targets, Sampling(1), 7).sum().backward()
    torch.testing.assert_close(added, head.grad)
