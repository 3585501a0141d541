"""The engine's thread: who is woken, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aha.engines.native.controls import Controls
from aha.engines.native.engine import NativeEngine
from aha.engines.native.incremental import IncrementalEngine
from aha.engines.native.request import Request, Sample
from aha.models.loading import load
from aha.serving import driver
from aha.serving.guide import FREE, Guides, Rules
from aha.serving.loop import EngineLoop

SECONDS = 120.0  # after which a test has failed that waits


class Counted(asyncio.Event):
    """An event that knows how often it was set."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def set(self) -> None:
        self.times += 1
        super().set()


class Script:
    """An engine that ends one request a step, the last of them when it is told to."""

    meanwhile: Callable[[], None]

    def __init__(self) -> None:
        self.waiting: list[Request] = []
        self.computing, self.go_on = threading.Event(), threading.Event()

    @property
    def busy(self) -> bool:
        return bool(self.waiting)

    def submit(self, request: Request) -> None:
        self.waiting.append(request)

    def step(self) -> list[Request]:
        if len(self.waiting) == 1:
            self.meanwhile()
            self.computing.set()
            assert self.go_on.wait(SECONDS)
        ended = self.waiting.pop(0)
        ended.samples[0].reason = "stop"
        return [ended]

    def clear(self, fault: str) -> list[Request]:
        return []


def request(tokens: int = 6) -> Request:
    return Request((5, 8, 13), 1, Controls(max_tokens=tokens), [Sample(0)])


class NoGuides(Guides):
    """Makes none."""

    def __init__(self) -> None:
        pass

    def make(self, rules: Rules) -> None:
        return None


def loop_of(engine: Any) -> EngineLoop:
    return EngineLoop(engine, threads=1, guides=NoGuides())


async def ended(loop: EngineLoop, asked: Request, *, streaming: bool) -> Counted:
    """Submit a request and wait for its end."""
    changed = Counted()
    loop.submit(asked, FREE, streaming=streaming, changed=changed)
    async with asyncio.timeout(SECONDS):
        while not asked.ended:
            await changed.wait()
            changed.clear()
    return changed


def test_ends_are_told_while_the_next_step_computes() -> None:
    """And that of the last request without a next step."""
    engine: Any = Script()
    first, second = request(), request()

    async def main() -> None:
        loop = loop_of(engine)
        waits = [Counted(), Counted()]
        for asked, changed in zip((first, second), waits, strict=True):
            loop.submit(asked, FREE, streaming=False, changed=changed)
        loop.start()
        await asyncio.wait_for(waits[0].wait(), SECONDS)
        assert engine.computing.wait(SECONDS) and not second.ended and not waits[1].is_set()
        engine.go_on.set()
        await asyncio.wait_for(waits[1].wait(), SECONDS)
        assert [changed.times for changed in waits] == [1, 1]
        loop.stop()

    asyncio.run(main())


@pytest.fixture
def engine(tiny: Any) -> IncrementalEngine:
    loaded = load(str(tiny("qwen3")))
    return IncrementalEngine(NativeEngine(loaded.model, frozenset(), context=loaded.context), slots=4, room=2**24)


@pytest.mark.parametrize(("a_second", "times"), [(1e-9, 2), (1e12, 6)])
def test_a_stream_is_woken_at_its_first_token_and_as_often_as_may_be(
    engine: IncrementalEngine, monkeypatch: pytest.MonkeyPatch, a_second: float, times: int
) -> None:
    monkeypatch.setattr(driver, "MESSAGES_A_SECOND", a_second)

    async def main() -> list[Counted]:
        loop = loop_of(engine)
        loop.start()
        found = [await ended(loop, request(), streaming=streaming) for streaming in (True, False)]
        loop.stop()
        return found

    assert [changed.times for changed in asyncio.run(main())] == [times, 1]


def test_an_end_is_told_once(engine: IncrementalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a request ends before the model is computed for others: with its first token, or called off."""
    monkeypatch.setattr(driver, "MESSAGES_A_SECOND", 1e12)
    long, _, gone = works = [driver.Work(request=request(tokens), streaming=True) for tokens in (30, 1, 30)]
    ends: list[driver.Work] = []

    def tell(told: list[driver.Work]) -> None:
        ends.extend(work for work in told if work.request.ended)
        gone.request.cancelled = gone in told or gone.request.cancelled
        if all(work.request.ended for work in works):
            made.stop()

    made = driver.Driver(engine, 1, tell)
    for work in works:
        made.put(work)
    made.run()
    assert [ends.count(work) for work in works] == [1, 1, 1]
    assert (gone.request.samples[0].reason, len(long.request.samples[0].ids)) == ("cancelled", 30)


def test_who_waits_is_told_before_a_long_prefill_and_before_each_step(
    engine: IncrementalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    native: Any = engine.engine
    forward, next_logits = native.forward, native.next_logits
    monkeypatch.setattr(native, "forward", lambda *given: (order.append("prefill"), forward(*given))[1])
    monkeypatch.setattr(native, "next_logits", lambda *given: (order.append("step"), next_logits(*given))[1])
    engine.meanwhile = lambda: order.append("meanwhile")
    asked = request(tokens=3)
    engine.submit(asked)
    while engine.busy:
        engine.step()
    assert order == ["meanwhile", "prefill", "meanwhile", "step", "meanwhile", "step"] and asked.ended


def test_a_request_that_cannot_run_ends_as_failed(engine: IncrementalEngine) -> None:
    asked = request(tokens=10**6)

    async def main() -> None:
        loop = loop_of(engine)
        loop.start()
        await ended(loop, asked, streaming=False)
        loop.stop()

    asyncio.run(main())
    assert asked.samples[0].reason == "failed" and "context" in asked.samples[0].fault


def test_a_request_that_has_ended_is_only_told_of() -> None:
    """As one whose grammar could not be compiled."""
    engine: Any = Script()
    asked = request()
    asked.samples[0].reason = "failed"
    told: list[Any] = []
    made = driver.Driver(engine, 1, told.extend)
    made.put(driver.Work(request=asked, streaming=True))
    made.stop()
    made.run()
    assert [work.request for work in told] == [asked] and not engine.waiting


def test_a_driver_that_breaks_tells_of_all() -> None:
    engine: Any = Script()
    stranger = request()
    stranger.samples[0].reason = "stop"
    engine.step = lambda: [stranger]
    told: list[Any] = []
    made = driver.Driver(engine, 1, told.extend)
    work = driver.Work(request=request(), streaming=False)
    made.put(work)
    with pytest.raises(KeyError):
        made.run()
    assert told == [work]


def test_what_runs_when_the_thread_ends_is_told() -> None:
    engine: Any = Script()

    async def main() -> int:
        loop, changed = loop_of(engine), Counted()
        loop.submit(request(), FREE, streaming=False, changed=changed)
        loop.start()
        assert await asyncio.to_thread(engine.computing.wait, SECONDS)
        stopping = asyncio.ensure_future(asyncio.to_thread(loop.stop, SECONDS))
        engine.go_on.set()
        await stopping
        await asyncio.wait_for(changed.wait(), SECONDS)
        return changed.times

    assert asyncio.run(main()) == 1
