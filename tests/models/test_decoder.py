"""The short forward pass against the model's own code, and which models have one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from aha.models.decoder import Frozen, covers, forward_of, join_
from aha.models.loading import cast_, load
from aha.models.logits import logits
from aha.models.packing import Packed, rows

COVERED = ["llama", "qwen2", "qwen3"]
IDS = torch.tensor([5, 8, 13, 200, 7, 99, 4])
LAYOUT = Packed(rows([4, 3]))


def stock(folder: Path, dtype: torch.dtype) -> torch.Tensor:
    """Logits of the two rows by `transformers` with its own attention, one row at a time."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = cast_(model, dtype)
    with torch.no_grad():
        return torch.cat([model(IDS[None, :4]).logits[0], model(IDS[None, 4:]).logits[0]]).float()


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("architecture", COVERED)
def test_it_is_the_model(tiny, architecture: str, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    for changes in ({}, {"attention_bias": True} if architecture != "qwen2" else {"rope_theta": 50.0}):
        folder = tiny(architecture, **changes)
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-4), (torch.bfloat16, 0.5)):
            model = cast_(load(str(folder)).model, dtype)
            assert covers(model)
            hidden = forward_of(model)(IDS, LAYOUT.positions, LAYOUT)
            assert hidden.dtype == dtype
            found = logits(model, hidden).float()
            torch.testing.assert_close(found, stock(folder, dtype), atol=tolerance, rtol=1e-4)


def test_others_run_by_their_own_code(tiny, arch: Path) -> None:
    assert {
        name for name in (*COVERED, "gemma", "gemma2", "gemma3", "deepseek_v3") if covers(load(str(tiny(name))).model)
    } == set(COVERED)
    found = logits(load(str(arch)).model, forward_of(load(str(arch)).model)(IDS, LAYOUT.positions, LAYOUT))
    torch.testing.assert_close(found, stock(arch, torch.float32), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    ],
)
def test_variants_that_it_does_not_compute(tiny, changes: dict) -> None:
    assert not covers(load(str(tiny("llama", **changes))).model)


def test_a_replaced_layer_is_seen(tiny) -> None:
    """An adapter takes a linear layer's place: its own code has to run."""

    class Adapter(nn.Linear):
        pass

    model = load(str(tiny("qwen3"))).model
    model.model.layers[1].mlp.down_proj = Adapter(24, 16, bias=False)
    assert not covers(model)


def test_joined_weights_are_the_models_own(tiny) -> None:
    for architecture in COVERED:
        model = load(str(tiny(architecture))).model
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        decoder = join_(model)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        model.load_state_dict({name: tensor + 1 for name, tensor in before.items()})
        layer, module = decoder.layers[1], model.model.layers[1]
        parts = [module.self_attn.q_proj.weight, module.self_attn.k_proj.weight, module.self_attn.v_proj.weight]
        assert torch.equal(layer.qkv, torch.cat(parts))
        assert layer.gate_up.data_ptr() == module.mlp.gate_proj.weight.data_ptr()
        assert layer.heads_norm is None or torch.equal(layer.heads_norm[1], module.self_attn.k_norm.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_pass_follows_the_model(arch: Path, dtype: torch.dtype) -> None:
    model = cast_(load(str(arch)).model, dtype)
    frozen = Frozen(model)
    with torch.no_grad():
        torch.testing.assert_close(
            frozen(IDS, LAYOUT.positions, LAYOUT), forward_of(model)(IDS, LAYOUT.positions, LAYOUT)
        )
        model.load_state_dict({name: 0.9 * tensor for name, tensor in model.state_dict().items()})
        torch.testing.assert_close(
            frozen(IDS, LAYOUT.positions, LAYOUT), forward_of(model)(IDS, LAYOUT.positions, LAYOUT)
        )
