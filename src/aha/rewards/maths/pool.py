"""Worker processes that compare answers, with a limit on time and memory that holds whatever they are given.

    shared_pool().run([{"gold": "\\\\sqrt{8}", "answer": "2\\\\sqrt{2}", "kind": "auto"}])   -> [Reply(...)]

Workers are started at the first call and kept warm. One that spends more than two seconds of its own processor time on
a comparison is killed and replaced, so that a verdict does not depend on how busy the machine is. They talk JSON over
pipes; nothing is unpickled. Any thread may call; a forked child gets workers of its own. They end with the process.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

LIMIT = 2.0  # seconds of processor time for one comparison
PATIENCE = 60.0  # seconds of waiting for one, on a machine that has no time for its worker
START = 120.0  # seconds until a worker is ready
MAX_WORKERS = 8
_STEP = 0.05  # seconds between two looks at a worker that is over time

Request = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request: the worker's answer, or why there is none. `ours`: no fault of what was compared."""

    answer: dict[str, Any] | None
    trouble: str = ""
    ours: bool = False


class Worker:
    """One process. A caller sends it one request and waits for the reply before the next."""

    def __init__(self) -> None:
        environment = dict(os.environ)
        source = str(Path(__file__).parents[3])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
        environment["PYTHONHASHSEED"] = "0"  # the same verdict every time
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aha.rewards.maths.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.ready = False
        self.data = b""
        self.begun = time.monotonic()
        self.spent = 0.0  # its processor time when the request began

    def send(self, request: Request) -> bool:
        """Hand over a request; False where the worker is gone."""
        self.begun, self.spent = time.monotonic(), self.processor_time()
        body = json.dumps(request).encode()
        data = struct.pack(">I", len(body)) + body
        try:
            while data:
                data = data[os.write(self.input, data) :]
        except OSError:
            return False
        return True

    def receive(self) -> dict[str, Any] | None:
        """The reply, once `output` is readable: None while a part is missing. Raises EOFError where it is gone."""
        more = os.read(self.output, 1 << 16)
        if not more:
            raise EOFError
        self.data += more
        if len(self.data) < 4 or len(self.data) < 4 + struct.unpack(">I", self.data[:4])[0]:
            return None
        reply: dict[str, Any] = json.loads(self.data[4:])
        self.data = b""
        return reply

    def overdue(self) -> Reply | None:
        """Why to wait no longer, if so."""
        waited = time.monotonic() - self.begun
        if not self.ready:
            return Reply(None, f"a worker was not ready within {START:g} s", ours=True) if waited > START else None
        if waited > LIMIT and self.processor_time() - self.spent > LIMIT:
            return Reply(None, f"the comparison took longer than {LIMIT:g} s")
        if waited > PATIENCE:
            return Reply(None, f"the machine gave a worker too little time in {PATIENCE:g} s", ours=True)
        return None

    def processor_time(self) -> float:
        """Seconds of processor time that the process has used."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def end(self) -> None:
        """Kill it and take its exit status."""
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Close our ends of its pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Pool:
    """At most `size` workers, each of which serves one caller at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free: list[Worker] = []
        self.all: set[Worker] = set()
        self.change = threading.Condition()
        self.closed = False

    def run(self, requests: Sequence[Request]) -> list[Reply]:
        """The replies, in order. All workers that no other thread uses take part."""
        call = _Call(self, requests)
        try:
            return call.run()
        finally:
            call.abandon()

    def borrow(self, wait: bool) -> Worker | None:
        """A free worker or a new one; with `wait`, once there is one, else None."""
        with self.change:
            while not self.closed:
                if self.free:
                    return self.free.pop()
                if len(self.all) < self.size:
                    worker = Worker()
                    self.all.add(worker)
                    return worker
                if not wait:
                    return None
                self.change.wait(1.0)
        raise RuntimeError("the pool of workers is closed")

    def give_back(self, worker: Worker, *, broken: bool = False) -> None:
        """Let others use the worker; a broken one is killed."""
        with self.change:
            if broken or self.closed:
                self.all.discard(worker)
                worker.end()
            else:
                self.free.append(worker)
            self.change.notify()

    def close(self) -> None:
        """End all workers. Callers that wait get an error."""
        with self.change:
            self.closed = True
            for worker in self.all:
                worker.end()
            self.all.clear()
            self.free.clear()
            self.change.notify_all()


