"""The engine's own thread, and the way between it and the event loop of the server.

    loop = EngineLoop(engine, threads=2)
    loop.start()
    work = loop.submit(request, streaming=True, changed=event)      # in the event loop
    await event.wait(); request.samples[0].ids                      # all tokens until now
    loop.cancel(work); loop.stop()

The engine never waits for a client: it appends to a request's samples, whose lengths `max_tokens` bounds, and wakes who
reads them. A request that streams is woken for its first token at once, then at most `MESSAGES_A_SECOND` times a second
over all of them; one that does not, when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from aha.engines.native.incremental import IncrementalEngine
from aha.engines.native.request import Request

MESSAGES_A_SECOND = 1000.0  # each costs the interpreter, which the engine needs too, about 0.1 ms
IDLE_S = 0.5  # between two looks at whether to stop
FAULTS_IN_A_ROW = 3  # after which the engine counts as dead

log = logging.getLogger("aha.serving")


@dataclass(slots=True, eq=False)
class Work:
    """A request on its way, as the event loop sees it."""

    request: Request
    streaming: bool
    changed: asyncio.Event
    home: asyncio.AbstractEventLoop
    told: int = 0  # tokens at the last wake
    due: float = 0.0  # of the next wake
    submitted: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        """Tokens drawn until now."""
        return sum(len(sample.ids) for sample in self.request.samples)


class EngineLoop:
    """Runs an engine in a thread. Its methods are for the event loop's thread; `engine` is for its own alone."""

    def __init__(self, engine: IncrementalEngine, threads: int) -> None:
        self.engine = engine
        self._threads = threads
        self._inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._works: dict[int, Work] = {}  # by their request's identity; the thread's own
        self._thread = threading.Thread(target=self._run, name="aha-engine", daemon=True)
        self._stopping = False
        self.fault = ""  # that ended the thread
        self.faults = 0

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while requests are served."""
        return self._thread.is_alive() and not self.fault

    def submit(self, request: Request, *, streaming: bool, changed: asyncio.Event) -> Work:
        """Hand a request to the engine; `changed` is set where there is news. One that it refuses ends as failed."""
        work = Work(request, streaming, changed, asyncio.get_running_loop())
        self._inbox.put(work)
        return work

    def cancel(self, work: Work) -> None:
        """Take back a request: its rows are free at the next step."""
        work.request.cancelled = True

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread; what still runs ends as failed."""
        self._stopping = True
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        in_a_row = 0
        while not self._stopping:
            self._take()
            try:
                ended = self.engine.step() if self.engine.busy else []
                in_a_row = 0
            except Exception as error:  # of memory, most likely: those that run cannot go on, later ones may
                log.exception("the engine failed; its requests end with an error")
                self.faults += 1
                in_a_row += 1
                ended = self.engine.clear(f"the engine failed ({type(error).__name__})")
                if in_a_row == FAULTS_IN_A_ROW:
                    self.fault = f"{type(error).__name__}: {error}"
            self._tell(ended)
            if self.fault:
                break
        self._take()
        self.engine.clear("the server has stopped")
        self._wake(list(self._works.values()))

    def _take(self) -> None:
        """Take over what was submitted; wait for it where there is nothing else to do."""
        while True:
            try:
                idle = not self.engine.busy and not self._stopping and not self.fault
                work = self._inbox.get(block=idle, timeout=IDLE_S if idle else None)
            except queue.Empty:
                return
            if work is None:
                return
            self._works[id(work.request)] = work
            try:
                self.engine.submit(work.request)
            except ValueError as error:  # what it can never run was refused before; this is our own fault
                for sample in work.request.samples:
                    sample.fault, sample.reason = str(error), "failed"
                self._tell([work.request])

    def _tell(self, ended: Iterable[Request]) -> None:
        """Wake those who read what has come."""
        awake = []
        for request in {id(request): request for request in ended}.values():
            if request.ended:
                awake.append(self._works.pop(id(request)))
        now = time.monotonic()
        streaming = [work for work in self._works.values() if work.streaming and work.request.first]
        for work in streaming:
            if now >= work.due and work.tokens > work.told:
                work.told, work.due = work.tokens, now + len(streaming) / MESSAGES_A_SECOND
                awake.append(work)
        self._wake(awake)

    def _wake(self, works: list[Work]) -> None:
        for home in {work.home for work in works}:
            events = [work.changed for work in works if work.home is home]
            try:
                home.call_soon_threadsafe(_set_all, events)
            except RuntimeError:  # the event loop has ended: nobody waits
                log.debug("nobody is left to be woken")


def _set_all(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()
