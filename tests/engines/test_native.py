"""The native engine: what is sampled, in which order, and when it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from aha.engines.native.engine import NativeEngine
from aha.errors import UserError
from aha.models.loading import load
from aha.models.logits import hidden_states, logits
from aha.models.packing import Packed, rows
from aha.types import Completion, Prompt, Sampling

EOS = frozenset(range(200, 212))
PROMPTS = [
    Prompt((5, 8, 13), 6, 1),
    Prompt((7,), 1, 2),
    Prompt(tuple(range(30, 60)), 9, 3),
    Prompt((5, 8, 13), 4, 4),
    Prompt((100, 3), 5, 5),
]
SAMPLING = Sampling(20)


def engine_of(folder: Path, slots: int = 512, eos: frozenset[int] = EOS) -> NativeEngine:
    loaded = load(str(folder))
    return NativeEngine(loaded.model, eos, slots=slots, context=loaded.context)


def assert_same(one: list[list[Completion]], other: list[list[Completion]]) -> None:
    """The same tokens for the same reasons; log-probs within rounding."""
    assert [[(c.ids, c.stop_reason) for c in g] for g in one] == [[(c.ids, c.stop_reason) for c in g] for g in other]
    for a, b in zip((c for g in one for c in g), (c for g in other for c in g), strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_samples_do_not_depend_on_slots_order_or_batch_mates(arch: Path) -> None:
    engine = engine_of(arch)
    expected = engine.generate(PROMPTS, SAMPLING)
    assert [len(group) for group in expected] == [p.n for p in PROMPTS]
    for slots in (1, 3, 7):
        assert_same(engine_of(arch, slots).generate(PROMPTS, SAMPLING), expected)
    assert_same(engine_of(arch, 3).generate(PROMPTS[::-1], SAMPLING), expected[::-1])
    assert_same([engine.generate([p], SAMPLING)[0] for p in PROMPTS], expected)
    assert_same(engine.generate(PROMPTS, SAMPLING), expected)  # the cache is full of the past


def test_one_prompt_eight_times_is_eight_samples_of_it(tiny) -> None:
    """Sample number s of a seed is the same whether 1 or 8 are asked for; other seeds and numbers draw otherwise."""
    engine = engine_of(tiny("qwen3"))
    eight = engine.generate([Prompt((9, 4), 8, 11)], SAMPLING)[0]
    assert len({c.ids for c in eight}) == 8
    for n in (1, 3):
        assert_same([engine.generate([Prompt((9, 4), n, 11)], SAMPLING)[0]], [eight[:n]])
    apart = engine.generate([Prompt((9, 4), 1, 11)] * 8, SAMPLING)
    assert_same(apart, [eight[:1]] * 8)
    assert engine.generate([Prompt((9, 4), 1, 12)], SAMPLING)[0][0].ids != eight[0].ids


def test_prefill_in_several_parts(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(tiny("deepseek_v3"), slots=4)
    expected = engine.generate(PROMPTS, SAMPLING)
    monkeypatch.setattr("aha.engines.native.prefill.PREFILL_TOKENS", 31)
    assert_same(engine.generate(PROMPTS, SAMPLING), expected)


def test_stop_reasons(arch: Path) -> None:
    found = [c for group in engine_of(arch, 4).generate(PROMPTS, Sampling(24)) for c in group]
    assert {c.stop_reason for c in found} == {"stop", "length"}
    for c in found:
        assert c.policy_version == 0
        assert all(x <= 0 for x in c.logprobs)
        assert not set(c.ids[:-1]) & EOS
        if c.stop_reason == "stop":
            assert c.ids[-1] in EOS
        else:
            assert len(c.ids) == 24 and c.ids[-1] not in EOS


def test_the_end_as_first_and_as_last_token(tiny) -> None:
    """An end token counts as an end even where it is the first, or the last that `max_tokens` allows."""
    everything = frozenset(range(260))
    found = engine_of(tiny("qwen2"), 3, everything).generate(PROMPTS, Sampling(5))
    assert all(len(c.ids) == 1 and c.stop_reason == "stop" for group in found for c in group)
    found = engine_of(tiny("qwen2"), 3, everything).generate(PROMPTS, Sampling(1))
    assert all(c.stop_reason == "stop" for group in found for c in group)
    found = engine_of(tiny("qwen2"), 3, frozenset({258})).generate(PROMPTS, Sampling(1))
    assert all(len(c.ids) == 1 and c.stop_reason == "length" for group in found for c in group if c.ids != (258,))


def test_greedy_is_transformers_greedy(arch: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(arch, dtype=torch.float32, attn_implementation="eager")
    found = engine_of(arch, 2).generate(PROMPTS, Sampling(24, temperature=0.0))
    for prompt, group in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt.ids])
        whole = stock.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, eos_token_id=sorted(EOS)
        )
        assert {c.ids for c in group} == {tuple(whole[0, len(prompt.ids) :].tolist())}


def test_frequencies_are_the_distribution(tiny) -> None:
    """Chi-square of 20 000 first tokens over the likely ones against the model's own probabilities."""
    engine = engine_of(tiny("qwen2"), 4096, frozenset())
    n, ids = 20_000, (17, 99, 4)
    found = engine.generate([Prompt(ids, n, 123)], Sampling(1, temperature=1.3))[0]
    with torch.no_grad():
        layout = Packed(rows([3]))
        hidden = hidden_states(engine.model, torch.tensor(ids), layout.positions, layout)
        expected = n * torch.softmax(logits(engine.model, hidden[-1]).double() / 1.3, -1).numpy()
    counts = np.bincount([c.ids[0] for c in found], minlength=260).astype(float)
    likely = expected > 10
    observed = np.append(counts[likely], counts[~likely].sum())
    wanted = np.append(expected[likely], expected[~likely].sum())
    chi_square = float(((observed - wanted) ** 2 / wanted).sum())
    freedom = len(wanted) - 1
    assert freedom > 50
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_tokens_of_one_sample_are_independent(tiny) -> None:
    """The second token given the first follows the model too: each position has a random number of its own."""
    engine = engine_of(tiny("qwen2"), 4096, frozenset())
    n = 6000
    found = engine.generate([Prompt((17, 99, 4), n, 5)], Sampling(2, top_k=2))[0]
    pairs = [c.ids for c in found]
    for first in {ids[0] for ids in pairs}:
        of_first = [c for c in found if c.ids[0] == first]
        second = {c.ids[1]: float(np.exp(c.logprobs[1])) for c in of_first}
        assert sum(second.values()) == pytest.approx(1, abs=1e-5) and len(second) == 2
        for token, p in second.items():
            share = sum(c.ids[1] == token for c in of_first) / len(of_first)
            assert abs(share - p) < 4 * (p * (1 - p) / len(of_first)) ** 0.5


