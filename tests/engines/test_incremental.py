"""The engine of a server: requests of different settings together draw what each draws alone."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from aha.engines.native import incremental
from aha.engines.native.controls import Controls
from aha.engines.native.engine import NativeEngine
from aha.engines.native.incremental import COMPANY, ENOUGH, MORE_COMPANY, IncrementalEngine
from aha.engines.native.request import Request, Sample
from aha.errors import UserError
from aha.models.loading import load
from aha.types import Prompt, Sampling

EOS = frozenset(range(200, 212))
ROOM = 2**26


def engine_of(folder: Path, slots: int = 16, room: int = ROOM) -> IncrementalEngine:
    loaded = load(str(folder))
    return IncrementalEngine(NativeEngine(loaded.model, frozenset(), context=loaded.context), slots=slots, room=room)


def request(
    ids: tuple[int, ...], n: int = 1, seed: int = 0, *, prompt_scores: int | None = None, **settings
) -> Request:
    controls = Controls(**{"max_tokens": 20, "stop_ids": EOS, **settings})
    return Request(ids, seed, controls, [Sample(i) for i in range(n)], prompt_scores)


def finish(engine: IncrementalEngine, *requests: Request) -> list[list[tuple[int, ...]]]:
    for each in requests:
        engine.submit(each)
    for _ in range(2000):
        if not engine.busy:
            break
        engine.step()
    assert all(each.ended for each in requests)
    return [[tuple(sample.ids) for sample in each.samples] for each in requests]


def mixed() -> list[Request]:
    """Requests of many settings."""
    long = tuple(range(30, 100))
    return [
        request((5, 8, 13), 3, 1),
        request((7,), 1, 2, temperature=0.0),
        request(long, 2, 3, temperature=0.7, top_p=0.9, max_tokens=40),
        request((5, 8, 13), 2, 4, top_k=5, max_tokens=7),
        request((100, 3), 4, 5, min_p=0.05, temperature=1.3),
        request((9, 9, 4), 2, 6, presence_penalty=1.5, frequency_penalty=0.5, repetition_penalty=1.2),
        request((1, 2), 1, 7, bias=((17, 4.0), (18, -100.0)), min_tokens=5, logprobs=3),
        request((1, 2), 1, 7, allowed=(40, 41, 42)),
    ]


def test_the_same_tokens_as_the_offline_engine(arch: Path) -> None:
    loaded = load(str(arch))
    offline = NativeEngine(loaded.fresh_copy(), EOS, context=loaded.context)
    engine = engine_of(arch)
    for sampling in (Sampling(20), Sampling(20, 0.0), Sampling(20, 0.7, 30, 0.9)):
        prompts = [Prompt((5, 8, 13), 3, 1), Prompt((7,), 1, 2), Prompt(tuple(range(30, 100)), 4, 3)]
        settings = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        requests = [request(p.ids, p.n, p.seed, **settings) for p in prompts]
        found = finish(engine, *requests)
        expected = offline.generate(prompts, sampling)
        assert found == [[c.ids for c in group] for group in expected]
        assert [[s.reason for s in r.samples] for r in requests] == [[c.stop_reason for c in g] for g in expected]


def test_alone_and_in_a_crowd(arch: Path) -> None:
    """Whatever runs beside a request, comes late, is called off, or makes it wait: its tokens are the same."""
    alone = engine_of(arch)
    expected = [finish(alone, each)[0] for each in mixed()]
    assert finish(engine_of(arch), *mixed()) == expected
    for seed in range(2):
        order, chance = list(enumerate(mixed())), random.Random(seed)
        chance.shuffle(order)
        engine = engine_of(arch, slots=chance.choice([4, 6, 16]))
        waiting, noise = list(order), [request((50 + i,), 2, i, max_tokens=9) for i in range(4)]
        for _ in range(2000):
            if waiting and chance.random() < 0.4:
                engine.submit(waiting.pop()[1])
            if noise and chance.random() < 0.4:
                engine.submit(noise.pop())
            for each in list(engine.waiting):
                each.cancelled = each not in [r for _, r in order] and chance.random() < 0.3
            engine.step()
            if not waiting and not noise and not engine.busy:
                break
        assert [[tuple(s.ids) for s in r.samples] for _, r in sorted(order, key=lambda pair: pair[0])] == expected


def test_scores_are_those_of_the_model(arch: Path) -> None:
    """Log-probs of prompt and answer against plain `transformers`, at any temperature, with the likeliest tokens."""
    stock = AutoModelForCausalLM.from_pretrained(arch, dtype=torch.float32, attn_implementation="eager")
    ids = tuple(range(30, 60))
    asked = request(ids, 1, 3, temperature=0.5, top_k=9, logprobs=4, prompt_scores=2, max_tokens=8)
    [[drawn]] = finish(engine_of(arch), asked, request((3,), 2, 1))[:1]
    whole = torch.tensor([[*ids, *drawn]])
    with torch.no_grad():
        expected = torch.log_softmax(stock(input_ids=whole, use_cache=False).logits[0].double(), -1)
    at = expected[torch.arange(whole.shape[1] - 1), whole[0, 1:]].tolist()
    scores = [*asked.scored, *asked.samples[0].scores]
    np.testing.assert_allclose([s.logprob for s in scores], at, atol=1e-4)
    for place, found in enumerate(scores):
        values, tokens = expected[place].topk(2 if place < len(ids) - 1 else 4)
        assert [token for token, _ in found.likeliest] == tokens.tolist()
        np.testing.assert_allclose([value for _, value in found.likeliest], values.tolist(), atol=1e-4)


def test_a_prompt_alone_is_scored(tiny) -> None:
    engine = engine_of(tiny("qwen3"))
    asked = request((5, 8, 13), prompt_scores=0, max_tokens=0)
    assert finish(engine, asked) == [[()]]
    assert len(asked.scored) == 2 and asked.samples[0].reason == "length"


def test_settings_do_what_they_say(tiny) -> None:
    engine = engine_of(tiny("qwen2"))
    [[a], [b], [c], [d], [e]] = finish(
        engine,
        request((4, 5), stop_ids=frozenset(), allowed=(40, 41, 42)),
        request((4, 5), stop_ids=frozenset(), bias=((77, 100.0),)),
        request((4, 5), stop_ids=frozenset(range(130)), min_tokens=6),
        request((4, 5), stop_ids=frozenset(), temperature=0.0, presence_penalty=1000.0),
        request((4, 5), stop_ids=frozenset(), temperature=0.0, repetition_penalty=1e9),
    )
    assert set(a) <= {40, 41, 42} and len(set(a)) > 1
    assert set(b) == {77}
    assert len(c) > 6 and min(c[:6]) >= 130 and c[-1] < 130
    assert len(set(d)) == len(d) == 20, "a token that was drawn is not drawn again"
    assert not {4, 5} & set(e) and len(set(e)) == len(e)


def test_min_p_cuts_by_the_likeliest(tiny) -> None:
    engine = engine_of(tiny("qwen2"))
    asked = request((17, 99, 4), 16, 1, min_p=0.2, temperature=1.5, logprobs=40, max_tokens=12)
    finish(engine, asked)
    for sample in asked.samples:
        for found in sample.scores:
            # p(token) at temperature 1.5 is a power of that at 1, up to a factor that all tokens share
            assert found.logprob >= found.likeliest[0][1] + 1.5 * math.log(0.2) - 1e-5


class Counting:
    """A guide that allows one token a step and ends after some; or fails."""

    def __init__(self, tokens: list[int], fails_at: int = 99) -> None:
        self.tokens, self.fails_at = tokens, fails_at

    def mask(self) -> torch.Tensor | None:
        mask = torch.zeros(260, dtype=torch.bool)
        mask[self.tokens[:1]] = True
        return mask

    def take(self, token: int) -> bool:
        assert token == self.tokens.pop(0)
        if len(self.tokens) <= self.fails_at < 99:
            raise RuntimeError("broken")
        return not self.tokens


def test_a_guide_leads_and_ends_its_sample_only(tiny) -> None:
    engine = engine_of(tiny("qwen2"))
    led, broken, stuck, free = (request((4, 5), 1, 3) for _ in range(4))
    led.samples[0].guide = Counting([9, 8, 7])
    broken.samples[0].guide = Counting([9, 8, 7], fails_at=1)
    stuck.samples[0].guide = Counting([])
    [expected] = finish(engine, request((4, 5), 1, 3))
    found = finish(engine, led, broken, stuck, free)
    assert found[0] == [(9, 8, 7)] and led.samples[0].reason == "stop"
    assert found[1] == [(9, 8)] and broken.samples[0].reason == "failed" and "broken" in broken.samples[0].fault
    assert found[2] == [()] and stuck.samples[0].reason == "failed"
    assert found[3] == expected


def test_calling_off(tiny) -> None:
    engine = engine_of(tiny("qwen2"), slots=2)
    running, waiting = request((4, 5), 2, 1, stop_ids=frozenset()), request((4, 5), 2, 2)
    engine.submit(running)
    engine.submit(waiting)
    engine.step()
    running.cancelled = waiting.cancelled = True
    assert set(map(id, engine.step())) == {id(running), id(waiting)}
    assert not engine.busy and {s.reason for s in [*running.samples, *waiting.samples]} == {"cancelled"}
    assert finish(engine, request((4, 5), 2, 2)) == finish(engine_of(tiny("qwen2")), request((4, 5), 2, 2))


@pytest.mark.parametrize(("patience_s", "steps"), [(-1.0, 2), (1e9, 2 * COMPANY // MORE_COMPANY)])
def test_prompts_wait_for_company_where_many_rows_run(
    tiny, monkeypatch: pytest.MonkeyPatch, patience_s: float, steps: int
) -> None:
    monkeypatch.setattr(incremental, "PATIENCE_S", patience_s)
    engine = engine_of(tiny("qwen2"), slots=3 * COMPANY)
    endless = {"max_tokens": 100, "stop_ids": frozenset()}
    engine.submit(request((4, 5), 2 * COMPANY, 1, **endless))
    engine.step()
    engine.submit(request((7, 8), **endless))
    for _ in range(steps - 1):
        engine.step()
        assert engine.running == 2 * COMPANY
    engine.step()
    assert engine.running == 2 * COMPANY + 1, "so many steps have been made"
    for i in range(3):
        engine.submit(request(tuple(range(ENOUGH // 3 + 1)), 1, i, max_tokens=2, stop_ids=frozenset()))
    engine.step()
    assert not engine.waiting, "they use a prefill well"


def test_room_is_kept_to(tiny) -> None:
    """Requests wait for the memory of others; what can never fit is refused."""
    wide = engine_of(tiny("qwen2"))
    bytes_of_place = wide.limits.place_bytes
    requests = [request(tuple(range(1, 60)), 2, i, max_tokens=100, stop_ids=frozenset()) for i in range(5)]
    expected = [finish(engine_of(tiny("qwen2")), each)[0] for each in requests]
    for each in requests:
        each.samples = [Sample(i) for i in range(2)]
    narrow = engine_of(tiny("qwen2"), room=4 * 192 * bytes_of_place)
    for each in requests:
        narrow.submit(each)
    most = 0
    for _ in range(2000):
        narrow.step()
        most = max(most, narrow.running)
        keys, _ = next(iter(narrow.cache.store.values()))
        assert keys.shape[0] * keys.shape[3] <= 4 * 192
        if not narrow.busy:
            break
    assert most == 4 and [[tuple(s.ids) for s in r.samples] for r in requests] == expected
    with pytest.raises(UserError, match="MiB of keys"):
        narrow.submit(request((1, 2), 4, max_tokens=200))


def test_what_cannot_run_is_said(tiny) -> None:
    engine = engine_of(tiny("qwen2"), slots=3)
    for bad, part in [
        (request(()), "empty prompt"),
        (request((1, 260)), "beyond 0 to 259"),
        (request((1,), 4), "4 samples"),
        (request((1,), max_tokens=0), "max_tokens=0"),
        (request((1,), max_tokens=256), "context of 256"),
    ]:
        with pytest.raises(UserError, match=part):
            engine.submit(bad)
    assert not engine.busy


def test_clear_ends_all_and_goes_on(tiny) -> None:
    engine = engine_of(tiny("qwen2"), slots=2)
    requests = [request((4, 5), 2, i) for i in range(3)]
    for each in requests:
        engine.submit(each)
    engine.step()
    assert len(engine.clear("broken")) >= 3
    assert {s.reason for r in requests for s in r.samples} == {"failed"} and not engine.busy
    assert finish(engine, request((4, 5), 2, 2)) == finish(engine_of(tiny("qwen2")), request((4, 5), 2, 2))
