"""The forward pass of Llama-shaped models as functions of their weights: what `transformers` computes, in fewer steps.

    forward = forward_of(model)                     # of any model; the fast one where `covers(model)`
    hidden = forward(ids, positions, layout)        # [N, hidden]
    forward = Frozen(model)                         # the same for a model that is only read

Queries, keys and values are one product, and so are gate and up; what lies between the products is fused (`kernels`).
A small model spends most of its time there; `loading.load` compares this with the model's own forward pass.

Axes: N tokens of the stream, H query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aha.models.attention import Layout, Rule
from aha.models.kernels.fused import Heads, add_norm, swiglu, swiglu_down, turn
from aha.models.logits import hidden_states

Forward = Callable[[Tensor, Tensor, Layout], Tensor]  # ids [N], positions [N], layout -> [N, hidden]
SHAPED = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
FIXED_ROTARY = {"default", "linear", "llama3", "yarn"}  # frequencies that do not depend on the row's length


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of a layer. The q rows of `qkv` come first, then k, then v; those of `gate_up` gate first."""

    norm: Tensor
    qkv: Tensor  # [(H + 2 K) D, hidden]
    qkv_bias: Tensor | None
    heads_norm: Tensor | None  # [2, D], of a query head and of a key head
    out: Tensor
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor  # [2 inner, hidden]
    down: Tensor


@dataclass(frozen=True, slots=True)
class Decoder:
    """Weights and sizes of a model, without its output head."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    rotary: nn.Module
    heads: Heads
    tied: bool  # the embedding is the head too, whose gradient is dense: the embedding's own part of it is a few rows
    eps: float
    scaling: float


def covers(model: Any) -> bool:
    """True where `forward` computes what `model` does: a known architecture, and nothing replaced inside of it."""
    config: Any = getattr(model, "config", None)
    if type(model).__name__ not in SHAPED or config.hidden_act != "silu":
        return False
    sliding = set(getattr(config, "layer_types", None) or ()) - {"full_attention"} or (
        type(model).__name__ == "MistralForCausalLM" and config.sliding_window
    )
    if sliding or config.rope_parameters.get("rope_type", "default") not in FIXED_ROTARY:
        return False
    plain = all(type(m) is nn.Linear for layer in model.model.layers for m in _linears(layer))
    whole = 2 * len(model.model.rotary_emb.inv_freq) == model.model.layers[0].self_attn.head_dim
    return plain and whole and not getattr(config, "mlp_bias", False)


def read(model: Any) -> Decoder:
    """The weights of a model that is covered, joined where they are used together; differentiable."""
    first = model.model.layers[0].self_attn
    width = first.head_dim
    return Decoder(
        embedding=model.model.embed_tokens.weight,
        layers=tuple(map(_layer, model.model.layers)),
        norm=model.model.norm.weight,
        rotary=model.model.rotary_emb,
        heads=Heads(first.q_proj.out_features // width, first.k_proj.out_features // width, width),
        tied=model.get_output_embeddings().weight is model.model.embed_tokens.weight,
        eps=model.config.rms_norm_eps,
        scaling=first.scaling,
    )


@torch.no_grad()
def join_(model: Any) -> Decoder:
    """`read`, after which the model's own parameters are views of the joined weights: a change to one is a change to
    the other, and nothing is stored twice."""
    decoder = read(model)
    for module, layer in zip(model.model.layers, decoder.layers, strict=True):
        attention, mlp = module.self_attn, module.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        _point(parts, layer.qkv, "weight")
        if layer.qkv_bias is not None:
            _point(parts, layer.qkv_bias, "bias")
        if layer.heads_norm is not None:
            attention.q_norm.weight.data, attention.k_norm.weight.data = layer.heads_norm
        _point((mlp.gate_proj, mlp.up_proj), layer.gate_up, "weight")
    return decoder


def forward_of(model: Any) -> Forward:
    """The forward pass of any causal LM, which a gradient goes through."""
    if not covers(model):
        return lambda ids_N, positions_N, layout: hidden_states(model, ids_N, positions_N, layout)
    return lambda ids_N, positions_N, layout: forward(read(model), ids_N, positions_N, layout)


class Frozen:
    """The forward pass of a model that is not trained: its weights are joined once, in place. `decoder` are those of a
    model that is covered."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.decoder = join_(model) if covers(model) else None

    def __call__(self, ids_N: Tensor, positions_N: Tensor, layout: Layout) -> Tensor:
        """The last hidden states [N, hidden]."""
        with torch.no_grad():
            if self.decoder is None:
                return hidden_states(self._model, ids_N, positions_N, layout)
            return forward(self.decoder, ids_N, positions_N, layout)


def forward(decoder: Decoder, ids_N: Tensor, positions_N: Tensor, layout: Layout) -> Tensor:
    """The last hidden states [N, hidden], before the output head."""
    x = F.embedding(ids_N, decoder.embedding, sparse=decoder.tied)
    cos, sin = (table[0] for table in decoder.rotary(x, positions_N[None]))
    rule, delta = Rule(decoder.scaling), None
    for number, layer in enumerate(decoder.layers):
        x, normed = add_norm(x, delta, layer.norm, decoder.eps)
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias)
        q, k, v = turn(qkv, layer.heads_norm, cos, sin, decoder.heads, decoder.eps)
        attended = layout.attend(number, q, k, v, rule).flatten(1)
        x, normed = add_norm(x, F.linear(attended, layer.out, layer.out_bias), layer.mlp_norm, decoder.eps)
        gate_up = F.linear(normed, layer.gate_up)
        training = torch.is_grad_enabled()
        delta = swiglu_down(gate_up, layer.down) if training else F.linear(swiglu(gate_up), layer.down)
    return add_norm(x, delta, decoder.norm, decoder.eps)[1]


def _linears(layer: Any) -> tuple[nn.Module, ...]:
    a, m = layer.self_attn, layer.mlp
    return a.q_proj, a.k_proj, a.v_proj, a.o_proj, m.gate_proj, m.up_proj, m.down_proj


def _layer(layer: Any) -> Layer:
    a, m = layer.self_attn, layer.mlp
    parts = (a.q_proj, a.k_proj, a.v_proj)
    return Layer(
        norm=layer.input_layernorm.weight,
        qkv=torch.cat([p.weight for p in parts]),
        qkv_bias=torch.cat([p.bias for p in parts]) if a.q_proj.bias is not None else None,
        heads_norm=torch.stack([a.q_norm.weight, a.k_norm.weight]) if hasattr(a, "q_norm") else None,
        out=a.o_proj.weight,
        out_bias=a.o_proj.bias,
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=torch.cat([m.gate_proj.weight, m.up_proj.weight]),
        down=m.down_proj.weight,
    )


def _point(modules: tuple[Any, ...], joined: Tensor, name: str) -> None:
    """Make parameter `name` of each module its part of `joined`."""
    parts = joined.split([getattr(m, name).shape[0] for m in modules])
    for module, part in zip(modules, parts, strict=True):
        getattr(module, name).data = part
