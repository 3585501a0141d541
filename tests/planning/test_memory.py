"""What a stage holds: exact bytes of learner and engine, and how parts are divided over devices."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import pytest
import torch
from measuring import learn, learner_of, qwen3, samples
from torch import nn

from aha.config import override
from aha.engines.native.engine import NativeEngine
from aha.models.kernels.build import library
from aha.models.loading import load
from aha.pipeline.recipes import recipe
from aha.planning.dimensions import KNOWN, Dimensions, adapter_parameters, of_config, parameters
from aha.planning.hardware import GIB, GPUS, Device
from aha.planning.learners import learner_parts
from aha.planning.memory import (
    Needs,
    Part,
    Rows,
    cache_numbers,
    fitting,
    least,
    most_slots,
    rows_of,
    total,
)  # fmt: skip
from aha.planning.stages import Setting, describe
from aha.planning.work import Machine
from aha.training.lora import with_lora
from aha.types import Prompt, Sampling
from tiny_models import TinyFactory

MILLIONS: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64, "intermediate_size": 768, "tie_word_embeddings": False, "max_position_embeddings": 2048,
}  # fmt: skip
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def size(tensors: Any) -> int:
    """Bytes of the storages behind some tensors, each once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def held(model: nn.Module, dtype: torch.dtype, adapted: nn.Module | None = None) -> dict[str, int]:
    """Bytes that a learner with a reference holds after one update, gradients of the next one included."""
    learner = learner_of(adapted or model, dtype, 4096, reference=load_copy(model))
    rows = samples([20, 30])
    learn(learner, rows)
    learner.optim_step()
    learn(learner, rows)
    masters = learner._master
    gradients = [p.grad for p in masters if p.grad is not None]
    assert len(gradients) == len(masters)
    moments = [t for state in learner._adamw.state.values() for t in state.values() if t.ndim]
    assert learner.reference is not None
    return {
        "weights": size([*learner.model.parameters(), *masters]),
        "gradients": size(gradients),
        "optimiser": size(moments),
        "reference": size(learner.reference.parameters()),
    }


def load_copy(model: nn.Module) -> nn.Module:
    """Another model with the same weights."""
    return copy.deepcopy(model)


@DTYPES
@pytest.mark.parametrize("which", ["tiny", "millions"])
def test_states_are_those_of_the_learner(which: str, dtype: torch.dtype) -> None:
    model = load("tiny").model if which == "tiny" else qwen3(**MILLIONS)
    d, b = of_config(model.config), dtype.itemsize
    planned = {part.name: part.size for part in learner_parts(parameters(d), parameters(d), b)}
    assert {**planned, "reference": b * parameters(d)} == held(model, dtype)


@DTYPES
def test_states_of_adapters(dtype: torch.dtype) -> None:
    pytest.importorskip("peft")
    model = qwen3(**{**MILLIONS, "num_hidden_layers": 2})
    d, b = of_config(model.config), dtype.itemsize
    adapters = adapter_parameters(d, 4)
    found = held(model, dtype, with_lora(load_copy(model), rank=4, alpha=8.0))
    planned = {part.name: part.size for part in learner_parts(parameters(d) + adapters, adapters, b)}
    assert {**planned, "reference": b * parameters(d)} == found


@DTYPES
@pytest.mark.parametrize("prompt", [10, 70], ids=["copied prompts", "shared prompts"])
@pytest.mark.parametrize("name", ["tiny", "millions", "deepseek_v3", "gemma2"])
def test_the_engines_copy_and_its_cache(name: str, prompt: int, dtype: torch.dtype, tiny: TinyFactory) -> None:
    model = qwen3(**MILLIONS) if name == "millions" else load("tiny" if name == "tiny" else str(tiny(name))).model
    d, b = of_config(model.config), dtype.itemsize
    engine = NativeEngine(model, frozenset({0}), dtype=dtype, slots=12)
    prompts = [Prompt(tuple(5 + (i * k) % 90 for i in range(prompt)), 6, k) for k in range(1, 4)]
    engine.generate(prompts, Sampling(max_tokens=8))
    cached = size(t for store in (engine.cache.store, engine.cache.prefixes) for pair in store.values() for t in pair)
    room = rows_of(d, b, rows=18, samples=6, slots=12, prompt=prompt, longest=8, path="torch")
    planned = fitting(Needs((), rows=room), 1, GPUS["H100"])
    assert {p.name: p.size for p in planned.parts}["KV cache"] == cached
    weights = size(engine.model.parameters())
    panels = size([*_panels(engine)]) if engine._whole is not None else 0
    expected = {part.name: part.size for part in engine_parts(d, b, kernels=engine._whole is not None)}
    assert weights == expected["engine's weights"]
    assert panels == pytest.approx(expected.get("engine's panels", 0), rel=0.1)  # filled up to whole columns


