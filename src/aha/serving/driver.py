"""Drives an engine in one thread: takes requests over, steps, and says of whom there is news.

    driver = Driver(engine, threads=2, tell=lambda works: ...)
    driver.put(Work(request=request, streaming=True))       # from any thread
    driver.run()                                            # until `driver.stop()` in another

The engine never waits for a client: it appends to a request's samples, whose lengths `max_tokens` bounds. There is news
of a request that streams at its first token, then at most `MESSAGES_A_SECOND` times a second over all of them; of one
that does not, when it has ended. All news of a step is told at once, before the next one computes the model: only then
the interpreter is free, which whoever is told needs too.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from aha.engines.native.incremental import IncrementalEngine
from aha.engines.native.request import Request

MESSAGES_A_SECOND = 1000.0  # each costs the process that speaks to clients about 0.1 ms
IDLE_S = 0.5  # between two looks at whether to stop
FAULTS_IN_A_ROW = 3  # after which the engine counts as dead

log = logging.getLogger("aha.serving")


@dataclass(slots=True, eq=False, kw_only=True)
class Work:
    """A request on its way."""

    request: Request
    streaming: bool
    told: int = 0  # tokens at the last news
    due: float = 0.0  # of the next
    submitted: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        """Tokens drawn until now."""
        return sum(len(sample.ids) for sample in self.request.samples)


class Driver:
    """`tell` is called in the engine's thread, at every step and when there is nothing left to do. `share` of the
    messages a second are this engine's."""

    def __init__(
        self, engine: IncrementalEngine, threads: int, tell: Callable[[list[Any]], None], share: float = 1.0
    ) -> None:
        self.engine, self._threads, self._report, self._share = engine, threads, tell, share
        self._inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._works: dict[int, Work] = {}  # by their request's identity
        self._ended: list[Work] = []  # of which nobody has been told
        self._stopping = False
        self.fault = ""  # that ended it
        self.faults = 0
        engine.meanwhile = self._tell

    def put(self, work: Work) -> None:
        """Hand over a request. One that the engine refuses ends as failed; one that has ended is only told of."""
        self._inbox.put(work)

    def stop(self) -> None:
        """Have `run` return soon; what still runs ends as failed."""
        self._stopping = True
        self._inbox.put(None)

    def run(self) -> None:
        """Serve until it is stopped, or the engine has failed too often. Nobody is left without an answer."""
        torch.set_num_threads(self._threads)
        try:
            self._serve()
        finally:
            self._take()
            self.engine.clear("the server has stopped")
            self._ended += self._works.values()
            self._works.clear()
            self._tell()

    def _serve(self) -> None:
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
            self._note(ended)
            if self.fault:
                return

    @property
    def _over(self) -> bool:
        return self._stopping or bool(self.fault)

    def _take(self) -> None:
        """Take over what was submitted; wait for it where there is nothing else to do."""
        while True:
            try:
                idle = not self.engine.busy and not self._over
                if idle:
                    self._tell()
                work = self._inbox.get(block=idle, timeout=IDLE_S if idle else None)
            except queue.Empty:
                return
            if work is None:
                return
            self._works[id(work.request)] = work
            if work.request.ended:
                self._note([work.request])
                continue
            try:
                self.engine.submit(work.request)
            except ValueError as error:  # what it can never run was refused before; this is our own fault
                for sample in work.request.samples:
                    sample.fault, sample.reason = str(error), "failed"
                self._note([work.request])

    def _note(self, ended: Iterable[Request]) -> None:
        """Note requests of which samples have ended."""
        for request in {id(request): request for request in ended}.values():
            if request.ended:
                self._ended.append(self._works.pop(id(request)))

    def _tell(self) -> None:
        """Tell of those that have ended, and of streams that are to go on."""
        works, self._ended = self._ended, []
        now = time.monotonic()
        streaming = [work for work in self._works.values() if work.streaming and work.request.first]
        for work in streaming:
            new = work.tokens > work.told and not work.request.ended  # an end is told once: when it has been noted
            if new and now >= work.due:
                work.told, work.due = work.tokens, now + len(streaming) / (MESSAGES_A_SECOND * self._share)
                works.append(work)
        self._report(works)