def test_publish_takes_over_weights_and_version(arch: Path) -> None:
    engine, other = engine_of(arch), load(str(arch))
    before = engine.generate(PROMPTS, SAMPLING)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in other.model.parameters():
            p += 0.1 * torch.randn_like(p)
    engine.publish(other.model.state_dict(), 7)
    after = engine.generate(PROMPTS, SAMPLING)
    assert {c.policy_version for group in after for c in group} == {7}
    assert after[0][0].logprobs[0] != before[0][0].logprobs[0]
    fresh = NativeEngine(other.fresh_copy(), EOS)
    assert_same(fresh.generate(PROMPTS, SAMPLING), after)
    with torch.no_grad():
        other.model.get_input_embeddings().weight.zero_()
    assert_same(engine.generate(PROMPTS, SAMPLING), after)  # taken over, not shared


def test_publish_refuses_other_weights_and_keeps_its_own(tiny) -> None:
    engine = engine_of(tiny("deepseek_v3"))
    expected = engine.generate(PROMPTS, SAMPLING)
    whole = {name: tensor + 1 for name, tensor in engine.model.state_dict().items()}
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert name in whole, "the router's bias travels with the weights"
    for weights in (
        {key: tensor for key, tensor in whole.items() if key != name},
        {**whole, "model.layers.9.weight": torch.zeros(1)},
        {**whole, name: torch.zeros(9)},
        {**whole, "model.norm.weight": torch.zeros(1)},  # would broadcast
    ):
        with pytest.raises(ValueError, match="published weights"):
            engine.publish(weights, 1)
    assert engine.version == 0
    assert_same(engine.generate(PROMPTS, SAMPLING), expected)