def _panels(engine: NativeEngine) -> list[torch.Tensor]:
    whole = engine._whole
    assert whole is not None
    return [whole._head_panels, *(t for x in whole._layers for t in (x.qkv, x.out, x.gate_up, x.down))]


def engine_parts(d: Dimensions, b: int, kernels: bool) -> tuple[Part, ...]:
    """As a stage lists them, for a model of other sizes."""
    setting = Setting(Machine(GPUS["H100"], dtype="bfloat16" if b == 2 else "float32"), 20, kernels)
    with mock.patch("aha.planning.stages.find", lambda _: d):
        return describe(recipe("demo"), "zero", setting).needs.engine


def test_kernels_have_panels() -> None:
    if library() is None:
        pytest.skip("there are no kernels here")
    names = [part.name for part in engine_parts(of_config(load("tiny").model.config), 2, True)]
    assert names == ["engine's weights", "engine's panels"]


def test_keys_and_values_of_a_token() -> None:
    qwen, deepseek = KNOWN["Qwen/Qwen2.5-7B"], KNOWN["deepseek-ai/DeepSeek-V3-Base"]
    assert cache_numbers(qwen) == 28 * 4 * (128 + 128) == cache_numbers(qwen, compressed=True)
    assert cache_numbers(deepseek) == 61 * 128 * (192 + 128)  # as its own code gives them to attention
    assert cache_numbers(deepseek, compressed=True) == 61 * (512 + 64)  # DeepSeek-V2, section 2.1.4


GB = Device("1 GiB", 10 * GIB / 9, 1, 1, 1)  # of which 1 GiB can be used


def part(name: str, gib: float, when: Any = "always") -> Part:
    return Part(name, gib * GIB, "", when)


def test_learning_and_sampling_take_turns() -> None:
    assert (
        total([part("a", 1), part("b", 2, "learning"), part("c", 1, "learning"), part("d", 2.5, "sampling")]) == 4 * GIB
    )


def test_how_many_devices() -> None:
    needs = Needs((part("states", 4.0),), (part("engine", 0.1),), (part("activations", 0.5, "learning"),))
    assert not fitting(needs, 8, GB).fits or least(needs, GB) == 16
    # 4 / n + 0.1 + 0.5 <= 1 from n = 10 on; an engine is not divided where that is not needed
    assert fitting(needs, 10, GB).fits and fitting(needs, 10, GB).engine == 1
    assert least(needs, GB) == 16  # beyond 8 in eights
    # divided over 4, an engine makes room on 8 devices
    assert fitting(Needs((part("states", 4.0),), (part("engine", 0.6),), ()), 8, GB).engine == 2
    assert least(Needs((), (), (part("activations", 1.1, "learning"),)), GB) is None
    assert least(Needs((part("states", 0.9),)), GB) == 1


def test_the_most_slots() -> None:
    needs = Needs((part("states", 0.5),), rows=Rows(count=1000, slots=100, cache=0.01 * GIB))
    assert not fitting(needs, 1, GB).fits
    slots = most_slots(needs, 1, GB)
    assert slots == 48  # 0.5 / 0.01 are 50; rows are rounded up in eights
    assert most_slots(Needs((part("states", 2),), rows=Rows(10, 10, cache=1.0)), 1, GB) == 0


def test_rows_beyond_the_models_context_are_named() -> None:
    setting = Setting(Machine(GPUS["H100"]), 160)
    long = override(recipe("zero"), ["model=Qwen/Qwen2.5-Math-7B", "rollouts.max_tokens=4096"])
    assert any("exceed the model's context of 4,096" in note for note in describe(long, "zero", setting).notes)
    assert not describe(override(long, ["zero.rollouts.max_tokens=2048"]), "zero", setting).notes
