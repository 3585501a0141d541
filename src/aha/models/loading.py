"""Loading and saving: any causal LM that `transformers` loads, by folder or hub id, and the embedded tiny family.

loaded = load("tiny")            # the base model inside the package
loaded = load("/models/qwen")    # a folder
loaded.model, loaded.tokenizer
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from aha.errors import UserError
from aha.models.attention import NAME as ATTENTION
from aha.models.decoder import forward_of
from aha.models.logits import logits, text_config
from aha.models.packing import Packed, rows

PACKAGED = Path(__file__).parent / "tiny"
TINY = {"tiny": "base", "tiny-small": "small"}  # name -> folder inside the package
UNLOADABLE = (
    OSError, ValueError, LookupError, TypeError, ImportError, AttributeError, RuntimeError, SafetensorError
)  # fmt: skip
LAYERS = {"full_attention", "sliding_attention"}
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in float32 with its tokenizer. `eos_ids` are all tokens that end a response."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    eos_ids: frozenset[int]
    context: int

    def fresh_copy(self) -> nn.Module:
        """Another model with the same weights (a reference, an engine's own copy)."""
        return copy.deepcopy(self.model)


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a model without its weights. `vocabulary`: how many tokens its logits are of."""

    tokenizer: PreTrainedTokenizerBase
    eos_ids: frozenset[int]
    vocabulary: int
    generation: GenerationConfig


def resolve(name: str) -> str:
    """The folder of an embedded model, or `name` itself."""
    if name in TINY:
        return str(PACKAGED / TINY[name])
    path = Path(name).expanduser()
    if name and path.is_dir():
        return str(path)
    if not name or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:  # cannot be a hub id
        raise UserError(f"no model at {name!r}: give a folder with config.json, a hub id, or one of {', '.join(TINY)}")
    return name


def load(name: str, device: torch.device | str = "cpu", positions: int = 0) -> Loaded:
    """Load a causal LM in float32 under aha's attention; one of fewer than `positions` is to have as many.

    Raises UserError where there is no such model, weights are missing from its files, it has no tokenizer, or it
    computes what learner and engine would not: layers other than causal attention, logits that are not its head's.
    """
    where = resolve(name)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what its report on the weights says is checked here
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        if 0 < getattr(text := config.get_text_config(), "max_position_embeddings", 0) < positions:
            _can_go_on(text)
            text.max_position_embeddings = positions  # rotary angles go on beyond what was trained
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        model, info = AutoModelForCausalLM.from_pretrained(
            where, config=config, dtype=torch.float32, attn_implementation=ATTENTION, trust_remote_code=False,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
        _whole(info, tokenizer)
        model = model.to(device).eval()
        _probe(model)
    except UNLOADABLE as error:
        raise UserError(
            f"model {name!r} cannot be loaded ({_reason(error)}); give a causal language model in Hugging Face format"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    eos_ids = _eos_ids(model.generation_config, text_config(model), tokenizer)
    return Loaded(model, tokenizer, eos_ids, _context(model))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, without its weights. Raises UserError."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve(name), trust_remote_code=False)
    except UNLOADABLE as error:
        raise UserError(
            f"model {name!r} has no tokenizer that can be loaded ({_reason(error)}); give a causal language model in "
            "Hugging Face format"
        ) from error
    return tokenizer


def outline(name: str) -> Outline:
    """A model's tokenizer and what its configs say. Raises UserError."""
    where, tokenizer = resolve(name), load_tokenizer(name)
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        try:
            generation = GenerationConfig.from_pretrained(where)
        except OSError:  # it has no such file
            generation = GenerationConfig.from_model_config(config)
        text = config.get_text_config()
        vocabulary = int(text.vocab_size)
    except UNLOADABLE as error:
        raise UserError(
            f"model {name!r} has no configuration that can be read ({_reason(error)}); give a causal language model in "
            "Hugging Face format"
        ) from error
    return Outline(tokenizer, _eos_ids(generation, text, tokenizer), vocabulary, generation)


def _can_go_on(config: Any) -> None:
    """Raise ValueError where rotary angles follow from the number of positions: more of them would change all."""
    rope = getattr(config, "rope_parameters", None) or {}
    for part in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        if (kind := part.get("rope_type")) in ("dynamic", "longrope", "yarn"):
            raise ValueError(f"its rotary embedding is {kind}, which more positions would change")


def _reason(error: BaseException) -> str:
    """The first line of an error's text."""
    if isinstance(error, KeyError) and error.args == (ATTENTION,):
        return "transformers has its attention built in, where aha cannot replace it"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200].rstrip(".: ")


