"""Tiny random models on disk, of every architecture that the tests run.

The weights are drawn wide, so that a wrong mask, position or scale moves log-probs by far more than rounding does.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: a name that is no folder fails at once

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

torch.set_num_threads(1)

VOCABULARY = 260  # the bytes, end, pad, and two that no text uses
END, PAD = 256, 257
WINDOW = 5  # of sliding attention: shorter than the sequences of the tests
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}bot:{% endif %}"

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "eos_token_id": END,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "initializer_range": 0.4,
}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8, "tie_word_embeddings": True}),
    "llama": (LlamaConfig, {}),
    "gemma": (GemmaConfig, {"head_dim": 8, "num_key_value_heads": 1, "initializer_range": 0.2}),
    "gemma2": (Gemma2Config, {"head_dim": 8, "query_pre_attn_scalar": 8, "initializer_range": 0.2, **SLIDING}),
    "gemma3": (Gemma3TextConfig, {"head_dim": 8, "query_pre_attn_scalar": 8, "initializer_range": 0.2, **SLIDING}),
    "deepseek_v3": (
        DeepseekV3Config,
        {
            "num_key_value_heads": 4,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_nope_head_dim": 4,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
            "n_routed_experts": 8,
            "n_shared_experts": 1,
            "num_experts_per_tok": 3,
            "n_group": 2,
            "topk_group": 1,
            "moe_intermediate_size": 8,
            "first_k_dense_replace": 1,
        },
    ),
}

TinyFactory = Callable[..., Path]


def tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """Bytes, an end token and a pad token; any text round-trips."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<end>", "<pad>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<end>", pad_token="<pad>", chat_template=CHAT if chat else None
    )


def make(folder: Path, architecture: str, seed: int, chat: bool, changes: dict[str, Any]) -> None:
    """Write a random model of `architecture` with its tokenizer."""
    kind, settings = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(kind(**{**COMMON, **settings, **changes}), dtype=torch.float32)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1 and ("norm" in name or "bias" in name):  # what is 0 or 1 by default tests nothing
                tensor += 0.2 * torch.randn_like(tensor)
    model.save_pretrained(folder)
    tokenizer(chat=chat).save_pretrained(folder)
