"""Activations by formula against what PyTorch allocates in a forward and backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import learn, learner_of, peak, qwen3, samples

from aha.models.kernels.build import library
from aha.models.loading import load
from aha.models.packing import Packed
from aha.models.packing import rows as side_by_side
from aha.planning.activations import activations, grouped, path_of
from aha.planning.dimensions import KNOWN, find, of_config
from aha.training.lora import with_lora
from tiny_models import TinyFactory

MILLIONS: dict[str, Any] = {  # 3.7 M parameters
    "vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64, "intermediate_size": 768, "tie_word_embeddings": False, "max_position_embeddings": 2048,
}  # fmt: skip
WIDE = {**MILLIONS, "vocab_size": 20_000, "num_hidden_layers": 2, "hidden_size": 192, "tie_word_embeddings": True}
SIZES = {"hidden_size": 64, "intermediate_size": 128}  # of models by their own code
OF_EXPERTS = {"moe_intermediate_size": 32, "kv_lora_rank": 24, "q_lora_rank": 32, "num_hidden_layers": 3}
PATHS = [
    pytest.param(True, marks=pytest.mark.skipif(library() is None, reason="there are no kernels here"), id="kernels"),
    pytest.param(False, id="torch"),
]


def ratio(model: Any, dtype: torch.dtype, lengths: Sequence[int], kernels: bool, recompute: bool = False) -> float:
    """Formula over measurement."""
    rows = samples(list(lengths))
    learner = learner_of(model, dtype, sum(lengths), recompute=recompute)
    learn(learner, rows)  # gradients are there, and what PyTorch makes once
    measured = peak(lambda: learn(learner, rows))
    d = of_config(model.config)
    trained = sum(row.n_targets for row in rows)
    path = path_of(d, kernels=kernels)
    return activations(
        d, lengths, trained, dtype.itemsize, path, kernels=kernels, recompute=recompute
    ).peak / measured  # fmt: skip


@pytest.mark.parametrize("kernels", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_embedded_model(dtype: torch.dtype, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    model = load("tiny").model
    assert ratio(model, dtype, [40] * 16, kernels) == pytest.approx(1, abs=0.1)
    assert find("tiny") == of_config(model.config)


@pytest.mark.parametrize("kernels", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        pytest.param(MILLIONS, [50] * 10, id="rows of a problem"),
        pytest.param(MILLIONS, [330, 300], id="long rows"),
        pytest.param(WIDE, [60] * 8, id="logits in chunks, the last one small"),
        pytest.param(WIDE, [60] * 14, id="logits in chunks"),
    ],
)
def test_a_random_qwen3(
    sizes: dict[str, Any], lengths: list[int], dtype: torch.dtype, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    assert ratio(qwen3(**sizes), dtype, lengths, kernels) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kernels", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", [[50] * 10, [330, 300]], ids=["rows of a problem", "long rows"])
def test_layers_that_are_computed_again(
    lengths: list[int], dtype: torch.dtype, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    assert ratio(qwen3(**MILLIONS), dtype, lengths, kernels, recompute=True) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["gemma", "gemma2", "deepseek_v3"])
def test_layers_of_other_models_that_are_computed_again(name: str, dtype: torch.dtype, tiny: TinyFactory) -> None:
    model = load(str(tiny(name, **SIZES, **(OF_EXPERTS if name == "deepseek_v3" else {})))).model
    assert ratio(model, dtype, [40] * 16, library() is not None, recompute=True) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("kernels", PATHS)
@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3", "deepseek_v3"])
def test_models_by_their_own_code(name: str, kernels: bool, tiny: TinyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    model = load(str(tiny(name, **SIZES, **(OF_EXPERTS if name == "deepseek_v3" else {})))).model
    for dtype in (torch.float32, torch.bfloat16):
        assert ratio(model, dtype, [40] * 16, kernels) == pytest.approx(1, abs=0.15)


def test_adapters() -> None:
    pytest.importorskip("peft")
    plain = qwen3(**{**MILLIONS, "num_hidden_layers": 2})
    rows, d = samples([50] * 10), of_config(plain.config)
    learner = learner_of(with_lora(plain, rank=4, alpha=8.0), torch.bfloat16, 500)
    learn(learner, rows)
    measured = peak(lambda: learn(learner, rows))
    path, kernels = path_of(d, kernels=True, plain=False), library() is not None
    planned = activations(d, [50] * 10, 490, 2, path, kernels=kernels).peak
    assert planned / measured == pytest.approx(1, abs=0.15)


def test_rows_beyond_the_kept_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    model = qwen3(**{**MILLIONS, "num_hidden_layers": 2, "intermediate_size": 256, "hidden_size": 64})
    assert ratio(model, torch.float32, [700], False) == pytest.approx(1, abs=0.2)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12))
@settings(max_examples=30)
def test_blocks_are_those_of_packing(lengths: list[int]) -> None:
    layout = Packed(side_by_side(lengths))
    shapes = [(*queries.shape, keys.shape[1]) for queries, keys in layout._blocks.places]
    assert [tuple(block) for block in grouped(lengths)] == shapes


def test_a_long_row_gathers_keys_by_the_square() -> None:
    d = KNOWN["Qwen/Qwen2.5-7B"]
    for n in (8192, 32_768):  # a block of 256 queries sees half of the row on average, and is filled up
        assert n / 512 < sum(count * keys for count, _, keys in grouped([n])) / n < 2 * n / 512
    short, long = (activations(d, [n], n, 2, "torch", fused=True).layers / n for n in (2048, 32_768))
    assert long > 1.5 * short
    lean = activations(d, [32_768], 32_768, 2, "torch", fused=True, lean=True)
    own = activations(d, [32_768], 32_768, 2, "torch", fused=True, recompute=True)
    assert lean.layers == own.layers == (2 * 28 - 1) * 32_768 * 3584 * 2 and lean.working < own.working