class _Call:
    """One `run`: which requests are left, and which worker has which."""

    def __init__(self, owner: Pool, requests: Sequence[Request]) -> None:
        self.pool = owner
        self.requests = requests
        self.replies: list[Reply | None] = [None] * len(requests)
        self.left = list(range(len(requests)))[::-1]
        self.busy: dict[int, tuple[Worker, int]] = {}  # by the descriptor of the worker's output
        self.deaths: dict[int, int] = {}

    def run(self) -> list[Reply]:
        while self.left or self.busy:
            try:
                while self.left and (worker := self.pool.borrow(wait=not self.busy)) is not None:
                    self._assign(worker)
            except OSError as error:
                self._give_up(f"no worker process starts: {error}")
            self._wait()
        return [reply for reply in self.replies if reply is not None]

    def _give_up(self, trouble: str) -> None:
        """No worker can be had: nothing that is left will be compared."""
        for place in self.left:
            self.replies[place] = Reply(None, trouble, ours=True)
        self.left.clear()

    def _assign(self, worker: Worker) -> None:
        place = self.left.pop()
        self.busy[worker.output] = (worker, place)
        if worker.ready and not worker.send(self.requests[place]):
            self._lost(worker, place)

    def _wait(self) -> None:
        if not self.busy:
            return
        outputs = select.poll()
        for output in self.busy:
            outputs.register(output, select.POLLIN)
        for output, _ in outputs.poll(1000 * _STEP):
            self._read(*self.busy[output])
        for worker, place in list(self.busy.values()):
            reply = worker.overdue()
            if reply is not None:
                self._finish(worker, place, reply, broken=True)

    def _read(self, worker: Worker, place: int) -> None:
        try:
            reply = worker.receive()
        except (EOFError, OSError):
            self._lost(worker, place)
            return
        if reply is None:
            return
        if "error" in reply:
            self._finish(worker, place, Reply(None, str(reply["error"]), ours=True), broken=not worker.ready)
        elif worker.ready:
            self._finish(worker, place, Reply(reply))
        else:
            worker.ready = True
            if not worker.send(self.requests[place]):
                self._lost(worker, place)

    def _lost(self, worker: Worker, place: int) -> None:
        """The worker died. Its request is given to another one, once: what kills two is at fault itself."""
        self.deaths[place] = self.deaths.get(place, 0) + 1
        if self.deaths[place] > 1:
            trouble = "the comparison ended its process" if worker.ready else "no worker process starts"
            self._finish(worker, place, Reply(None, trouble, ours=not worker.ready), broken=True)
            if not worker.ready:
                self._give_up(trouble)
            return
        del self.busy[worker.output]
        self.pool.give_back(worker, broken=True)
        self.left.append(place)

    def _finish(self, worker: Worker, place: int, reply: Reply, broken: bool = False) -> None:
        self.replies[place] = reply
        del self.busy[worker.output]
        self.pool.give_back(worker, broken=broken)

    def abandon(self) -> None:
        """After an exception: what a worker still computes is nobody's."""
        for worker, _ in list(self.busy.values()):
            self.pool.give_back(worker, broken=True)


_pools: dict[int, Pool] = {}  # by process: a forked child has none
_lock = threading.Lock()


def shared_pool() -> Pool:
    """The pool of this process."""
    with _lock:
        own = _pools.get(os.getpid())
        if own is None:
            own = _pools[os.getpid()] = Pool(max(1, min(os.cpu_count() or 1, MAX_WORKERS)))
        return own


def close() -> None:
    """End the workers of this process; the next comparison starts new ones."""
    with _lock:
        own = _pools.pop(os.getpid(), None)
    if own is not None:
        own.close()


def _forget() -> None:
    """In a forked child: the parent's workers are not ours to use or to end."""
    global _lock
    _lock = threading.Lock()
    for other in _pools.values():
        for worker in other.all:
            worker.close()
            worker.process.returncode = 0  # no child of this process; nobody waits for it here
    _pools.clear()


os.register_at_fork(after_in_child=_forget)
atexit.register(close)
