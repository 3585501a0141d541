"""What lies between a decoder's matrix products, in one pass each where a kernel can be had, in PyTorch elsewhere.

Both ways compute the same; the kernels round to the type once, at the end. Axes: N tokens, H query heads, K key heads,
D head width, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aha.models.kernels.build import library

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class Heads(NamedTuple):
    """Number of query heads and of key heads, and the width of each."""

    queries: int
    keys: int
    width: int


def kernel(name: str, x: Tensor) -> Callable[..., None] | None:
    """The kernel `name` for tensors like `x`; None where there is none."""
    if x.device.type != "cpu" or x.dtype not in NAMES:
        return None
    found = library()
    return getattr(found, f"{name}_{NAMES[x.dtype]}") if found is not None else None


def add_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + delta [N, F], and its RMS norm; x itself where delta is None."""
    if kernel("add_norm", x) is None:
        total = x if delta is None else x + delta
        return total, F.rms_norm(total, total.shape[-1:], weight, eps)
    if torch.is_grad_enabled():
        if delta is None:
            normed: Tensor = _Norm.apply(x, weight, eps)
            return x, normed
        total, normed = _AddNorm.apply(x, delta, weight, eps)
        return total, normed
    return _add_norm(x, delta, weight, eps)[:2]


def turn(qkv: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, heads: Heads, eps: float) -> tuple[Tensor, ...]:
    """Queries [N, H, D], keys and values [N, K, D] of qkv [N, (H + 2 K) D]; queries and keys are normed by `weight`
    [2, D] (queries' first; None: not at all) and turned to their positions, whose `cos` and `sin` are [N, D]."""
    if kernel("turn", qkv) is None:
        return _turn_in_torch(qkv, weight, cos, sin, heads, eps)
    if torch.is_grad_enabled():
        q, k, v = _Turn.apply(qkv, weight, cos, sin, heads, eps)
        return q, k, v
    return _turn(qkv, weight, cos, sin, heads, eps)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of gate_up [N, 2 F], without a gradient where a kernel computes it."""
    if kernel("swiglu", gate_up) is not None:
        return _swiglu(gate_up)
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


def swiglu_down(gate_up: Tensor, down: Tensor) -> Tensor:
    """swiglu(gate_up) down^T [N, F']. What is between the two is not kept for the backward pass."""
    if torch.is_grad_enabled() and kernel("swiglu", gate_up) is not None:
        out: Tensor = _SwigluDown.apply(gate_up, down)
        return out
    return F.linear(swiglu(gate_up), down)


def attention(
    query: Tensor, key: Tensor, value: Tensor, families: Tensor, row_starts: Tensor, scaling: float
) -> Tensor:
    """Causal attention within the rows of a packed stream: [N, H, D], [N, K, D], [N, K, Dv] -> [N, H, Dv].

    `families` [F, 3] are ranges of rows that share a prompt: start, end, and the prompt's length; `row_starts` [N] is
    where each token's row begins, a row's own tokens being after the prompt's. Tokens outside of them get 0. There has
    to be a `kernel("attention", query)`; `models/packing.py` has the same in PyTorch.
    """
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    if torch.is_grad_enabled():
        out: Tensor = _Attention.apply(query, key, value, families, row_starts, scaling)
        return out
    return _attention(query, key, value, families, row_starts, scaling)[0]


def pointer(x: Tensor | None) -> int | None:
    """Where a tensor's numbers are."""
    return None if x is None else x.data_ptr()


def _add_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x, delta = x.contiguous(), None if delta is None else delta.contiguous()
    total = x if delta is None else torch.empty_like(x)
    out, scale = torch.empty_like(x), torch.empty(len(x), dtype=torch.float32)
    _call("add_norm", x, x, delta, weight, eps, total, out, scale, *x.shape)
    return total, out, scale


def _norm_backward(ctx: Any, gradient: Tensor, through: Tensor | None) -> tuple[Tensor, Tensor]:
    x, weight, scale = ctx.saved_tensors
    of_x, of_weight = torch.empty_like(x), torch.empty_like(weight)
    gradient, through = gradient.contiguous(), None if through is None else through.contiguous()
    _call("norm_backward", x, gradient, through, x, weight, scale, of_x, of_weight, *x.shape)
    return of_x, of_weight


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        total, out, scale = _add_norm(x, None, weight, eps)
        ctx.save_for_backward(total, weight, scale)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *_norm_backward(ctx, gradient, None), None


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total, out, scale = _add_norm(x, delta, weight, eps)
        ctx.save_for_backward(total, weight, scale)
        return total, out

    @staticmethod
    def backward(ctx: Any, through: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_weight = _norm_backward(ctx, gradient, through)
        return of_x, of_x, of_weight, None


def _turn(
    qkv: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, heads: Heads, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    n = len(qkv)
    q, k = (torch.empty(n, h, heads.width, dtype=qkv.dtype) for h in heads[:2])
    _call("turn", qkv, qkv, weight, cos, sin, eps, q, k, n, *heads)
    v = qkv.unflatten(1, (-1, heads.width))[:, heads.queries + heads.keys :]
    return q, k, v


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, heads: Heads, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(qkv, weight, cos, sin)
        ctx.settings = heads, eps
        q, k, v = _turn(qkv, weight, cos, sin, heads, eps)
        return q, k, v.contiguous()

    @staticmethod
    def backward(ctx: Any, gq: Tensor, gk: Tensor, gv: Tensor) -> tuple[Tensor | None, ...]:
        qkv, weight, cos, sin = ctx.saved_tensors
        heads, eps = ctx.settings
        of_qkv = torch.empty_like(qkv)
        of_weight = None if weight is None else torch.empty_like(weight)
        given = (g.contiguous() for g in (gq, gk, gv))
        _call("turn_backward", qkv, *given, qkv, weight, cos, sin, eps, of_qkv, of_weight, len(qkv), *heads)
        return of_qkv, of_weight, None, None, None, None


def _turn_in_torch(
    qkv: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, heads: Heads, eps: float
) -> tuple[Tensor, ...]:
    half = heads.width // 2
    qk, v = qkv.unflatten(1, (-1, heads.width)).split([heads.queries + heads.keys, heads.keys], 1)
    if weight is not None:
        each = weight.repeat_interleave(torch.tensor(heads[:2], device=qkv.device), 0, output_size=qk.shape[1])
        qk = F.rms_norm(qk, qk.shape[-1:], None, eps) * each
    signed = torch.cat([-sin[:, None, :half], sin[:, None, half:]], -1)
    q, k = torch.addcmul(qk * cos[:, None], qk.roll(half, -1), signed).split(heads[:2], 1)
    return q, k, v


def _attention(
    query: Tensor, key: Tensor, value: Tensor, families: Tensor, row_starts: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    n, heads, width = query.shape
    out, logsum = query.new_zeros(n, heads, value.shape[2]), torch.empty(n, heads)
    sizes = n, heads, key.shape[1], width, value.shape[2]
    _call("attention", query, query, key, value, families, len(families), row_starts, scaling, out, logsum, *sizes)
    return out, logsum


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, families: Tensor, row_starts: Tensor, scaling: float
    ) -> Tensor:
        out, logsum = _attention(query, key, value, families, row_starts, scaling)
        ctx.save_for_backward(query, key, value, out, logsum, families, row_starts)
        ctx.scaling = scaling
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, logsum, families, row_starts = ctx.saved_tensors
        of = tuple(torch.zeros_like(x) for x in (query, key, value))
        sizes = *query.shape[:2], *key.shape[1:], value.shape[2]
        _call(
            "attention_backward", query, gradient.contiguous(), query, key, value, out, logsum, families,
            len(families), row_starts, ctx.scaling, *of, *sizes,
        )  # fmt: skip
        return *of, None, None, None


def _swiglu(gate_up: Tensor) -> Tensor:
    n, double = gate_up.shape
    out = torch.empty(n, double // 2, dtype=gate_up.dtype)
    _call("swiglu", gate_up, gate_up, out, n, double // 2)
    return out


class _SwigluDown(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, down: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up, down)
        return F.linear(_swiglu(gate_up), down)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate_up, down = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_down = gradient.T @ _swiglu(gate_up)
        of_inner, out = gradient @ down, torch.empty_like(gate_up)
        _call("swiglu_backward", gate_up, of_inner, gate_up, out, *of_inner.shape)
        return out, of_down


def _call(name: str, like: Tensor, *arguments: Tensor | float | int | None) -> None:
    """Run kernel `name` for the type of `like`."""
    function = kernel(name, like)
    assert function is not None
    function(*(pointer(a) if isinstance(a, Tensor) else a for a in arguments))
