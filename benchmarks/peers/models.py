"""Random models of given size as Hugging Face folders, the same for every side.

    random_model(folder, "25m", mean_length=40)     # completions end by chance, after 40 tokens on average
    random_model(folder, "25m")                     # and these never end by themselves

An untrained model stops at random, once in as many tokens as its vocabulary has. So that every engine sees natural and
equal lengths, all embeddings share one large direction that survives the layers, and the output row of the end token
points along it, as far as gives the wanted chance of ending. It needs an output head of its own; a tied one stays as it
was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen3Config

from aha.models.loading import resolve

SHARED = 4.0  # length of the direction that all embeddings share
NEVER = 1e-9  # the chance to end of a model that does not
CALIBRATION = (16, 48)  # rows and tokens on which the chance is set


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model. `tied`: the output head is the embedding."""

    family: str
    hidden: int
    mlp: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int = 647  # of the tokenizer of the embedded models
    tied: bool = False


SHAPES = {
    "0.1m": Shape("qwen3", 64, 128, 2, 2, 1, 32),
    "2m": Shape("qwen3", 192, 512, 4, 6, 1, 32),
    "8m": Shape("qwen3", 320, 960, 6, 5, 1, 64),
    "25m": Shape("qwen3", 512, 1536, 8, 8, 2, 64),
    "75m": Shape("qwen3", 768, 2304, 12, 12, 4, 64),
    "qwen2.5-0.5b": Shape("qwen2", 896, 4864, 24, 14, 2, 64, 151_936, tied=True),
    "qwen2.5-1.5b": Shape("qwen2", 1536, 8960, 28, 12, 2, 128, 151_936, tied=True),
}


def random_model(
    folder: Path,
    shape: str | Shape,
    *,
    positions: int = 8192,
    mean_length: float | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> str:
    """Write a random model with the tokenizer of the embedded ones; returns the folder's name."""
    chosen = SHAPES[shape] if isinstance(shape, str) else shape
    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny"))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(chosen, tokenizer, positions), dtype=torch.float32).eval()
    if not chosen.tied:
        _set_stop(model, tokenizer.eos_token_id, 1 / mean_length if mean_length else NEVER)
    else:
        assert mean_length is None, "a tied head cannot be given a chance to end"
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _config(shape: Shape, tokenizer: Any, positions: int) -> Any:
    common = {
        "vocab_size": shape.vocabulary, "hidden_size": shape.hidden, "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.key_heads,
        "max_position_embeddings": positions, "tie_word_embeddings": shape.tied, "use_sliding_window": False,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
    }  # fmt: skip
    if shape.family == "qwen3":
        return Qwen3Config(**common, head_dim=shape.head_width)
    assert shape.head_width * shape.heads == shape.hidden
    return Qwen2Config(**common)


@torch.no_grad()
def _set_stop(model: Any, eos: int, chance: float) -> None:
    """Make the end token come with probability `chance` after every token, on average over random texts."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    direction = torch.randn(embedding.shape[1])
    direction /= direction.norm()
    embedding += SHARED * direction
    ids = torch.randint(0, len(embedding), CALIBRATION)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    head[eos] = 0
    others = model.get_output_embeddings()(hidden).index_fill(1, torch.tensor([eos]), -math.inf).logsumexp(1)
    along = hidden @ direction

    def reached(scale: float) -> float:
        ending: Tensor = torch.sigmoid(scale * along - others)
        return float(ending.mean())

    low, high = -100.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < chance else (low, middle)
    head[eos] = low * direction
