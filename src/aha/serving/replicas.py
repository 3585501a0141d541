"""Several engines, each in a process of its own: what a small model needs to use all cores of a CPU.

    loop = Replicas(2, "tiny", "auto", wanted)              # the processes start
    facts = loop.meet()                                     # they have loaded the model
    await loop.attach()                                     # in the event loop
    loop.submit(request, rules, streaming=True, changed=event)
    loop.stop()

The threads of one engine meet dozens of times a step, and wait there for whichever thread another process keeps from
its core; with a small model that is most of the time. Engines of one thread each need not meet, and do not share an
interpreter with the event loop. A request runs in the engine that has the fewest samples. Where a process ends, what it
ran fails and another is started in its place; one that ends before it has loaded the model is not tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.engines.native.request import Request
from aha.errors import UserError
from aha.serving.driver import Work
from aha.serving.engines import Facts, Wanted
from aha.serving.guide import Rules
from aha.serving.loop import STOPPED
from aha.serving.wire import Frames, Message, asked, facts_in, follow, frame

READY_S = 300.0  # for the processes to load the model
END_S = 10.0  # for a process to end by itself
CHUNK = 1 << 16  # bytes that are read together
ENDED, LATE = "an engine's process has ended", "an engine has not loaded the model"

log = logging.getLogger("aha.serving")


@dataclass(slots=True, eq=False, kw_only=True)
class Told(Work):
    """A request that one of the processes runs."""

    changed: asyncio.Event
    number: int


class Replica(asyncio.Protocol):
    """One process, seen from the server's. `lost` is called when one that served has ended."""

    def __init__(self, given: Message, threads: int, lost: Callable[[Replica], None]) -> None:
        self.works: dict[int, Told] = {}
        self.samples = 0  # of them
        self.running, self.usage, self.faults = 0, 0.0, 0
        self.facts: Facts | None = None  # where it has loaded the model
        self.fault = ""  # where it cannot
        self.over = False
        self.settled = asyncio.Event()  # it serves, or is over
        self._lost = lost
        self._frames = Frames()
        self._transport: Any = None
        self._sock, theirs = socket.socketpair()
        self._sock.sendall(frame(given))
        with theirs:
            self.process = _started(theirs.fileno(), threads)

    @property
    def serves(self) -> bool:
        """True where it takes requests."""
        return self.facts is not None and not self.over

    def meet(self, until: float) -> Facts:
        """Wait until it has loaded the model. Raises UserError where it does not."""
        while self.facts is None and not self.fault:
            self._sock.settimeout(max(0.001, until - time.monotonic()))
            try:
                data = self._sock.recv(CHUNK)
            except ConnectionResetError:
                data = b""
            except TimeoutError as error:
                raise UserError(f"{LATE} in {READY_S:g} s; serve with --engines 1") from error
            if not data:
                self.end(END_S)
                self.fault = (
                    f"{ENDED} with status {self.process.returncode} while it loaded the model; serve with --engines 1"
                )
            self.data_received(data)
        if self.facts is None:
            raise UserError(self.fault)
        return self.facts

    async def attach(self) -> None:
        """Go on in the event loop."""
        self._sock.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._sock)

    def send(self, message: Message) -> None:
        """Tell the process something. In the event loop."""
        self._transport.write(frame(message))

    def part(self) -> None:
        """Have the process end."""
        self.over = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._transport is None:
            self._sock.close()

    def end(self, timeout_s: float) -> None:
        """See the process end, by force where it takes longer."""
        self.part()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(END_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bring the requests up to date, and wake those who wait for them."""
        for message in self._frames.feed(data):
            if "news" not in message:
                self.fault = message.get("failed", "")
                self.facts = None if self.fault else facts_in(message)
                self.settled.set()
                continue
            self.running, self.usage, self.faults = message["state"]
            for news in message["news"]:
                work = self.works[news[0]]
                follow(work.request, news)
                self._changed(work)

    def connection_lost(self, error: Exception | None) -> None:
        """The process has ended: what it ran has failed."""
        asked_to, self.over, self.running, self.usage = self.over, True, 0, 0.0
        self.settled.set()
        for work in list(self.works.values()):
            for sample in work.request.samples:
                if sample.reason is None:
                    sample.fault, sample.reason = ENDED, "failed"
            self._changed(work)
        if not asked_to:
            self._lost(self)

    def _changed(self, work: Told) -> None:
        if work.request.ended:
            del self.works[work.number]
            self.samples -= len(work.request.samples)
        work.changed.set()


def _started(fd: int, threads: int) -> subprocess.Popen[bytes]:
    """A process that serves what comes over a socket. It has a group of its own: Ctrl-C is for the server."""
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-P", "-m", "aha.serving.replica", str(fd)]
    return subprocess.Popen(command, pass_fds=(fd,), env=environment, stdin=subprocess.DEVNULL, process_group=0)


class Replicas:
    """A `Loop` over processes."""

    def __init__(self, engines: int, model: str, template: str, wanted: Wanted) -> None:
        self._each = wanted.divided(engines)
        self._given = {"engine": dataclasses.asdict(self._each), "model": model, "template": template}
        self._numbers = 0
        self._faults = 0  # of those that have ended, the end among them
        self._replacing: set[asyncio.Task[None]] = set()
        self._all: list[Replica] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self.stop)
            for _ in range(engines):
                self._all.append(self._another())
            stack.pop_all()

    def _another(self) -> Replica:
        return Replica(self._given, self._each.threads, self._lost)

    def meet(self) -> Facts:
        """Wait until all have loaded the model. Raises UserError where one does not."""
        until = time.monotonic() + READY_S
        first, *_ = [replica.meet(until) for replica in self._all]
        return first

    @property
    def faults(self) -> int:
        """As `Loop`."""
        return self._faults + sum(replica.faults for replica in self._all)

    @property
    def running(self) -> int:
        """As `Loop`."""
        return sum(replica.running for replica in self._all)

    @property
    def usage(self) -> float:
        """As `Loop`."""
        return sum(replica.usage for replica in self._all) / len(self._all)

    @property
    def alive(self) -> bool:
        """As `Loop`: where one serves."""
        return any(replica.serves for replica in self._all)

    @property
    def trouble(self) -> str:
        """As `Loop`."""
        serving, engines = sum(replica.serves for replica in self._all), len(self._all)
        if serving:
            return "" if serving == engines else f"{serving} of {engines} engines serve"
        return "no engine serves; another is being started" if self._replacing else STOPPED

    def start(self) -> None:
        """As `Loop`: they have been started."""

    async def attach(self) -> None:
        """As `Loop`."""
        for replica in self._all:
            await replica.attach()

    def submit(self, request: Request, rules: Rules, *, streaming: bool, changed: asyncio.Event) -> Work:
        """As `Loop`."""
        self._numbers += 1
        work = Told(request=request, streaming=streaming, changed=changed, number=self._numbers)
        replica = min((each for each in self._all if each.serves), key=lambda each: each.samples)
        replica.works[work.number] = work
        replica.samples += len(request.samples)
        replica.send(asked(work.number, request, rules, streaming=streaming))
        return work

    def cancel(self, work: Work) -> None:
        """As `Loop`."""
        assert isinstance(work, Told)
        for replica in self._all:
            if work.number in replica.works:
                replica.send({"cancel": work.number})

    def stop(self, timeout_s: float = END_S) -> None:
        """As `Loop`."""
        for replica in self._all:
            replica.part()
        until = time.monotonic() + timeout_s
        for replica in self._all:
            replica.end(max(0.0, until - time.monotonic()))

    def _lost(self, replica: Replica) -> None:
        self._faults += 1 + replica.faults
        replica.faults = 0
        task = asyncio.ensure_future(self._replace(replica))
        self._replacing.add(task)  # the event loop itself would forget it
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, gone: Replica) -> None:
        """Put another process in the place of one that has ended."""
        await asyncio.to_thread(gone.end, END_S)
        if gone.facts is None:  # it would end again
            log.error("%s before it served: %s", ENDED, gone.fault or f"status {gone.process.returncode}")
            return
        log.error("%s with status %s; another is started", ENDED, gone.process.returncode)
        fresh = self._all[self._all.index(gone)] = self._another()
        await fresh.attach()
        try:
            async with asyncio.timeout(READY_S):
                await fresh.settled.wait()
        except TimeoutError:
            log.error("%s in %g s", LATE, READY_S)
            await asyncio.to_thread(fresh.end, END_S)
