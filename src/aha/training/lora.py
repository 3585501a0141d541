"""LoRA: small trained matrices beside frozen ones, through the optional library `peft` (Hu et al., arXiv 2106.09685).

    model = with_lora(loaded.fresh_copy(), rank=16, alpha=32)
    TorchLearner(model, ...).weights()      # as of the plain model: products are added where they belong

Engines and saved models never see the parts: an engine that reads adapters may compute something else than the learner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from aha.errors import UserError

ADAPTER = "default"


def with_lora(model: Any, rank: int, alpha: float, seed: int = 0) -> Any:
    """`model` with adapters at all of its linear layers but the output head; nothing else of it is trained. What they
    begin with follows from `seed`."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("lora needs the library peft; install it with pip install 'aha[lora]'") from error
    head = model.get_output_embeddings()
    names = sorted({
        name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head
    })  # fmt: skip
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=names, bias="none")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def has_lora(model: nn.Module) -> bool:
    """Whether the model has adapters."""
    return any(True for _ in _layers(model))


def merged(
    model: nn.Module, tensors: Mapping[str, Tensor], frozen: Mapping[str, Tensor] = MappingProxyType({})
) -> dict[str, Tensor]:
    """Tensors by the model's own names, as those of the plain model: each adapter is added to its matrix, which is that
    of `frozen` where it is there. In bfloat16 the sum is rounded; the numerics gate sees what that costs."""
    found = {}
    for name, tensor in tensors.items():
        if ".lora_" not in name:
            found[name.replace(".base_layer.", ".")] = tensor
    found |= {name: tensor.detach() for name, tensor in frozen.items()}
    for name, layer in _layers(model):
        down, up = (tensors[f"{name}.lora_{part}.{ADAPTER}.weight"].float() for part in ("A", "B"))
        base = found[f"{name}.weight"]
        found[f"{name}.weight"] = (base.float() + layer.scaling[ADAPTER] * (up @ down)).to(base.dtype)
    return found


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            yield name, module
