"""Loading and saving: any causal LM that `transformers` loads, by folder or hub id, and the embedded tiny family.

    loaded = load("tiny")            # the base model inside the package
    loaded = load("/models/qwen")    # a folder
    loaded.model, loaded.tokenizer
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from aha.errors import UserError
from aha.models.attention import NAME as ATTENTION
from aha.models.logits import hidden_states, logits

PACKAGED = Path(__file__).parent / "tiny"
TINY = {"tiny": "base", "tiny-small": "small"}  # name -> folder inside the package
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in float32 with its tokenizer. `eos_ids` are all tokens that end a response; `pad_id` is not one."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    eos_ids: frozenset[int]
    pad_id: int
    context: int

    def fresh_copy(self) -> nn.Module:
        """Another model with the same weights (a reference, an engine's own copy)."""
        return copy.deepcopy(self.model)


def resolve(name: str) -> str:
    """The folder of an embedded model, or `name` itself."""
    if name in TINY:
        return str(PACKAGED / TINY[name])
    looks_like_path = name.startswith(("/", "./", "../", "~")) or os.sep in name.rstrip(os.sep) and Path(name).exists()
    if looks_like_path and not Path(name).expanduser().is_dir():
        raise UserError(f"no model at {name!r}: give a folder with config.json, a hub id, or one of {', '.join(TINY)}")
    return str(Path(name).expanduser()) if looks_like_path else name


def load(name: str, device: torch.device | str = "cpu") -> Loaded:
    """Load a causal LM in float32 under aha's attention.

    Raises UserError where there is no such model, it has no tokenizer, or its logits are not its head's output (an
    architecture that post-processes them in a way that learner and engine do not know).
    """
    where = resolve(name)
    try:
        config = AutoConfig.from_pretrained(where)
        tokenizer = AutoTokenizer.from_pretrained(where)
        model = AutoModelForCausalLM.from_pretrained(
            where, config=config, dtype=torch.float32, attn_implementation=ATTENTION
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"model {name!r} cannot be loaded ({reason}); give a folder in Hugging Face format") from error
    model = model.to(device).eval()
    _probe(name, model)
    return Loaded(model, tokenizer, _eos_ids(model, tokenizer), _pad_id(tokenizer, model), _context(config))


def cast_(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast parameters in place; buffers (rotary frequencies, router biases) keep their float32."""
    for p in model.parameters():
        p.data = p.data.to(dtype)
    return model


def save(
    folder: Path, config_of: nn.Module, weights: Mapping[str, Tensor], tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a folder that plain `transformers` loads: config, safetensors, tokenizer."""
    model = copy.deepcopy(config_of)
    cast_(model, torch.float32)
    model.load_state_dict(dict(weights), strict=False)
    model.to(dtype)
    model.config.dtype = dtype  # type: ignore[union-attr]
    model.save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def _probe(name: str, model: nn.Module) -> None:
    ids = torch.arange(4, device=model.device)[None] + 1  # type: ignore[operator]
    whole = model(input_ids=ids, use_cache=False).logits.float()
    ours = logits(model, hidden_states(model, input_ids=ids, use_cache=False))
    if not torch.allclose(whole, ours, atol=1e-4, rtol=1e-4):
        raise UserError(
            f"model {name!r} ({type(model).__name__}) changes its logits after the output head; aha cannot train it yet"
        )


def _eos_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    declared = getattr(model.generation_config, "eos_token_id", None)
    ids = set(declared if isinstance(declared, list) else [declared]) | {tokenizer.eos_token_id}
    found = frozenset(i for i in ids if i is not None)
    if not found:
        raise UserError("the tokenizer names no end-of-sequence token; set eos_token in tokenizer_config.json")
    return found


def _pad_id(tokenizer: PreTrainedTokenizerBase, model: Any) -> int:
    """Padding is masked everywhere by position, so any id that is in the vocabulary will do."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def _context(config: Any) -> int:
    return int(getattr(config, "max_position_embeddings", None) or 1 << 30)
