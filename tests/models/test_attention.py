"""The shared attention against a loop over rows, heads and queries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aha.models.attention import attend

SHAPES = [(2, 4, 4, 6, 5, 5), (3, 4, 2, 9, 4, 4), (2, 6, 1, 7, 4, 3), (1, 2, 2, 70, 4, 4)]  # B, H, K, T, D, Dv


def brute_force(query, key, value, scaling, lengths, window, softcap) -> Tensor:
    """[B, Q, H, Dv]; query i of row b stands at position lengths[b] - Q + i and sees what is before it."""
    batch, heads, queries, _ = query.shape
    out = torch.zeros(batch, queries, heads, value.shape[-1], dtype=query.dtype)
    for b in range(batch):
        for h in range(heads):
            k = h // (heads // key.shape[1])
            for i in range(queries):
                at = lengths[b] - queries + i
                first = max(0, at - window + 1) if window else 0
                scores = key[b, k, first : at + 1] @ query[b, h, i] * scaling
                if softcap:
                    scores = softcap * torch.tanh(scores / softcap)
                out[b, i, h] = torch.softmax(scores, -1) @ value[b, k, first : at + 1]
    return out


def made(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    batch, heads, key_heads, keys, width, value_width = shape
    torch.manual_seed(0)
    query = torch.randn(batch, heads, keys, width, dtype=torch.float64)
    key = torch.randn(batch, key_heads, keys, width, dtype=torch.float64)
    return query, key, torch.randn(batch, key_heads, keys, value_width, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [None, 1, 3, 1000])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_causal(shape: tuple[int, ...], window: int | None, softcap: float | None) -> None:
    query, key, value = made(shape)
    out, _ = attend(nn.Module(), query, key, value, None, scaling=0.7, sliding_window=window, softcap=softcap)
    expected = brute_force(query, key, value, 0.7, [shape[3]] * shape[0], window, softcap)
    torch.testing.assert_close(out, expected)


def test_gradient() -> None:
    inputs = tuple(x.requires_grad_() for x in made((2, 4, 2, 5, 3, 4)))

    def attention(*qkv: Tensor) -> Tensor:
        return attend(nn.Module(), *qkv, None, sliding_window=3, softcap=2.0)[0]

    assert torch.autograd.gradcheck(attention, inputs)


def test_one_row_is_the_same_in_any_batch_and_at_any_padding() -> None:
    query, key, value = made((3, 4, 2, 9, 4, 4))
    whole, _ = attend(nn.Module(), query, key, value, None)
    alone, _ = attend(nn.Module(), query[1:2, :, :6], key[1:2, :, :6], value[1:2, :, :6], None)
    torch.testing.assert_close(whole[1:2, :6], alone)


def test_what_it_cannot_compute_is_refused() -> None:
    query, key, value = made((1, 2, 2, 4, 4, 4))
    with pytest.raises(ValueError, match="attention sinks"):
        attend(nn.Module(), query, key, value, None, s_aux=torch.zeros(2))
    with pytest.raises(ValueError, match="takes no mask"):
        attend(nn.Module(), query, key, value, torch.zeros(1, 1, 4, 4))
    encoder = nn.Module()
    encoder.is_causal = False
    with pytest.raises(ValueError, match="later tokens"):
        attend(encoder, query, key, value, None)


def test_dropout_is_never_applied() -> None:
    query, key, value = made((1, 2, 2, 4, 4, 4))
    out, _ = attend(nn.Module().train(), query, key, value, None, dropout=0.9)
    torch.testing.assert_close(out, attend(nn.Module(), query, key, value, None)[0])
