"""Packed attention against a loop over tokens and heads, with its kernels and without."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aha.models import packing
from aha.models.attention import Rule
from aha.models.packing import Packed, Segment, rounded, rows

TREE = [  # a prompt with three rows, a row alone, a prompt with one row
    Segment(0, 4), Segment(4, 3, 0), Segment(7, 1, 0), Segment(8, 6, 0),
    Segment(14, 5),
    Segment(19, 2), Segment(21, 3, 5),
]  # fmt: skip
SHAPES = [(4, 2, 4, 4), (2, 2, 6, 4), (6, 1, 4, 8)]  # H, K, D, Dv


def ancestry(segments: list[Segment], size: int) -> list[list[int]]:
    """For each token of a stream the tokens that it may see, in their order, itself last."""
    seen: list[list[int]] = [[] for _ in range(size)]
    for s in segments:
        before = seen[segments[s.parent].start + segments[s.parent].length - 1] if s.parent is not None else []
        for token in range(s.start, s.start + s.length):
            seen[token] = [*before, *range(s.start, token + 1)]
    return seen


def brute_force(q: Tensor, k: Tensor, v: Tensor, segments: list[Segment], rule: Rule) -> Tensor:
    out = []
    for token, seen in enumerate(ancestry(segments, len(q))):
        seen = seen[-rule.window :] if rule.window else seen
        heads = []
        for h in range(q.shape[1]):
            head = h // (q.shape[1] // k.shape[1])
            scores = k[seen, head] @ q[token, h] * rule.scaling
            scores = rule.softcap * torch.tanh(scores / rule.softcap) if rule.softcap else scores
            heads.append(torch.softmax(scores, -1) @ v[seen, head])
        out.append(torch.stack(heads))
    return torch.stack(out)


def made(size: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    heads, key_heads, width, value_width = shape
    torch.manual_seed(0)
    shapes = (size, heads, width), (size, key_heads, width), (size, key_heads, value_width)
    return [torch.randn(s, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", [Rule(0.7), Rule(0.7, window=3), Rule(0.7, softcap=2.0), Rule(0.3, 2, 1.0)])
@pytest.mark.parametrize("block", [2, 256])
def test_a_tree_of_rows(shape: tuple[int, ...], rule: Rule, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK", block)
    q, k, v = made(24, shape)
    torch.testing.assert_close(Packed(TREE).attend(0, q, k, v, rule), brute_force(q, k, v, TREE, rule))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients(shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 by the kernels, where there is a compiler; with scores computed again in the backward pass as well."""
    given = made(24, shape)
    expected = brute_force(*given, TREE, Rule(0.7))
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, given, weights)
    for most in (1 << 30, 0):
        monkeypatch.setattr(packing, "MOST_KEYS", most)
        narrow = [x.detach().to(dtype).requires_grad_() for x in given]
        found = Packed(TREE).attend(0, *narrow, Rule(0.7))
        torch.testing.assert_close(found, expected.to(dtype), atol=1e-6, rtol=1e-5)
        for one, other in zip(torch.autograd.grad(found, narrow, weights.to(dtype)), gradients, strict=True):
            torch.testing.assert_close(one, other.to(dtype), atol=3e-6, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.lists(st.integers(1, 12), max_size=3)), min_size=1, max_size=4))
def test_any_tree(drawn: list[tuple[int, list[int]]]) -> None:
    segments: list[Segment] = []
    size = 0
    for prompt, bodies in drawn:
        parent = len(segments)
        segments.append(Segment(size, prompt))
        size += prompt
        for body in bodies:
            segments.append(Segment(size, body, parent))
            size += body
    q, k, v = (x.detach() for x in made(size, (2, 1, 4, 4), torch.float32))
    expected = brute_force(q, k, v, segments, Rule(0.5))
    torch.testing.assert_close(Packed(segments).attend(0, q, k, v, Rule(0.5)), expected)
    expected = brute_force(q, k, v, segments, Rule(0.5, window=4))
    torch.testing.assert_close(Packed(segments).attend(0, q, k, v, Rule(0.5, window=4)), expected)


@pytest.mark.parametrize("rule", [Rule(1.0), Rule(1.0, window=9)])
def test_what_comes_after_the_segments_is_not_looked_at(rule: Rule) -> None:
    q, k, v = (x.detach().float() for x in made(8, SHAPES[0]))
    alone = Packed(rows([3, 2])).attend(0, q[:5], k[:5], v[:5], rule)
    k[5:], v[5:] = float("nan"), float("nan")
    longer = Packed(rows([3, 2]), size=8)
    assert longer.positions.tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    torch.testing.assert_close(longer.attend(0, q, k, v, rule)[:5], alone)


def test_sizes_are_few() -> None:
    assert all(rounded(n) >= n for n in range(5000))
    assert len({rounded(n) for n in range(1, 513)}) <= 32
    assert all(rounded(n) <= 1.25 * n for n in range(32, 5000))
