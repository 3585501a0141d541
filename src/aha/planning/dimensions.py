"""A model's sizes without its weights: from a table of names, or from the config.json of a folder.

    d = find("Qwen/Qwen2.5-7B")       # no network: the table, an embedded model, a folder, the hub's cache
    parameters(d), active_parameters(d)

What follows from sizes is computed: parameters here, memory in `memory.py`, operations in `work.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from aha.errors import UserError
from aha.models.loading import resolve

Product = tuple[int, int]  # a linear layer: inputs, outputs
SHAPED = ("llama", "mistral", "qwen2", "qwen3")  # what models/decoder.py runs
KINDS = (*SHAPED, "gemma", "gemma2", "gemma3_text", "deepseek_v3")  # with known parts


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention: keys and values of all heads come from one narrow vector (DeepSeek-V2, 2.1)."""

    rank: int  # of keys and values
    rotary: int  # width of the part of a key that all heads share
    query_rank: int = 0  # 0: queries are not compressed


@dataclass(frozen=True, slots=True)
class Experts:
    """Layers whose MLP is many, of which a token takes some."""

    count: int
    active: int  # of `count`, that a token takes
    shared: int  # that all tokens take besides
    inner: int  # width of each
    dense_layers: int  # first layers with one plain MLP


@dataclass(frozen=True, slots=True)
class Dimensions:
    """A decoder's sizes. `head` is the width of queries and keys, `value_head` of values."""

    kind: str  # model_type of its config
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head: int
    value_head: int
    inner: int
    context: int
    tied: bool = False  # the embedding is the output head too
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False
    norms: int = 2  # of a layer, of the hidden width
    latent: Latent | None = None
    experts: Experts | None = None


def attention_products(d: Dimensions) -> list[Product]:
    """The linear layers of one attention."""
    out = (d.heads * d.value_head, d.hidden)
    if d.latent is None:
        return [
            (d.hidden, d.heads * d.head), (d.hidden, d.key_heads * d.head), (d.hidden, d.key_heads * d.value_head), out,
        ]  # fmt: skip
    wide = d.heads * d.head
    rank = d.latent.query_rank
    queries = [(d.hidden, rank), (rank, wide)] if rank else [(d.hidden, wide)]
    keys = (d.hidden, d.latent.rank + d.latent.rotary)
    return [*queries, keys, (d.latent.rank, d.heads * (d.head - d.latent.rotary + d.value_head)), out]


def mlp_products(d: Dimensions, inner: int) -> list[Product]:
    """The linear layers of a gated MLP: gate, up, down."""
    return [(d.hidden, inner), (d.hidden, inner), (inner, d.hidden)]


def dense_layers(d: Dimensions) -> int:
    """Layers with one plain MLP."""
    return d.experts.dense_layers if d.experts else d.layers


def plain_products(d: Dimensions) -> list[Product]:
    """All linear layers that every token goes through, without routers, experts and the output head."""
    layers = d.layers * attention_products(d) + dense_layers(d) * mlp_products(d, d.inner)
    if d.experts and d.experts.shared:
        layers += (d.layers - d.experts.dense_layers) * mlp_products(d, d.experts.shared * d.experts.inner)
    return layers


def expert_weights(d: Dimensions, taken: float) -> float:
    """Weights of `taken` experts in each layer that has some."""
    if d.experts is None:
        return 0
    return (d.layers - d.experts.dense_layers) * taken * 3 * d.hidden * d.experts.inner


def router_weights(d: Dimensions) -> int:
    """Weights that choose experts."""
    return (d.layers - d.experts.dense_layers) * d.experts.count * d.hidden if d.experts else 0


def head_weights(d: Dimensions) -> int:
    """Weights of the output head, which are the embedding's where the two are tied."""
    return d.vocabulary * d.hidden


def multiplied(d: Dimensions) -> int:
    """Weights that one token is multiplied by, without the output head: N in 2 N and 6 N operations a token."""
    plain = sum(inputs * outputs for inputs, outputs in plain_products(d))
    return plain + router_weights(d) + int(expert_weights(d, d.experts.active if d.experts else 0))


def parameters(d: Dimensions) -> int:
    """All parameters. Buffers, as rotary frequencies and a router's corrections, are none."""
    return int(_but_experts(d) + expert_weights(d, d.experts.count if d.experts else 0))


def active_parameters(d: Dimensions) -> int:
    """Parameters that one token uses, embedding and head among them."""
    return int(_but_experts(d) + expert_weights(d, d.experts.active if d.experts else 0))


def backbone_parameters(d: Dimensions) -> int:
    """Parameters with an output head of one number in place of the vocabulary's: a critic, a reward model."""
    return parameters(d) - (0 if d.tied else head_weights(d)) + d.hidden


def adapter_parameters(d: Dimensions, rank: int) -> int:
    """Parameters of LoRA at all linear layers but the head (training/lora.py): rank (inputs + outputs) of each. Of a
    model without experts, to which peft adds others."""
    return rank * sum(inputs + outputs for inputs, outputs in plain_products(d))


def largest_layer(d: Dimensions) -> int:
    """Parameters of the largest layer, which a sharded pass has to hold whole."""
    own = sum(i * o for i, o in attention_products(d))
    if d.experts is None:
        return own + sum(i * o for i, o in mlp_products(d, d.inner))
    return own + 3 * d.hidden * d.experts.inner * (d.experts.count + d.experts.shared)