def test_publish_carries_the_router_bias(tiny) -> None:
    """A router's bias is a buffer, no parameter: it changes which experts are asked."""
    engine = engine_of(tiny("deepseek_v3"))
    before = engine.generate(PROMPTS, SAMPLING)
    weights = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    weights["model.layers.1.mlp.gate.e_score_correction_bias"] += torch.linspace(5, -5, 8)
    engine.publish(weights, 1)
    assert engine.generate(PROMPTS, SAMPLING)[0][0].logprobs != before[0][0].logprobs


@pytest.mark.parametrize(
    ("prompts", "sampling", "part"),
    [
        ([], Sampling(4), "no prompt"),
        ([Prompt((), 1, 0)], Sampling(4), "empty prompt"),
        ([Prompt(tuple(range(100)) * 3, 1, 0)], Sampling(4), "300 tokens"),
        ([Prompt((1, 2), 1, 0)], Sampling(255), "context of 256"),
        ([Prompt((1, 2), 0, 0)], Sampling(4), "at least 1"),
        ([Prompt((1, 2), 1, 0)], Sampling(0), "at least 1"),
    ],
)
def test_what_cannot_be_sampled_is_said(tiny, prompts: list[Prompt], sampling: Sampling, part: str) -> None:
    with pytest.raises(UserError, match=part) as caught:
        engine_of(tiny("llama")).generate(prompts, sampling)
    assert "\n" not in str(caught.value)


def test_the_whole_context_can_be_used(tiny) -> None:
    found = engine_of(tiny("llama"), eos=frozenset()).generate([Prompt((1, 2), 1, 0)], Sampling(254))
    assert len(found[0][0].ids) == 254


LONG = [
    Prompt(tuple(range(30, 60)), 5, 3),
    Prompt((7,), 2, 2),
    Prompt(tuple(range(90, 130)), 4, 1),
    Prompt((5, 8), 3, 9),
]


@pytest.mark.parametrize("kernels", [True, False])
def test_a_shared_prompt_is_read_as_a_copied_one(arch: Path, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of shared prompts come, end, and leave holes among the shared ones; some rows have none."""
    if not kernels:
        monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    expected = engine_of(arch, 6).generate(LONG, SAMPLING)
    monkeypatch.setattr("aha.engines.native.prefill.SHARED_FROM", 20)
    for slots in (1, 2, 6, 20):
        engine = engine_of(arch, slots)
        assert_same(engine.generate(LONG, SAMPLING), expected)
        assert engine.cache.prefixes, "the long prompts were shared"
        assert_same(engine.generate(LONG[::-1], SAMPLING), expected[::-1])


def test_looking_seldom_changes_nothing(arch: Path) -> None:
    """A GPU is asked for what it drew once in several steps; what comes after an end is dropped."""
    expected = engine_of(arch, 4).generate(PROMPTS, SAMPLING)
    for steps in (3, 8, 100):
        engine = engine_of(arch, 4)
        engine.steps_between_looks = steps
        assert_same(engine.generate(PROMPTS, SAMPLING), expected)


def test_kernels_change_nothing_but_rounding(arch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = engine_of(arch, 4).generate(PROMPTS, SAMPLING)
    monkeypatch.setattr("aha.models.kernels.fused.library", lambda: None)
    assert_same(engine_of(arch, 4).generate(PROMPTS, SAMPLING), expected)


def test_a_new_row_copies_nothing_of_the_others(tiny) -> None:
    """A row that takes a free slot writes its prompt there; the others' keys stay where they are."""
    engine = engine_of(tiny("qwen2"), 3, frozenset())
    stream = engine.stream([Prompt((5, 8, 13), 2, 1), Prompt((7, 9), 1, 2), Prompt((4, 4), 1, 3)], Sampling(9))
    copied: list[list[int]] = []
    move = engine.cache.move
    engine.cache.move = lambda stores, source, to, places: (copied.append(source), move(stores, source, to, places))[1]
    assert len(list(stream)) == 4
    assert not any(copied), "all three rows end together, and the fourth takes the first slot"
