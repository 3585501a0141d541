"""Loading by path, saving what plain `transformers` loads, and the sentences for what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BloomConfig,
    Gemma3Config,
    GPTJConfig,
    GptOssConfig,
    GraniteConfig,
    Llama4TextConfig,
    MambaConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from aha.engines.native.engine import NativeEngine
from aha.errors import UserError
from aha.models.loading import cast_, load, resolve, save
from aha.types import Prompt, Sampling

IDS = torch.tensor([[5, 8, 13, 200, 21, 3, 99, 4, 1]])


def copy_of(folder: Path, to: Path, **changes: Any) -> Path:
    """A copy of a model's folder, some of its JSON files changed: `config={"eos_token_id": [1, 2]}`; None removes."""
    shutil.copytree(folder, to)
    for name, values in changes.items():
        file = to / f"{name}.json"
        data = {**(json.loads(file.read_text()) if file.exists() else {}), **values}
        file.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return to


def test_what_is_loaded(arch: Path) -> None:
    loaded = load(str(arch))
    assert loaded.eos_ids == {256} and loaded.context == 256
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("3*5=15 等等")) == "3*5=15 等等"
    twin = loaded.fresh_copy()
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), loaded.model.parameters(), strict=True))
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in loaded.model.parameters()}


def test_buffers_stay_in_float32(arch: Path) -> None:
    loaded = load(str(arch))
    before = {name: b.clone() for name, b in loaded.model.named_buffers()}
    assert any("inv_freq" in name for name in before)
    cast_(loaded.model, torch.bfloat16)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    for name, b in loaded.model.named_buffers():
        assert b.dtype == torch.float32 and torch.equal(b, before[name]), name


