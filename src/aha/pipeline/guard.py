"""What watches over a run from outside of it: a request to stop, and a phase that never ends.

    with stop_requests(8) as stop:
        for step in train(...):
            if stop.asked: save and raise Stopped

    with watchdog(seconds) as alive:
        alive()      # after each phase: the next one has as long again
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from aha.errors import Stopped

STDERR = 2
LATE = "the step did not end in time and was not saved"


class Late(Stopped):
    """Raised by its class alone, in a thread that hears no signals."""

    def __init__(self) -> None:
        super().__init__(LATE)


@dataclass(slots=True)
class Stop:
    """Whether the run was asked to end: the step that runs has `grace_s` seconds then. `alarm` has `Stopped` raised
    where the run is, in so many seconds; 0: not any more."""

    grace_s: float
    asked: bool = False
    alarm: Callable[[float], None] = lambda _: None
    saving: bool = False

    def ask(self) -> None:
        """End after the step that runs; any thread may ask."""
        self.asked = True
        if not self.saving:
            self.alarm(self.grace_s)

    @contextlib.contextmanager
    def saved(self) -> Iterator[None]:
        """Around what keeps a step that has ended: it takes as long as it takes, and is not broken off."""
        self.saving = True
        self.alarm(0)
        try:
            yield
        finally:
            self.saving = False
            if self.asked:
                self.alarm(self.grace_s)


@contextlib.contextmanager
def stop_requests(grace_s: float) -> Iterator[Stop]:
    """Listens for SIGTERM. The step that runs may end and be saved; where it takes longer than `grace_s`, `Stopped` is
    raised in its midst and the run goes on from the last checkpoint. Only a process's first thread hears signals: in
    another one, those who have the `Stop` ask."""
    stop = Stop(grace_s)
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        with _interrupted(threading.get_ident()) as stop.alarm:
            yield stop
        return

    def asked(_: int, __: FrameType | None) -> None:
        stop.ask()

    def late(_: int, __: FrameType | None) -> None:
        raise Stopped(LATE)

    def alarm(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGALRM, late)
    stop.alarm = alarm
    try:
        yield stop
    finally:
        stop.alarm = lambda _: None
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interrupted(thread: int) -> Iterator[Callable[[float], None]]:
    """An alarm for a thread, which comes between two steps of its interpreter: what it calls outside is waited for."""
    lock = threading.Lock()
    timer: threading.Timer | None = None
    over = False

    def ring() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Late))

    def alarm(seconds: float) -> None:
        nonlocal timer
        if timer is not None:
            timer.cancel()
        timer = threading.Timer(seconds, ring) if seconds else None
        if timer is not None:
            timer.daemon = True
            timer.start()

    try:
        yield alarm
    finally:
        with lock:
            over = True
        alarm(0)


@contextlib.contextmanager
def watchdog(seconds: float) -> Iterator[Callable[[], None]]:
    """Ends the process with the stacks of all threads on stderr where nothing calls what is given for `seconds` (0: it
    waits for ever). It is a thread of the interpreter's own, so it works where Python code does not run any more."""

    def alive() -> None:
        if seconds:
            faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)

    alive()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()
