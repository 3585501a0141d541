"""Sizes from configs and from the table: parameters as `transformers` counts them, and as they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, Qwen2Config

from aha.errors import UserError
from aha.pipeline.recipes import RECIPES
from aha.planning.dimensions import (
    KNOWN,
    active_parameters,
    adapter_parameters,
    backbone_parameters,
    find,
    head_weights,
    multiplied,
    of_config,
    parameters,
)
from aha.training.lora import with_lora
from aha.training.scalar import with_scalar_head
from tiny_models import ARCHITECTURES, COMMON, TinyFactory


def counted(config: Any) -> int:
    """As `transformers` builds it, without memory for its weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in model.parameters())


CHANGES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ARCHITECTURES),
    *((name, {"tie_word_embeddings": True}) for name in ("qwen2", "llama", "deepseek_v3")),
    ("qwen3", {"tie_word_embeddings": False, "attention_bias": True, "num_hidden_layers": 5}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1}),
    ("deepseek_v3", {"q_lora_rank": None, "attention_bias": True, "num_hidden_layers": 4}),
    ("deepseek_v3", {"n_shared_experts": 2, "first_k_dense_replace": 0}),
    ("gemma", {"attention_bias": True}),
]


@pytest.mark.parametrize(
    ("name", "changes"), CHANGES, ids=lambda x: x if isinstance(x, str) else "+".join(x) or "plain"
)
def test_parameters_are_those_of_the_model(name: str, changes: dict[str, Any]) -> None:
    kind, settings = ARCHITECTURES[name]
    config = kind(**{**COMMON, **settings, **changes})
    assert parameters(of_config(config)) == counted(config)


def test_a_folder_and_the_embedded_models(tiny: TinyFactory) -> None:
    for where in (str(tiny("qwen3")), "tiny", "tiny-small"):
        d = find(where)
        folder = Path(where) if Path(where).is_dir() else None
        model = AutoModelForCausalLM.from_pretrained(folder) if folder else None
        if model is not None:
            assert parameters(d) == sum(p.numel() for p in model.parameters())
        else:
            assert 3e5 < parameters(d) < 3e6 and d.kind == "qwen3" and d.tied


# As the makers count them: config.json and the size of the weights on the hub; DeepSeek-V3's technical report, 4.2.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768, "Qwen/Qwen2.5-1.5B": 1_543_714_304, "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512, "Qwen/Qwen2.5-14B": 14_770_033_664, "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648, "Qwen/Qwen2.5-Math-1.5B": 1_543_714_304, "Qwen/Qwen2.5-Math-7B": 7_615_616_512,
    "meta-llama/Llama-3.1-8B": 8_030_261_248, "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name: str) -> None:
    assert parameters(KNOWN[name]) == PUBLISHED[name] == active_parameters(KNOWN[name])


def test_deepseek_v3() -> None:
    d = find("deepseek-ai/DeepSeek-V3-Base")
    config = DeepseekV3Config()  # its defaults are the model's
    assert parameters(d) == counted(config) == 671_026_404_352
    assert of_config(config).latent == d.latent and of_config(config).experts == d.experts
    assert active_parameters(d) == pytest.approx(37e9, rel=0.02)
    assert multiplied(d) == pytest.approx(active_parameters(d) - 2 * head_weights(d), rel=1e-3)  # without embeddings


def test_the_table_is_what_transformers_builds() -> None:
    qwen = Qwen2Config(
        vocab_size=152_064, hidden_size=3584, intermediate_size=18_944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4,
    )  # fmt: skip
    llama = LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    assert counted(qwen) == parameters(KNOWN["Qwen/Qwen2.5-7B"])
    assert counted(llama) == parameters(KNOWN["meta-llama/Llama-3.1-8B"])


def test_every_recipe_names_models_of_known_sizes() -> None:
    for make in RECIPES.values():
        recipe = make()
        starts = {getattr(stage, "start", "base") for stage in recipe.stages.values()}
        named = {recipe.model, *(s.removeprefix("model:") for s in starts if s.startswith("model:"))}
        assert all(parameters(find(name)) > 0 for name in named)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama", "gemma2"])
def test_adapters_and_scalar_heads(name: str) -> None:
    kind, settings = ARCHITECTURES[name]
    config = kind(**{**COMMON, **settings})
    d = of_config(config)
    pytest.importorskip("peft")
    adapted = with_lora(AutoModelForCausalLM.from_config(config), rank=3, alpha=6.0)
    assert adapter_parameters(d, 3) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    scalar = with_scalar_head(AutoModelForCausalLM.from_config(config))
    assert backbone_parameters(d) == sum(p.numel() for p in scalar.parameters())


def test_what_is_not_known_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'nobody/nothing' are not known here"):
        find("nobody/nothing")
    with pytest.raises(UserError, match=r"no model at '\./nowhere'"):
        find("./nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UserError, match="model type 'gpt2'"):
        of_config(AutoConfig.from_pretrained(tmp_path))
