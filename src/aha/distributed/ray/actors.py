"""The actors. Ray shows their classes as names of processes, and `repr` before each line of their logs.

An actor works in one thread, and talks in two others: `order` puts a message where the work looks for it, `said` waits
for what the work has to say (`GROUPS`, Ray's concurrency groups). Whoever calls `said` again and again hears also that
the actor lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.config import validate
from aha.distributed.ray.mail import Mailbox, joined
from aha.distributed.ray.weights import read_back
from aha.distributed.rollout.channel import Message, Setup
from aha.distributed.rollout.worker import work
from aha.distributed.watch import GOES_ON
from aha.errors import RunFailed, Stopped, UserError
from aha.protocols import Weights
from aha.types import StepMetrics

ORDERS, WORDS = "orders", "words"
GROUPS = {ORDERS: 1, WORDS: 1}  # a thread each: messages keep their order
READING_S = 600.0  # for weights to come from another machine


class _Actor:
    """What can be ordered, and heard."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders, self._words = Mailbox(), Mailbox()

    def __repr__(self) -> str:
        return self._name

    def order(self, message: Message) -> None:
        """One more order."""
        self._orders.put(message)

    def said(self, seconds: float) -> bytes:
        """What it has said since the last call; waits for the first word."""
        return joined(self._words.take_all(seconds))

    def _work(self, setup: Setup) -> None:
        try:
            work(setup, self._orders.take, self._words.put, _read_weights)
        except BaseException:
            traceback.print_exc()  # into Ray's log of this actor; what its pool needs it has said
        finally:
            self._words.close()


class AhaRolloutWorker(_Actor):
    """Samples, and grades where no other does."""

    def work(self, setup: Setup) -> None:
        """Until told to leave."""
        self._work(setup)


class AhaRewardWorker(_Actor):
    """Grades."""

    def work(self, setup: Setup) -> None:
        """Until told to leave."""
        self._work(setup)


def _read_weights(handle: Any) -> Weights | None:
    import ray

    return read_back(ray.get(handle, timeout=READING_S))


@dataclass(frozen=True, slots=True)
class Job:
    """What a learner is to do: `call` is `pipeline.run.run`, `names` are the environment that a launcher gives a
    process (`distributed/world.py`), `folder` is where relative paths begin."""

    call: Callable[..., dict[str, Any]]
    recipe: str  # as JSON
    out: str
    begin: str
    folder: str
    names: Mapping[str, str] = field(default_factory=dict)


class AhaLearner(_Actor):
    """One process of a run. The first one tells how it goes on; all end in words."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lock = threading.Lock()
        self._asked = False
        self._ask: Callable[[], None] | None = None

    def meet(self) -> dict[str, Any]:
        """Where it is: the machine by Ray's name of it, its address, and a port that is free there."""
        import ray

        with socket.socket() as found:
            found.bind(("", 0))
            port = int(found.getsockname()[1])
        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "address": ray.util.get_node_ip_address(), "port": port}

    def order(self, message: Message) -> None:
        """`stop`: end after the step that runs."""
        with self._lock:
            self._asked = True
            if self._ask is not None:
                self._ask()

    def run(self, job: Job) -> bytes:
        """Make the run, as one of its processes; how it ended, as JSON."""
        os.environ |= job.names
        with contextlib.suppress(OSError):  # a machine that does not have it
            os.chdir(job.folder)
        first = job.names.get("RANK", "0") == "0"
        try:
            teller = Teller(self._words) if first else None
            result = job.call(validate(json.loads(job.recipe)), Path(job.out), teller, job.begin, self._listen)
            ending: dict[str, Any] = {"how": "done", "what": result}
        except BaseException as error:
            ending = ending_of(error)
        finally:
            with self._lock:
                self._ask = None
            self._words.close()
        return json.dumps(ending).encode()

    def _listen(self, ask: Callable[[], None]) -> None:
        with self._lock:
            self._ask = ask
            if self._asked:
                ask()


class Teller:
    """An observer (`pipeline/observer.py`) whose words go to another process."""

    def __init__(self, words: Mailbox) -> None:
        self._words = words

    def stage(self, name: str, done: int, planned: int) -> None:
        self._words.put(Message("stage", {"name": name, "done": done, "planned": planned}))

    def step(self, metrics: StepMetrics) -> None:
        self._words.put(Message("step", {"step": metrics.step, "values": dict(metrics.values)}))

    def note(self, text: str) -> None:
        self._words.put(Message("note", {"text": text}))


def ending_of(error: BaseException) -> dict[str, Any]:
    """How and why a learner has ended, in plain words. A run that is `broken` goes on from its last checkpoint."""
    match error:
        case Stopped():
            return {"how": "stopped", "what": str(error)}
        case UserError():
            return {"how": "unusable", "what": str(error)}
        case RunFailed():
            return {"how": "broken" if str(error).endswith(GOES_ON) else "failed", "what": str(error)}
        case OSError(errno=int()):
            return {"how": "system", "what": [error.errno, error.strerror, str(error.filename or "")]}
    traceback.print_exception(error, file=sys.stderr)
    return {"how": "fault", "what": "".join(traceback.format_exception(error))}
