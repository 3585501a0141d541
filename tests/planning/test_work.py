"""Operations and times: by hand, against PyTorch's own count, and as the roofline says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from measuring import learn, learner_of, qwen3, samples
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from aha.engines.native.engine import NativeEngine
from aha.models.loading import load
from aha.planning.activations import grouped
from aha.planning.dimensions import KNOWN, Dimensions, head_weights, multiplied, of_config
from aha.planning.hardware import Device
from aha.planning.work import (
    HOST_BYTES_S,
    LAYER_CALLS,
    STEP_CALLS,
    Cost,
    Draw,
    Machine,
    Pass,
    Update,
    cost,
    forward_flops,
    pair_flops,
    pairs_of,
    step_weights,
    steps_of,
)  # fmt: skip
from aha.types import Prompt, Sampling
from tiny_models import TinyFactory

# 2 layers of hidden 8: attention 8 x 8 + 2 x 8 x 4 + 8 x 8 = 192, MLP 3 x 8 x 16 = 384
SMALL = Dimensions("qwen3", 10, 8, 2, 2, 1, 4, 4, 16, 100, tied=True)
UNIT = Device("unit", 1e12, 1e6, 1e6, 1e5)
MACHINE = Machine(UNIT, mfu=0.5, bandwidth_share=0.5)


def test_by_hand() -> None:
    assert multiplied(SMALL) == 2 * (192 + 384)
    assert pair_flops(SMALL) == 2 * 2 * 2 * 8
    assert pairs_of(3, 2) == 4 + 5  # the first token looks at the prompt and itself, the second at one more
    assert forward_flops(SMALL, 5, 9, 2) == 2 * 1152 * 5 + 64 * 9 + 2 * 80 * 2


def test_a_pass() -> None:
    ((name, forward),) = cost(Pass("reference", SMALL, rows=10, prompts=2, prompt=3, response=2), MACHINE)
    assert name == "reference" and forward.tokens == 20
    assert forward.flops == 2 * 1152 * 26 + 64 * (10 * 9 + 2 * 6) + 160 * 20
    assert forward.seconds == forward.flops / 5e5
    one = Pass("learn", SMALL, 10, 2, 3, 2, backward=True)
    ((_, learned),) = cost(one, MACHINE)
    assert learned.flops == 3 * forward.flops
    for again in (cost(one, replace(MACHINE, recompute=True)), cost(replace(one, recompute=True), MACHINE)):
        assert again[0][1].flops == 4 * forward.flops - 160 * 20, "the head is not computed again"
    ((_, read),) = cost(Pass("reference", SMALL, 10, 2, 3, 2, recompute=True), MACHINE)
    assert read == forward
    ((_, heads),) = cost(replace(one, tensor=4), MACHINE)
    assert heads.flops == learned.flops + 3 * 3 * 160 * 20, "each of the four computes the head"
    ((_, shared),) = cost(one, replace(MACHINE, count=4))
    assert shared.seconds == learned.seconds / 4


def test_updates_in_main_memory() -> None:
    """Two moments and a master read and written, a gradient read, in float32; a gradient and a weight on their way."""
    one = Update("policy, updates", trained=1000, updates=3)
    ((name, found),) = cost(one, replace(MACHINE, count=2))
    assert name == "policy, updates" and found.bound == "bytes" and (found.flops, found.tokens) == (0, 0)
    assert found.seconds == 3 * 1000 * (28 + 4 + 2) / (2 * HOST_BYTES_S)
    ((_, here),) = cost(one, replace(MACHINE, device=replace(UNIT, gpu=False)))
    assert here.seconds == 3 * 1000 * 28 / (1e5 / 2)


def draw(**changes: Any) -> Draw:
    given: dict[str, Any] = {
        "name": "rollouts", "d": SMALL, "calls": 3, "prompts": 2, "samples": 5, "prompt": 4, "response": 6,
        "longest": 6, "slots": 100, "path": "kernels",
    }  # fmt: skip
    return Draw(**{**given, **changes})


def decode(machine: Machine = MACHINE, **changes: Any) -> Cost:
    return dict(cost(draw(**changes), machine))["rollouts"]


def test_steps() -> None:
    assert steps_of(draw()) == 6
    assert steps_of(draw(slots=4)) == 18  # 10 rows in 3 turns
    assert steps_of(draw(response=2)) == 6  # one row runs to the limit
    assert steps_of(draw(response=5, slots=5)) == 10  # 50 tokens, 5 at a time


def test_decoding_is_bound_by_what_takes_longest() -> None:
    flops = 30 * (6 * 2 * (1152 + 80) + 64 * pairs_of(4, 6))
    assert decode().flops == flops and decode().tokens == 180
    fast = Machine(Device("fast", 1e12, 1e18, 1e18, 1e5), mfu=0.5, bandwidth_share=0.5)
    read = 18 * (1152 + 80) + 30 * pairs_of(4, 6) * 2 * 1 * 8  # weights a step; keys and values of 2 layers
    assert decode(fast) == Cost(180, flops, 2 * read / 5e4, decode().formula, "bytes")
    faster = Machine(Device("faster", 1e12, 1e18, 1e18, 1e18))
    assert decode(faster).bound == "calls"
    assert decode(faster).seconds == pytest.approx(18 * STEP_CALLS * 5e-6)
    assert decode(faster, path="torch").seconds == pytest.approx(18 * (STEP_CALLS + 2 * LAYER_CALLS["torch"]) * 5e-6)
    assert decode(Machine(Device("slow", 1e12, 1.0, 1.0, 1e18))).bound == "FLOPs"


def test_engines_share_rows() -> None:
    """On two devices each engine has half of the rows and reads all weights in each of its steps."""
    fast = Machine(Device("fast", 1e12, 1e18, 1e18, 1e5), count=2, mfu=0.5, bandwidth_share=0.5)
    pairs = 30 * pairs_of(4, 6) * 16
    assert decode(fast).seconds == pytest.approx(2 * (2 * 18 * 1232 + pairs) / 1e5)
    together = replace(fast, engine=2)
    assert decode(together).seconds == pytest.approx(2 * (18 * 1232 + pairs) / 1e5)


def test_experts_that_a_step_reads() -> None:
    d = KNOWN["deepseek-ai/DeepSeek-V3-Base"]
    assert step_weights(d, 1) == multiplied(d) + head_weights(d)  # the 8 that one token takes
    everything = step_weights(d, 1e6)
    assert everything == pytest.approx(671e9, rel=0.005)
    assert step_weights(d, 1) < step_weights(d, 16) < everything


def flops_counted(model: Any, lengths: list[int], backward: bool, **options: bool) -> int:
    learner, rows = learner_of(model, torch.float32, sum(lengths), **options), samples(lengths)
    with FlopCounterMode(display=False) as counter:
        learn(learner, rows) if backward else learner.logprobs(rows)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["qwen3", "qwen2", "deepseek_v3"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "learn"])
def test_pytorch_counts_as_many(name: str, backward: bool, tiny: TinyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention computes whole blocks, of which a causal row needs half: here it is counted as computed."""
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    model: Any = load(str(tiny(name))).model
    if name == "deepseek_v3":
        model.set_experts_implementation("eager")  # the counter knows no grouped products
    d, lengths = of_config(model.config), [33] * 8
    blocks = sum(count * queries * keys for count, queries, keys in grouped(lengths))
    tokens, predicted = 264 + 56, 256  # a stream's size is rounded: 264 tokens to 320, 256 predictions stay
    expected = forward_flops(d, tokens, blocks, predicted) * (3 if backward else 1)
    assert flops_counted(model, lengths, backward) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_pytorch_counts_layers_again(name: str, tiny: TinyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    model: Any = load(str(tiny(name))).model
    once = flops_counted(model, [33] * 8, True)
    found = flops_counted(model, [33] * 8, True, recompute=True) - once
    d = of_config(model.config)
    blocks = sum(count * queries * keys for count, queries, keys in grouped([33] * 8))
    again = forward_flops(d, 320, blocks, 0)
    last = d.layers * 2 * 320 * d.hidden * d.inner  # a layer's last product is not needed again
    assert again - last <= found * 1.02 and found <= again * 1.02


class Calls(TorchDispatchMode):
    """Counts operations other than views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)
        return function(*args, **(kwargs or {}))


def calls_of_a_step(model: Any) -> float:
    def counted(tokens: int) -> int:
        engine = NativeEngine(model, frozenset())
        with Calls() as calls:
            engine.generate([Prompt((5, 6, 7), 4, 1)], Sampling(max_tokens=tokens))
        return calls.count

    return (counted(12) - counted(4)) / 8


@pytest.mark.parametrize(("name", "path"), [("qwen3", "torch"), ("deepseek_v3", "transformers")])
def test_calls_of_a_layer_and_of_a_step(
    name: str, path: str, tiny: TinyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSeek's first layer has no experts, so what is beside its layers does not follow."""
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    two, three = (calls_of_a_step(load(str(tiny(name, num_hidden_layers=n))).model) for n in (2, 3))
    assert LAYER_CALLS[path] == pytest.approx(three - two, rel=0.3)
    if path == "torch":
        assert pytest.approx(three - 3 * (three - two), rel=0.3) == STEP_CALLS


def test_calls_of_a_micro_batch(tiny: TinyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)

    def counted(layers: int) -> int:
        learner = learner_of(load(str(tiny("llama", num_hidden_layers=layers))).model, torch.float32, 4096)
        learn(learner, samples([30, 30]))
        with Calls() as calls:
            learn(learner, samples([30, 30]))
        return calls.count

    assert counted(3) - counted(2) == pytest.approx(3 * LAYER_CALLS["torch"], rel=0.4)


def test_a_learners_products_reach_its_formula() -> None:
    """Of a model whose products are nearly all of it, 6 N T alone comes near."""
    model = qwen3(
        vocab_size=300, hidden_size=128, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2, head_dim=32,
        intermediate_size=512, tie_word_embeddings=True,
    )  # fmt: skip
    d = of_config(model.config)
    ((_, learned),) = cost(Pass("learn", d, 16, 0, 0, 64, backward=True), MACHINE)
    assert learned.flops == pytest.approx(6 * (multiplied(d) + head_weights(d)) * 1024, rel=0.05)
