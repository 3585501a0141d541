"""The whole step of a kernel against the model's layers one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from aha.engines.native.cache import Recorder, SlotCache
from aha.engines.native.engine import NativeEngine
from aha.engines.native.step import Step, fits, panels
from aha.models.decoder import Frozen
from aha.models.kernels import build
from aha.models.loading import cast_, load
from aha.models.logits import logits
from aha.models.packing import Packed, rows
from aha.types import Prompt, Sampling

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler with OpenMP")

COVERED = ["llama", "qwen2", "qwen3"]
PREFIX = torch.arange(40, 49)
OWN = [torch.tensor([7, 3, 9, 120]), torch.tensor([6]), torch.tensor([5, 5]), torch.tensor([30, 31, 32])]
SHARED = [True, False, True, False]  # rows that continue the prefix
STEPS = torch.tensor([[1, 2, 3, 4], [50, 51, 52, 53], [9, 9, 9, 9]])
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def filled(forward: Frozen) -> SlotCache:
    """A cache with the prefix, and with the rows' own tokens."""
    device = torch.device("cpu")
    cache = SlotCache(device)
    streams = [PREFIX, *(torch.cat([PREFIX, own]) if on else own for own, on in zip(OWN, SHARED, strict=True))]
    recorder = Recorder(rows([len(s) for s in streams]))
    forward(torch.cat(streams), recorder.positions, recorder)
    cache.reserve(recorder.kept, slots=4, places=20, prefixes=1, longest=len(PREFIX))
    cache.write_prefix(recorder.kept, slice(0, len(PREFIX)), 0)
    end = len(PREFIX)
    for row, stream in enumerate(streams[1:]):
        end += len(stream)
        cache.write_own(recorder.kept, slice(end - len(OWN[row]), end), torch.tensor([row]))
    cache.group([0 if on else None for on in SHARED], len(PREFIX))
    return cache


def steps(model: torch.nn.Module, order: list[int], whole: bool) -> Iterator[Tensor]:
    """Logits [n, V] of each of STEPS for the rows `order`, by the kernel or layer by layer."""
    forward = Frozen(model)
    assert forward.decoder is not None
    cache, step = filled(forward), Step(model, forward.decoder)
    assert order == list(range(len(order))), "rows of the cache are the first ones"
    depth = torch.tensor([len(PREFIX) if SHARED[row] else 0 for row in order])
    for number, ids in enumerate(STEPS):
        own = torch.tensor([len(OWN[row]) + number for row in order])
        cache.begin(own, depth, int(own.max()) + 1)
        with torch.no_grad():
            found = (
                step(ids[order], own, depth, cache)
                if whole
                else logits(model, forward(ids[order], own + depth, cache))
            )
        yield found.float()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("architecture", COVERED)
def test_it_is_the_model(tiny, architecture: str, dtype: torch.dtype) -> None:
    for changes in ({}, {"attention_bias": True} if architecture != "qwen2" else {"tie_word_embeddings": True}):
        model = cast_(load(str(tiny(architecture, **changes))).model, dtype)
        everyone = list(range(len(OWN)))
        for found, expected in zip(steps(model, everyone, True), steps(model, everyone, False), strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype] * scale, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_row_has_the_same_bits_alone_and_beside_others(tiny, dtype: torch.dtype) -> None:
    model = cast_(load(str(tiny("qwen3"))).model, dtype)
    together = list(steps(model, [0, 1, 2, 3], True))
    for count in (1, 2, 3):
        for found, expected in zip(steps(model, list(range(count)), True), together, strict=True):
            assert torch.equal(found, expected[:count])


def test_it_ends_where_plain_rows_do(tiny) -> None:
    """After the last step every row's logits are those of its whole text, read at once."""
    model = load(str(tiny("qwen2"))).model
    last = list(steps(model, [0, 1, 2, 3], True))[-1]
    for row, own in enumerate(OWN):
        text = torch.cat([PREFIX if SHARED[row] else own[:0], own, STEPS[:, row]])
        layout = Packed(rows([len(text)]))
        with torch.no_grad():
            expected = logits(model, Frozen(model)(text, layout.positions, layout))[-1]
        torch.testing.assert_close(last[row], expected, atol=1e-5, rtol=1e-5)


def test_which_models_have_one(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoder(name: str, **changes: object) -> object:
        return Frozen(load(str(tiny(name, **changes))).model).decoder

    assert all(fits(decoder(name)) for name in COVERED)
    assert not fits(decoder("gemma")) and not fits(decoder("llama", intermediate_size=23))
    assert not fits(Frozen(load(str(tiny("llama"))).model.double()).decoder)
    monkeypatch.setattr("aha.engines.native.step.MOST_COPIED", 1000)
    assert not fits(decoder("llama"))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_panels_hold_every_number_once(dtype: torch.dtype) -> None:
    found = build.library()
    assert found is not None
    columns = found.panel_columns()
    weight = torch.arange(1.0, 6 * (columns + 2) + 1).view(columns + 2, 6).to(dtype)
    out = panels(weight)
    pair = 2 if dtype == torch.bfloat16 else 1
    assert out.shape == (2, 6 // pair, columns, pair)
    for row in (0, 1, columns - 1, columns, columns + 1):
        for k in range(6):
            assert out[row // columns, k // pair, row % columns, k % pair] == weight[row, k]
    assert not out[1, :, 2:].any()


def test_the_engine_follows_published_weights_and_long_texts(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(str(tiny("llama")))
    engine = NativeEngine(loaded.fresh_copy(), frozenset())
    monkeypatch.setattr("aha.engines.native.step.POSITIONS", 16)
    prompts, sampling = [Prompt((5, 8), 3, 1)], Sampling(40)
    before = engine.generate(prompts, sampling)
    weights = {name: 0.9 * tensor for name, tensor in loaded.model.state_dict().items()}
    engine.publish(weights, 1)
    after = engine.generate(prompts, sampling)
    assert [c.ids for c in before[0]] != [c.ids for c in after[0]]
    model = loaded.fresh_copy()
    model.load_state_dict(weights)
    fresh = NativeEngine(model, frozenset()).generate(prompts, sampling)
    assert [(c.ids, c.logprobs) for c in after[0]] == [(c.ids, c.logprobs) for c in fresh[0]]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_long_rows_are_seen_whole(tiny, dtype: torch.dtype) -> None:
    """Prefixes and own texts of more places than attention looks at together."""
    model = cast_(load(str(tiny("qwen3", max_position_embeddings=4096))).model, dtype)
    for depth, own in ((0, 700), (600, 5), (513, 300), (256, 256)):
        generator = torch.Generator().manual_seed(depth)
        text = torch.randint(0, 250, (depth + own,), generator=generator)
        forward = Frozen(model)
        recorder = Recorder(rows([depth + own]))
        expected = logits(model, forward(text, recorder.positions, recorder))[-1].detach().float()
        cache = SlotCache(torch.device("cpu"))
        cache.reserve(recorder.kept, slots=1, places=own + 1, prefixes=int(depth > 0), longest=depth)
        if depth:
            cache.write_prefix(recorder.kept, slice(0, depth), 0)
        cache.write_own(recorder.kept, slice(depth, depth + own), torch.tensor([0]))
        cache.group([0 if depth else None], depth)
        at, after = torch.tensor([own - 1]), torch.tensor([depth])
        cache.begin(at, after, own)
        assert forward.decoder is not None
        with torch.no_grad():
            found = Step(model, forward.decoder)(text[-1:], at, after, cache)[0].float()
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype] * scale, rtol=0)
