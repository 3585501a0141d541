"""One engine in a process of its own; `replicas.py` starts it.

    python -m aha.serving.replica FD

FD is a socket, over which comes first what the engine is to be, then requests, and over which their news goes back.
The process ends when the other end is closed, whatever it does then; signals are for the server's own process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from aha import runtime
from aha.engines.native.request import Request
from aha.errors import UserError, boundary
from aha.models.loading import load
from aha.serving.driver import Driver
from aha.serving.engines import Wanted, facts_of, keep_what_is_loaded, make_engine, make_guides
from aha.serving.guide import Rules
from aha.serving.prompt import ChatForm
from aha.serving.vocabulary import Vocabulary
from aha.serving.wire import Frames, Message, Reported, frame, loaded, request_of
from aha.types import Failed

CHUNK = 1 << 16  # bytes that are read together
LOOK_S = 5.0  # between two looks at whether the server still runs, where nothing comes
SEND_S = 60.0  # for which the server may take nothing
GRACE_S = 10.0  # to end by itself, where it serves
COMPILERS = 4  # grammars that are compiled at once

log = logging.getLogger("aha.serving")


class Worker:
    """The engine of this process and the way to the server's. Raises UserError where it cannot be made."""

    def __init__(self, link: Link, given: Message) -> None:
        wanted = Wanted(**given["engine"])
        runtime.apply(runtime.choose("cpu", wanted.dtype, wanted.threads))
        model = load(given["model"])
        engine = make_engine(model, wanted)
        self.facts = facts_of(model, engine)
        vocabulary = Vocabulary(model.tokenizer, self.facts.limits.vocabulary)
        form = ChatForm(model.tokenizer, given["template"])
        self._guides = make_guides(vocabulary, self.facts, form, engine.engine.device)[1]
        self._link, self._engine = link, engine
        self.driver = Driver(engine, wanted.threads, self._tell, wanted.share)
        self._works: dict[int, Reported] = {}  # the listening thread's own
        self._compiling = ThreadPoolExecutor(COMPILERS)
        self._state = 0, 0.0, 0  # that was told last

    def hear(self, message: Message) -> None:
        """Take over a request, or call one off. In the listening thread."""
        if "ask" in message:
            request, rules = request_of(message)
            work = Reported(request=request, streaming=message["streaming"], number=message["ask"])
            self._works[work.number] = work
            if rules.grammar is None:
                self._put(work, rules)
            else:  # beside the others: to compile one may take long
                self._compiling.submit(self._put, work, rules)
        elif message["cancel"] in self._works:
            self._works[message["cancel"]].request.cancelled = True
        self._works = {number: work for number, work in self._works.items() if not work.request.ended}

    def _put(self, work: Reported, rules: Rules) -> None:
        made = boundary(lambda: self._guide(work.request, rules), "the grammar")
        if isinstance(made, Failed):  # the server has compiled it too
            for sample in work.request.samples:
                sample.fault, sample.reason = made.reason, "failed"
        self.driver.put(work)

    def _guide(self, request: Request, rules: Rules) -> None:
        for sample in request.samples:
            sample.guide = self._guides.make(rules)

    def _tell(self, works: list[Reported]) -> None:
        """Send news. What is true of the engine goes with it, and once more when it comes to rest."""
        engine = self._engine
        state = engine.running, engine.usage, self.driver.faults
        if works or (state != self._state and not engine.busy):
            self._state = state
            self._link.send({"news": [work.news() for work in works], "state": state})


class Link:
    """The way to the server, and the thread that listens to it."""

    def __init__(self, sock: socket.socket) -> None:
        self._in, self._out = sock, sock.dup()
        self._in.settimeout(LOOK_S)
        self._out.settimeout(SEND_S)
        self._server = os.getppid()
        self._frames = self._received()
        self._worker: Worker | None = None

    def first(self) -> Message | None:
        """The first message; None where the server has gone."""
        return next(self._frames, None)

    def listen(self) -> None:
        """Hear what else comes, in a thread: where the server goes this process ends, whatever it is at."""
        threading.Thread(target=self._listen, name="aha-listen", daemon=True).start()

    def serve(self, worker: Worker) -> None:
        """Have `worker` serve until the server has gone."""
        self._worker = worker  # from here on it can be asked, and is ended where the server goes
        self.send(loaded(worker.facts))
        worker.driver.run()

    def send(self, message: Message) -> None:
        """Tell the server something."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who listens sees it too
            try:
                self._out.sendall(frame(message))
            except TimeoutError:  # what has been sent of it makes all that follows unreadable
                sys.exit(f"the server has taken nothing for {SEND_S:g} s")

    def _listen(self) -> None:
        try:
            for message in self._frames:
                assert self._worker is not None, "nothing is asked of an engine that is not there"
                self._worker.hear(message)
        except Exception:
            log.exception("an engine's process ends: what it was told cannot be used")
        if self._worker is not None:
            self._worker.driver.stop()
            time.sleep(GRACE_S)
        os._exit(1)

    def _received(self) -> Iterator[Message]:
        """Messages until the other end is closed."""
        frames = Frames()
        while data := self._read():
            yield from frames.feed(data)

    def _read(self) -> bytes:
        while os.getppid() == self._server:
            with contextlib.suppress(TimeoutError):
                try:
                    return self._in.recv(CHUNK)
                except ConnectionResetError:
                    break
        return b""


def main(fd: int) -> None:
    """Serve what comes over a socket."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    link = Link(socket.socket(fileno=fd))
    given = link.first()
    if given is None:
        return
    link.listen()
    try:
        worker = Worker(link, given)
    except UserError as error:
        link.send({"failed": str(error)})
        return
    keep_what_is_loaded()
    link.serve(worker)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    main(int(sys.argv[1]))
