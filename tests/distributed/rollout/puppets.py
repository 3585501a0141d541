"""Workers for tests: puppets, which say what the test wants, and threads, which are workers but for their process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any

from aha.distributed.exchange import packed
from aha.distributed.rollout.channel import Kind, Message, Setup
from aha.distributed.rollout.worker import work
from aha.protocols import Weights
from aha.types import Completion, Score, Verdict

PATIENCE_S = 120.0


def group(count: int, value: float = 1.0, version: int = 0) -> bytes:
    """A group of `count` rollouts of one token."""
    verdict = Verdict({"accuracy": Score(value)}, value)
    return packed([[(Completion((i,), (-0.5,), "stop", version), verdict) for i in range(count)]])


class Puppet:
    """Does nothing by itself."""

    def __init__(self, name: str, setup: Setup, heard: threading.Event) -> None:
        self.name, self.setup, self._heard = name, setup, heard
        self.orders: list[Message] = []
        self.killed = False
        self.why = ""
        self._words: SimpleQueue[Message] = SimpleQueue()

    def send(self, message: Message) -> None:
        self.orders.append(message)

    def received(self) -> list[Message]:
        found = []
        try:
            while True:
                found.append(self._words.get_nowait())
        except Empty:
            return found

    def ended(self) -> str:
        return self.why

    def end(self) -> None:
        self.killed = True

    def say(self, kind: str, body: bytes = b"", **about: Any) -> None:
        """A word of this worker."""
        self._words.put(Message(kind, {"clock": {"busy_s": 0.0, "idle_s": 0.0}, **about}, body))
        self._heard.set()

    def drawn(self) -> dict[str, int]:
        """The questions that it was given, each with its last attempt."""
        found: dict[str, int] = {}
        for order in self.orders:
            if order.kind == "draw":
                names = [question[0] for question in order.about["questions"]]
                found |= dict(zip(names, order.about["attempts"], strict=True))
        return found

    def makes(self, name: str, count: int, attempt: int = 0, **changes: Any) -> None:
        """Say that a group is made."""
        attempt = attempt or self.drawn()[name]
        self.say("made", group(count, **changes), question=name, attempt=attempt, tokens=count)


class Puppets:
    """A launcher of puppets, or of others by `make`."""

    def __init__(self, make: Callable[[str, Setup, threading.Event], Any] = Puppet) -> None:
        self.workers: dict[str, Any] = {}
        self.versions: list[int] = []
        self.heard, self.closed = threading.Event(), False
        self._make = make

    def start(self, name: str, setup: Setup) -> Any:
        assert name not in self.workers, "names are not used twice"
        self.workers[name] = self._make(name, setup, self.heard)
        return self.workers[name]

    def hand_out(self, weights: Weights, version: int) -> Any:
        self.versions.append(version)
        return {name: tensor.clone() for name, tensor in weights.items()}

    def wait(self, seconds: float) -> None:
        self.heard.wait(seconds)
        self.heard.clear()

    def close(self) -> None:
        self.closed = True
        for worker in self.workers.values():
            worker.end()

    def started(self, name: str) -> Any:
        """The worker of this name, as soon as it is started."""
        eventually(lambda: name in self.workers)
        return self.workers[name]


class Gone(BaseException):
    """Ends a thread that was killed."""


class ThreadWorker(Puppet):
    """A worker whose process is a thread; it is killed where it next looks for orders."""

    def __init__(self, name: str, setup: Setup, heard: threading.Event) -> None:
        super().__init__(name, setup, heard)
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()

    def send(self, message: Message) -> None:
        super().send(message)
        self._queue.put(message)

    def _take(self, seconds: float) -> Message | None:
        if self.killed:
            raise Gone
        try:
            return self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
        except Empty:
            return None

    def _say(self, message: Message) -> None:
        if not self.killed:
            self._words.put(message)
            self._heard.set()

    def _run(self) -> None:
        try:
            work(self.setup, self._take, self._say, lambda handle: dict(handle))
        except BaseException as error:
            self.why = f"its thread ended: {error!r}"
        else:
            self.why = "its thread has left"


def threads() -> Puppets:
    """A launcher of threads."""
    return Puppets(ThreadWorker)


def setup_of(kind: Kind = "rollout", build: Callable[[Setup], Any] = print) -> Setup:
    """One that only `build` reads."""
    return Setup(kind, "{}", "zero", "", "cpu", "float32", 1, build)


def setups(build: Callable[[Setup], Any] = print) -> Mapping[Kind, Setup]:
    return {"rollout": setup_of("rollout", build), "reward": setup_of("reward", build)}


def eventually(holds: Callable[[], Any]) -> None:
    """Wait until `holds`."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.005)