def _but_experts(d: Dimensions) -> int:
    weights = sum(inputs * outputs for inputs, outputs in plain_products(d)) + router_weights(d)
    embeddings = head_weights(d) * (1 if d.tied else 2)
    return weights + embeddings + d.layers * _norms_and_biases(d) + d.hidden  # the last: the norm before the head


def _norms_and_biases(d: Dimensions) -> int:
    """Of a layer."""
    found = d.norms * d.hidden + (2 * d.head if d.head_norms else 0)
    if d.latent is not None:
        found += d.latent.rank + d.latent.query_rank  # their norms
        biased = d.latent.query_rank + d.latent.rank + d.latent.rotary
    else:
        biased = d.heads * d.head + d.key_heads * (d.head + d.value_head)
    found += (biased if d.qkv_bias else 0) + (d.hidden if d.out_bias else 0)
    return found + (2 * d.inner + d.hidden if d.mlp_bias else 0)


def of_config(config: Any) -> Dimensions:
    """The sizes in a `transformers` config. Raises UserError for an architecture whose parts are not known here."""
    text = config.get_text_config()
    kind = text.model_type
    if kind not in KINDS:
        raise UserError(f"sizes of model type {kind!r} cannot be computed; those of {', '.join(KINDS)} can")
    biased = bool(getattr(text, "attention_bias", False))
    common = {
        "kind": kind, "vocabulary": text.vocab_size, "hidden": text.hidden_size, "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads, "inner": text.intermediate_size, "context": text.max_position_embeddings,
        "tied": bool(text.tie_word_embeddings), "mlp_bias": bool(getattr(text, "mlp_bias", False)),
        "qkv_bias": biased or kind == "qwen2", "out_bias": biased,
    }  # fmt: skip
    if kind == "deepseek_v3":
        return Dimensions(**common, **_deepseek(text))
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Dimensions(
        **common, key_heads=text.num_key_value_heads, head=width, value_head=width,
        head_norms=kind in ("qwen3", "gemma3_text"), norms=4 if kind in ("gemma2", "gemma3_text") else 2,
    )  # fmt: skip


def _deepseek(text: Any) -> dict[str, Any]:
    return {
        "key_heads": text.num_attention_heads,
        "head": text.qk_nope_head_dim + text.qk_rope_head_dim,
        "value_head": text.v_head_dim,
        "latent": Latent(text.kv_lora_rank, text.qk_rope_head_dim, text.q_lora_rank or 0),
        "experts": Experts(
            text.n_routed_experts, text.num_experts_per_tok, text.n_shared_experts, text.moe_intermediate_size,
            text.first_k_dense_replace,
        ),
    }  # fmt: skip


def _qwen(
    hidden: int, inner: int, layers: int, heads: int, key_heads: int, vocabulary: int = 152_064, tied: bool = False,
    context: int = 131_072,
) -> Dimensions:  # fmt: skip
    return Dimensions(
        "qwen2", vocabulary, hidden, layers, heads, key_heads, hidden // heads, hidden // heads, inner, context, tied,
        qkv_bias=True,
    )  # fmt: skip


def _llama(hidden: int, inner: int, layers: int, heads: int) -> Dimensions:
    return Dimensions("llama", 128_256, hidden, layers, heads, 8, 128, 128, inner, 131_072)


def _small(hidden: int, inner: int, layers: int, heads: int, context: int = 131_072) -> Dimensions:
    """Qwen2.5 up to 3 B."""
    return _qwen(hidden, inner, layers, heads, 2, 151_936, True, context)


_DEEPSEEK_V3 = Dimensions(
    "deepseek_v3", 129_280, 7168, 61, 128, 128, 192, 128, 18_432, 163_840,
    latent=Latent(512, 64, 1536), experts=Experts(256, 8, 1, 2048, 3),
)  # fmt: skip
# By hub id, from the config.json that is there; DeepSeek-V3 without its layer of multi-token prediction.
KNOWN: dict[str, Dimensions] = {
    "Qwen/Qwen2.5-0.5B": _small(896, 4864, 24, 14, 32_768),
    "Qwen/Qwen2.5-1.5B": _small(1536, 8960, 28, 12),
    "Qwen/Qwen2.5-3B": _small(2048, 11_008, 36, 16, 32_768),
    "Qwen/Qwen2.5-7B": _qwen(3584, 18_944, 28, 28, 4),
    "Qwen/Qwen2.5-14B": _qwen(5120, 13_824, 48, 40, 8),
    "Qwen/Qwen2.5-32B": _qwen(5120, 27_648, 64, 40, 8),
    "Qwen/Qwen2.5-72B": _qwen(8192, 29_568, 80, 64, 8),
    "Qwen/Qwen2.5-Math-1.5B": _small(1536, 8960, 28, 12, 4096),
    "Qwen/Qwen2.5-Math-7B": _qwen(3584, 18_944, 28, 28, 4, context=4096),
    "meta-llama/Llama-3.1-8B": _llama(4096, 14_336, 32, 32),
    "meta-llama/Llama-3.1-70B": _llama(8192, 28_672, 80, 64),
    "meta-llama/Llama-3.3-70B-Instruct": _llama(8192, 28_672, 80, 64),
    "deepseek-ai/DeepSeek-V3-Base": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-V3": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-R1": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-R1-Zero": _DEEPSEEK_V3,
}


def find(name: str) -> Dimensions:
    """The sizes of the model `name`. Raises UserError where neither table nor machine has it."""
    if name in KNOWN:
        return KNOWN[name]
    where = resolve(name)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"the sizes of model {name!r} are not known here; give a folder with its config.json, or one of "
            f"{', '.join(KNOWN)}"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    return of_config(config)
