"""The engine in a thread of the server's process, and the way between it and the event loop.

    loop = EngineLoop(engine, threads=2, guides=guides)
    loop.start()
    work = loop.submit(request, rules, streaming=True, changed=event)      # in the event loop
    await event.wait(); request.samples[0].ids                             # all tokens until now
    loop.cancel(work); loop.stop()

`replicas.py` has the same over processes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from aha.engines.native.incremental import IncrementalEngine
from aha.engines.native.request import Request
from aha.serving.driver import Driver, Work
from aha.serving.guide import Guides, Rules

STOPPED = "the engine has stopped; the server has to be started again"

log = logging.getLogger("aha.serving")


class Loop(Protocol):
    """Where a server's requests are run. Its methods are for the event loop's thread."""

    @property
    def faults(self) -> int:
        """Failures of engines."""
        ...

    @property
    def running(self) -> int:
        """Samples that draw."""
        ...

    @property
    def usage(self) -> float:
        """The share of the room for keys and values that is filled."""
        ...

    @property
    def alive(self) -> bool:
        """True where requests are served."""
        ...

    @property
    def trouble(self) -> str:
        """What is wrong, in words; "" where all is well."""
        ...

    def start(self) -> None:
        """Begin to serve."""
        ...

    async def attach(self) -> None:
        """Wait until requests can be taken. In the event loop that submits them."""
        ...

    def submit(self, request: Request, rules: Rules, *, streaming: bool, changed: asyncio.Event) -> Work:
        """Run a request under `rules`; `changed` is set where there is news. One that is refused ends as failed."""
        ...

    def cancel(self, work: Work) -> None:
        """Take back a request: its rows are free at the next step."""
        ...

    def stop(self, timeout_s: float = 10.0) -> None:
        """End; what still runs ends as failed."""
        ...


@dataclass(slots=True, eq=False, kw_only=True)
class Waiting(Work):
    """A request whose news an event loop waits for."""

    changed: asyncio.Event
    home: asyncio.AbstractEventLoop


class EngineLoop:
    """A `Loop` in a thread, to which `engine` belongs."""

    def __init__(self, engine: IncrementalEngine, threads: int, guides: Guides) -> None:
        self.engine, self._guides = engine, guides
        self._driver = Driver(engine, threads, _wake)
        self._thread = threading.Thread(target=self._driver.run, name="aha-engine", daemon=True)

    @property
    def faults(self) -> int:
        """As `Loop`."""
        return self._driver.faults

    @property
    def running(self) -> int:
        """As `Loop`."""
        return self.engine.running

    @property
    def usage(self) -> float:
        """As `Loop`."""
        return self.engine.usage

    @property
    def alive(self) -> bool:
        """As `Loop`."""
        return self._thread.is_alive() and not self._driver.fault

    @property
    def trouble(self) -> str:
        """As `Loop`."""
        return "" if self.alive else STOPPED

    def start(self) -> None:
        """As `Loop`."""
        self._thread.start()

    async def attach(self) -> None:
        """As `Loop`: it takes requests from anywhere."""

    def submit(self, request: Request, rules: Rules, *, streaming: bool, changed: asyncio.Event) -> Work:
        """As `Loop`."""
        for sample in request.samples:
            sample.guide = self._guides.make(rules)
        home = asyncio.get_running_loop()
        work = Waiting(request=request, streaming=streaming, changed=changed, home=home)
        self._driver.put(work)
        return work

    def cancel(self, work: Work) -> None:
        """As `Loop`."""
        work.request.cancelled = True

    def stop(self, timeout_s: float = 10.0) -> None:
        """As `Loop`."""
        self._driver.stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)


def _wake(works: list[Waiting]) -> None:
    """Wake those who wait for `works`, each event loop once."""
    for home in {work.home for work in works}:
        events = [work.changed for work in works if work.home is home]
        try:
            home.call_soon_threadsafe(_set_all, events)
        except RuntimeError:  # the event loop has ended: nobody waits
            log.debug("nobody is left to be woken")


def _set_all(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()
