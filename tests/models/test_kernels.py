"""The fused kernels against PyTorch in float64, values and gradients; and how they are built."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aha.models.kernels import build, fused
from aha.models.kernels.fused import Heads

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
HEADS = Heads(4, 2, 6)
N = 37
needs_kernels = pytest.mark.skipif(build.library() is None, reason="no C++ compiler with OpenMP")
pytestmark = needs_kernels


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    scale = float(expected.detach().abs().max()) or 1.0
    torch.testing.assert_close(found.double(), expected.double(), atol=TOLERANCE[dtype] * scale, rtol=TOLERANCE[dtype])


def compare(function: Callable[..., tuple[Tensor, ...]], given: list[Tensor], dtype: torch.dtype) -> None:
    """`function` by its kernel in `dtype` and by PyTorch in float64, on the same numbers, which `dtype` can hold."""
    results = []
    for kind in (dtype, torch.float64):
        inputs = [x.to(dtype).to(kind).requires_grad_() for x in given]
        assert (fused.kernel("turn", inputs[0]) is not None) == (kind == dtype)
        outs = function(*inputs)
        torch.manual_seed(1)
        weights = [torch.randn(out.shape, dtype=torch.float64).to(dtype).to(kind) for out in outs]
        results.append((*outs, *torch.autograd.grad(outs, inputs, weights)))
        with torch.no_grad():
            for one, other in zip(function(*inputs), outs, strict=True):
                torch.testing.assert_close(one, other, atol=0, rtol=0)
    for found, expected in zip(*results, strict=True):
        close(found, expected, dtype)


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [1, 8, 33, 192])
def test_add_norm(dtype: torch.dtype, width: int) -> None:
    compare(lambda x, d, w: fused.add_norm(x, d, w, 1e-5), drawn((N, width), (N, width), (width,)), dtype)
    compare(lambda x, w: fused.add_norm(x, None, w, 1e-5)[1:], drawn((N, width), (width,)), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_turn(dtype: torch.dtype) -> None:
    angles = torch.rand(N, HEADS.width // 2, dtype=torch.float64).repeat(1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    qkv, weight = drawn((N, 8 * HEADS.width), (2, HEADS.width))

    def normed(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return fused.turn(x, w, cos.to(x.dtype), sin.to(x.dtype), HEADS, 1e-5)

    def plain(x: Tensor) -> tuple[Tensor, ...]:
        return fused.turn(x, None, cos.to(x.dtype), sin.to(x.dtype), HEADS, 1e-5)

    compare(normed, [qkv, weight], dtype)
    compare(plain, [qkv], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_swiglu(dtype: torch.dtype) -> None:
    x, down = drawn((N, 50), (9, 25))
    compare(lambda x, w: (fused.swiglu_down(x, w),), [3 * x, down], dtype)


def test_swiglu_of_large_numbers_is_finite() -> None:
    x = torch.tensor([[-1e4, 1e4, -200.0, 0.0, 2.0, 2.0, 2.0, 2.0]], requires_grad=True)
    out = fused.swiglu_down(x, torch.eye(4))
    torch.testing.assert_close(out, torch.tensor([[0.0, 2e4, 0.0, 0.0]]))
    out.sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_what_is_not_a_number_stays_so() -> None:
    x, w = torch.ones(3, 8), torch.ones(8)
    x[1, 2] = float("nan")
    assert fused.add_norm(x, None, w, 1e-5)[1].isnan().any(1).tolist() == [False, True, False]
    assert fused.swiglu(x).isnan().any(1).tolist() == [False, True, False]


def test_any_number_of_threads_gives_the_same_rows() -> None:
    x, delta, w = (y.float() for y in drawn((900, 64), (900, 64), (64,)))
    qkv = drawn((900, 8 * HEADS.width))[0].float()
    turned = torch.ones(900, HEADS.width)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.no_grad():
                q, k, _ = fused.turn(qkv, None, turned, turned, HEADS, 1e-5)
                results.append((*fused.add_norm(x, delta, w, 1e-5), q, k, fused.swiglu(x)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def probe(**environment: str) -> str:
    """What a fresh process says of the kernels."""
    code = "from aha.models.kernels.build import library; print(library() is not None)"
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout.strip() + result.stderr.strip()


def test_they_are_built_once_into_the_cache(tmp_path: Path) -> None:
    assert probe(XDG_CACHE_HOME=str(tmp_path)) == "True"
    (built,) = (tmp_path / "aha").iterdir()
    time = built.stat().st_mtime_ns
    assert probe(XDG_CACHE_HOME=str(tmp_path)) == "True"
    assert [built] == list((tmp_path / "aha").iterdir()) and built.stat().st_mtime_ns == time


def test_without_compiler_or_by_wish_there_are_none(tmp_path: Path) -> None:
    assert probe(XDG_CACHE_HOME=str(tmp_path), CXX="no-such-compiler") == "False"
    assert probe(XDG_CACHE_HOME=str(tmp_path), CXX="false") == "False"
    assert probe(AHA_KERNELS="0") == "False"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert probe(XDG_CACHE_HOME=str(tmp_path / "file")) == "True"


def test_a_damaged_build_is_not_the_end(tmp_path: Path) -> None:
    assert probe(XDG_CACHE_HOME=str(tmp_path)) == "True"
    (built,) = (tmp_path / "aha").iterdir()
    built.write_bytes(b"no library")
    assert probe(XDG_CACHE_HOME=str(tmp_path)) == "False"


def test_the_compiler_may_not_reorder_or_join() -> None:
    """Many loops have a second version for memory that may overlap, chosen by addresses: with either of these it rounds
    otherwise, and one run in twenty was not repeated to the last bit."""
    assert "-ffp-contract=off" in build.FLAGS
    assert not {"-ffast-math", "-Ofast", "-fassociative-math", "-funsafe-math-optimizations"} & set(build.FLAGS)