def test_tied_weights_stay_tied(tiny) -> None:
    loaded = load(str(tiny("qwen3")))
    for model in (loaded.model, loaded.fresh_copy(), cast_(loaded.fresh_copy(), torch.bfloat16)):
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["qwen2", "qwen3", "gemma2", "gemma3", "deepseek_v3", "untied qwen3", "tied deepseek_v3"]
)
def test_what_is_saved_loads_in_plain_transformers(tiny, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    kind = name.split()[-1]
    changes = {"tie_word_embeddings": name.startswith("tied")} if " " in name else {}
    loaded = load(str(tiny(kind, chat=True, **changes)))
    weights = {n: p.detach() + 0.01 for n, p in loaded.model.named_parameters()}
    policy = cast_(loaded.fresh_copy(), dtype)
    save(tmp_path, policy, weights, loaded.tokenizer, dtype)

    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager")
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert "aha" not in (tmp_path / "config.json").read_text()
    expected = loaded.fresh_copy()
    expected.load_state_dict(weights, strict=False)
    for p in expected.parameters():
        p.data = p.data.to(dtype).float()
    with torch.no_grad():
        torch.testing.assert_close(stock(IDS).logits, expected(IDS).logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(load(str(tmp_path)).model(IDS).logits, expected(IDS).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.get_vocab() == loaded.tokenizer.get_vocab()
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (256, 257)
    assert tokenizer.chat_template == loaded.tokenizer.chat_template is not None
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    if kind == "deepseek_v3":  # a buffer: never narrowed
        assert torch.equal(stock.state_dict()[bias], loaded.model.state_dict()[bias])


def test_save_refuses_weights_of_another_name(tiny, tmp_path: Path) -> None:
    loaded = load(str(tiny("qwen2")))
    weights = dict(loaded.model.named_parameters())
    with pytest.raises(AssertionError, match="does not have"):
        save(tmp_path, loaded.model, {**weights, "model.extra": torch.zeros(1)}, loaded.tokenizer)
    weights.pop("model.norm.weight")
    with pytest.raises(AssertionError, match=r"not given.*model\.norm\.weight"):
        save(tmp_path, loaded.model, weights, loaded.tokenizer)


def test_all_ends_count(tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny("llama"), tmp_path / "a", generation_config={"eos_token_id": [7, 9]})
    assert load(str(folder)).eos_ids == {7, 9, 256}


def sentence(name: str) -> str:
    with pytest.raises(UserError) as caught:
        load(name)
    text = str(caught.value)
    assert "\n" not in text and repr(name) in text and len(text) < 450
    return text


@pytest.mark.parametrize(
    "name",
    ["/nowhere/model", "./nowhere", "~/no such/model", "no-such-model", "nobody/no-such-model", "", "a/b/c", "a b"],
)
def test_no_such_model(name: str) -> None:
    sentence(name)


def test_positions_are_added_where_there_are_too_few(tiny) -> None:
    name = str(tiny("qwen3", max_position_embeddings=64))
    assert load(name).context == load(name, positions=32).context == 64
    plain, wider = load(name), load(name, positions=128)
    assert wider.context == 128
    ids = torch.arange(100)[None] % 50 + 3
    with torch.no_grad():
        assert torch.isfinite(wider.model(input_ids=ids).logits).all()
        torch.testing.assert_close(wider.model(input_ids=ids[:, :60]).logits, plain.model(input_ids=ids[:, :60]).logits)


def test_positions_are_not_added_where_angles_follow_from_them(tiny) -> None:
    name = str(tiny("llama", max_position_embeddings=64, rope_parameters={"rope_type": "dynamic", "factor": 2.0}))
    assert load(name).context == 64
    with pytest.raises(UserError, match="its rotary embedding is dynamic, which more positions would change"):
        load(name, positions=128)


def test_folders_that_are_no_model(tiny, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sentence(str(tmp_path / "empty"))
    for name in ("qwen2", "llama", "gemma"):
        folder = copy_of(tiny(name), tmp_path / f"{name} without")
        for file in folder.glob("*token*"):
            file.unlink()
        assert "tokenizer" in sentence(str(folder))
    folder = copy_of(tiny("qwen2"), tmp_path / "no weights")
    (folder / "model.safetensors").unlink()
    sentence(str(folder))
    folder = copy_of(tiny("qwen2"), tmp_path / "torn")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    sentence(str(folder))
    folder = copy_of(tiny("qwen2"), tmp_path / "bad json")
    (folder / "config.json").write_text("{")
    sentence(str(folder))


def test_missing_weights_are_not_made_up(tiny, tmp_path: Path) -> None:
    """`transformers` would only warn, and go on with random numbers in their place."""
    folder = copy_of(tiny("qwen2"), tmp_path / "deeper", config={"num_hidden_layers": 3, "layer_types": None})
    assert "missing" in sentence(str(folder))
    folder = copy_of(tiny("qwen2"), tmp_path / "wider", config={"intermediate_size": 32})
    assert "mismatched" in sentence(str(folder))


SMALL: dict[str, Any] = {
    "vocab_size": 260, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
}  # fmt: skip
REFUSED: dict[str, tuple[Any, str]] = {
    "t5": (T5Config(vocab_size=260, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2), "T5"),
    "bert": (BertConfig(**SMALL), "later tokens"),
    "bloom": (BloomConfig(vocab_size=260, hidden_size=8, n_layer=1, n_head=2), "later tokens"),
    "granite": (GraniteConfig(**SMALL, num_key_value_heads=1, logits_scaling=3.0), "logits after the output head"),
    "gpt-oss": (GptOssConfig(**SMALL, num_key_value_heads=1, head_dim=4, num_local_experts=2), "attention sinks"),
    "llama4": (Llama4TextConfig(**SMALL, num_key_value_heads=1, head_dim=4, attention_chunk_size=4), "chunked"),
    "mamba": (MambaConfig(vocab_size=260, hidden_size=8, num_hidden_layers=1), "linear_attention"),
    "gptj": (GPTJConfig(vocab_size=260, n_embd=8, n_layer=1, n_head=2, rotary_dim=4), "built in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_learner_and_engine_cannot_compute_is_refused(tiny, tmp_path: Path, name: str) -> None:
    config, part = REFUSED[name]
    kind = T5ForConditionalGeneration if name == "t5" else AutoModelForCausalLM.from_config
    kind(config).save_pretrained(tmp_path)
    load(str(tiny("qwen2"))).tokenizer.save_pretrained(tmp_path)
    assert part in sentence(str(tmp_path))


def test_a_model_that_also_sees_is_loaded_by_its_language_model(tiny, tmp_path: Path) -> None:
    """Its text configuration is a part of the whole one: context and end tokens are read from there."""
    text = {
        **SMALL, "num_key_value_heads": 1, "head_dim": 4, "num_hidden_layers": 2, "max_position_embeddings": 77,
        "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"], "eos_token_id": 9,
    }  # fmt: skip
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = Gemma3Config(
        text_config=text, vision_config={**vision, "image_size": 8, "patch_size": 4}, mm_tokens_per_image=4,
        boi_token_index=250, eoi_token_index=251, image_token_index=252,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    load(str(tiny("gemma3"))).tokenizer.save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    assert loaded.context == 77 and 9 in loaded.eos_ids
    engine = NativeEngine(loaded.fresh_copy(), frozenset(), context=loaded.context)
    found = engine.generate([Prompt((5, 8, 13), 2, 0)], Sampling(12))[0]
    with torch.no_grad():
        for c in found:
            whole = torch.log_softmax(loaded.model(torch.tensor([[5, 8, 13, *c.ids]])).logits[0, 2:-1], -1)
            ours = torch.tensor(c.logprobs)
            torch.testing.assert_close(ours, whole.gather(-1, torch.tensor(c.ids)[:, None])[:, 0], atol=1e-5, rtol=0)


def test_resolve() -> None:
    assert resolve("tiny").endswith("tiny/base")
    assert resolve("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert resolve("src") == "src"