def cast_(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast parameters in place; buffers (rotary frequencies, router biases) keep their float32."""
    for p in model.parameters():
        p.data = p.data.to(dtype)
    if dtype == torch.float64 and getattr(model.config, "_experts_implementation", None) == "grouped_mm":
        model.set_experts_implementation("eager")  # type: ignore[operator]  # grouped products know no float64
    return model


def save(
    folder: Path,
    config_of: nn.Module,
    weights: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a folder that plain `transformers` loads: config, safetensors, tokenizer.

    `weights` replace those of `config_of` by name and have to hold all that it trains; buffers keep their float32.
    """  # fmt: skip
    model: Any = cast_(copy.deepcopy(config_of), torch.float32)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    result = model.load_state_dict(dict(weights), strict=False)
    assert not result.unexpected_keys, f"weights that the model does not have: {result.unexpected_keys}"
    assert not trained & set(result.missing_keys), f"weights not given: {trained & set(result.missing_keys)}"
    cast_(model, dtype)
    model.config.dtype = dtype
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _whole(info: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ValueError where `transformers` makes up what its files lack: random weights, a tokenizer of no words."""
    for problem in ("missing", "mismatched"):
        found = info[f"{problem}_keys"]
        if found:
            raise ValueError(f"{len(found)} of its weights are {problem}: {', '.join(sorted(map(str, found))[:2])}")
    if not set(tokenizer.encode("a 1", add_special_tokens=False)) - {tokenizer.unk_token_id}:
        raise ValueError("it has no tokenizer, or one that knows no letter")


@torch.no_grad()
def _probe(model: Any) -> None:
    """Raise ValueError where learner and engine would not compute what the model's own forward pass does."""
    kind = type(model).__name__
    unknown = set(getattr(text_config(model), "layer_types", None) or ()) - LAYERS
    if unknown:
        raise ValueError(f"{kind} has layers of type {', '.join(sorted(unknown))}, which aha cannot sample from")
    ids = torch.arange(4, device=model.device)[None] + 1
    whole = model(input_ids=ids, use_cache=False).logits.float()
    layout = Packed(rows([ids.shape[1]]), model.device)
    ours = logits(model, forward_of(model)(ids[0], layout.positions, layout))[None]
    if not torch.allclose(whole, ours, atol=1e-4, rtol=1e-4):
        raise ValueError(f"{kind} changes its logits after the output head in a way that aha does not know")
    shorter = model(input_ids=ids[:, :2], use_cache=False).logits.float()
    if not torch.allclose(whole[:, :2], shorter, atol=1e-4, rtol=1e-4):
        raise ValueError(f"{kind} looks at later tokens, or has an attention of its own")


def _eos_ids(generation: Any, text: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    ids: set[int | None] = {tokenizer.eos_token_id}
    for config in (generation, text):
        declared = getattr(config, "eos_token_id", None)
        ids |= set(declared) if isinstance(declared, list | tuple) else {declared}
    found = frozenset(i for i in ids if i is not None)
    if not found:
        raise UserError("the tokenizer names no end-of-sequence token; set eos_token in tokenizer_config.json")
    return found


def _context(model: Any) -> int:
    return int(getattr(text_config(model), "max_position_embeddings", None) or 1 << 30)
