"""What ends all processes of a run together: a request to stop, and the end of one of them.

    with watched(world, stop, deadline=120) as explained:
        with explained(lambda state, reason: folder.set_state(state=state, reason=reason)): ...

A thread of each process says every second, in the store where all have met, that it lives, whether it was asked to
stop, and, at the end, why it ended. It hears the same of the others: a request becomes everyone's, and a process that
ended or was silent for `deadline` seconds ends all, each with a sentence; also those that wait for it inside of a
collective operation, which no signal and no exception reaches. The thread then notes why, and ends the process.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch.distributed as dist

from aha.distributed.world import World
from aha.errors import RunFailed, Stopped, UserError

PERIOD_S = 1.0
SILENT_S = 5.0  # for which a process is silent that has ended, where communication with one has just failed
GRACE_S = 10.0  # for a process to end by itself, once another one has
BROKEN = ("gloo", "nccl", "connection", "socket", "process group")  # words of errors of communication
GOES_ON = "; the same command goes on from the last checkpoint"
STOPPED = 143  # exit status after a request to stop
Note = Callable[[str, str], None]  # is told "stopped" or "failed", and why
Explained = Callable[[Note], contextlib.AbstractContextManager[None]]
_numbers = itertools.count()  # of watches; each has keys of its own


class Request(Protocol):
    """Whether a process was asked to stop."""

    asked: bool


@dataclass(slots=True)
class _Heard:
    """The last words of another process, and when they changed."""

    words: str = ""
    at: float = 0.0
    how: str = ""  # "", "done", "stopped", "failed"
    why: str = ""


@contextlib.contextmanager
def watched(world: World, stop: Request, deadline: float) -> Iterator[Explained]:
    """Watch over the processes until all have left. Raises RunFailed, or Stopped, where another one has ended; what is
    given does so inside, for those who note why something failed; where the process is left, it notes it by what it is
    given itself."""
    if world.size == 1:
        yield lambda _: contextlib.nullcontext()
        return
    watch = _Watch(world, stop, deadline)
    world.wait()  # all can be heard
    watch.start()
    try:
        with watch.explained(_no_note):
            yield watch.explained
            world.wait()  # nobody leaves before all are done
        watch.say("done")
    except BaseException as error:
        watch.say("stopped" if isinstance(error, Stopped) else "failed", _sentence(error))
        raise
    finally:
        watch.end()


class _Watch(threading.Thread):
    """Says that this process lives, and hears whether the others do."""

    def __init__(self, world: World, stop: Request, deadline: float) -> None:
        super().__init__(daemon=True, name="aha-watch")
        self._world, self._request, self._deadline = world, stop, deadline
        self._host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # a connection of its own: another thread's may be waiting
        self._store = dist.TCPStore(
            self._host, port, is_master=False, wait_for_workers=False, timeout=datetime.timedelta(seconds=deadline)
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store may outlive the processes of one
        number = f"{attempt}-{next(_numbers)}"
        self._keys = [f"aha-{number}-{rank}" for rank in range(world.size)]
        self._beats = itertools.count()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._how = self._why = ""
        self._heard = {rank: _Heard(at=time.monotonic()) for rank in range(world.size) if rank != world.rank}
        self._lost = ""  # why the store cannot be asked any more
        self._answered = time.monotonic()  # by the store, at last
        self._note: Note = _no_note
        self._beat()

    def say(self, how: str, why: str = "") -> None:
        """How this process ends; told at once."""
        self._how, self._why = how, why
        with contextlib.suppress(RuntimeError):
            if not self._lost:
                self._beat()
        if how != "done" and self._world.first:
            time.sleep(2 * PERIOD_S)  # the store may end with this process: all are to have heard it

    def end(self) -> None:
        """Be silent."""
        self._over.set()
        self.join(PERIOD_S)

    @contextlib.contextmanager
    def explained(self, note: Note) -> Iterator[None]:
        """Puts the end of another process in the place of an error of communication."""
        before, self._note = self._note, note
        try:
            yield
        except BaseException as error:
            other = self.culprit() if _is_broken(error) else None
            if other is None:
                raise
            how, why = other
            raise (Stopped(why) if how == "stopped" else RunFailed(f"{why}{GOES_ON}")) from error
        finally:
            self._note = before

    def culprit(self) -> tuple[str, str] | None:
        """How and why another process has ended, which communication has failed with; None where none has."""
        until = time.monotonic() + 2 * SILENT_S
        while time.monotonic() < until:
            found = self._ended(SILENT_S)
            if found:
                return found
            time.sleep(PERIOD_S / 5)
        return None

    def run(self) -> None:
        """Until `end`."""
        threading.Thread(target=self._talk, daemon=True, name="aha-watch-store").start()
        since = 0.0
        while not self._over.wait(PERIOD_S):
            found = self._ended(self._deadline)
            since = since or (time.monotonic() if found else 0.0)
            patience = GRACE_S if any(heard.how for heard in self._heard.values()) or self._lost else 0.0
            if found and time.monotonic() - since >= patience and not self._over.is_set():
                self._leave(*found)

    def _leave(self, how: str, why: str) -> None:
        """End this process, whatever it is waiting for."""
        with contextlib.suppress(OSError):  # nothing can be said of it any more
            self._note(how, why)
        print(f"aha: (process {self._world.rank}) {why}{GOES_ON}", file=sys.stderr, flush=True)
        os._exit(STOPPED if how == "stopped" else 1)

    def _talk(self) -> None:
        """To the store, which may not answer for as long as a network is down, whatever deadline it was given."""
        try:
            while not self._over.wait(PERIOD_S):
                self._beat()
                self._listen()
                self._answered = time.monotonic()
        except RuntimeError:
            self._lost = f"the store at {self._host} where all processes have met is gone"

    def _beat(self) -> None:
        words = [next(self._beats), self._request.asked, self._how, self._why]
        if self._lock.acquire(timeout=2 * PERIOD_S):  # else a question before has no answer yet
            try:
                self._store.set(self._keys[self._world.rank], json.dumps(words))
            finally:
                self._lock.release()

    def _listen(self) -> None:
        others = list(self._heard)
        with self._lock:
            found = self._store.multi_get([self._keys[rank] for rank in others])
        for rank, data in zip(others, found, strict=True):
            heard, words = self._heard[rank], data.decode()
            if words != heard.words:
                _, asked, heard.how, heard.why = json.loads(words)
                heard.words, heard.at = words, time.monotonic()
                if asked:
                    self._request.asked = True

    def _ended(self, silence: float) -> tuple[str, str] | None:
        """How and why one of the others has ended; after `silence` seconds without a word it "failed", or "stopped"
        where that was asked for: whoever asks may not wait for all to end."""
        how = "stopped" if self._request.asked else "failed"
        for rank, heard in self._heard.items():
            if heard.how in ("stopped", "failed"):
                return heard.how, f"process {rank} ended: {heard.why}"
        if self._lost:
            return how, self._lost
        for rank, heard in self._heard.items():
            if not heard.how and time.monotonic() - heard.at > silence:
                if time.monotonic() - self._answered > silence - 1.5 * PERIOD_S:
                    nobody = f"nothing was heard for {silence:.0f} s from {self._host}, where all have met, or others"
                    return how, nobody
                return how, f"process {rank} has given no sign of life for {silence:.0f} s"
        return None


def _is_broken(error: BaseException) -> bool:
    """Whether an error is one of communication: another process's end then comes before it."""
    if isinstance(error, RunFailed | UserError | Stopped):
        return False
    words = str(error).lower()
    said = isinstance(error, RuntimeError) and any(word in words for word in BROKEN)
    return said or isinstance(error, dist.DistError)


def _sentence(error: BaseException) -> str:
    named = isinstance(error, RunFailed | UserError | Stopped)
    return str(error).removesuffix(GOES_ON) if named else f"{type(error).__name__}: {error}".splitlines()[0]


def _no_note(how: str, why: str) -> None:
    """Where nothing is to be noted."""
