"""Slots shared by threads: each run takes a free one and gives it back.

with pool.slot() as slot: slot.request(...)

A pool starts its slots when they are first needed and ends them with the process. A run waits for a free slot at most
`WAIT_SECONDS`, and at most `WAITING` runs wait; past either it raises SandboxError.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from queue import Empty, LifoQueue

from aha.rewards.sandbox.slot import SandboxError, Slot

WAIT_SECONDS = 600.0
WAITING = 4096


class Pool:
    """`slots` sandboxes (default: a slot a core), for use by any number of threads."""

    def __init__(self, slots: int | None = None, unsafe: bool = False) -> None:
        self.slots = [Slot(number, unsafe) for number in range(slots or len(os.sched_getaffinity(0)))]
        self._free: LifoQueue[Slot] = LifoQueue()  # the slot used last is the one whose memory is warm
        for slot in reversed(self.slots):
            self._free.put(slot)
        self._waiting = threading.BoundedSemaphore(WAITING + len(self.slots))

    @contextlib.contextmanager
    def slot(self) -> Iterator[Slot]:
        """A free slot, for as long as the block runs."""
        if not self._waiting.acquire(blocking=False):
            raise SandboxError(f"more than {WAITING} runs wait for a sandbox")
        try:
            try:
                slot = self._free.get(timeout=WAIT_SECONDS)
            except Empty:
                raise SandboxError(f"no sandbox was free for {WAIT_SECONDS:.0f} s") from None
            try:
                yield slot
            finally:
                self._free.put(slot)
        finally:
            self._waiting.release()

    def close(self) -> None:
        """End every slot; one that is in use is broken off."""
        for slot in self.slots:
            slot.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's slots."""
        for slot in self.slots:
            slot.forget()


_pools: dict[bool, Pool] = {}
_lock = threading.Lock()


def shared_pool(unsafe: bool = False) -> Pool:
    """The process's own pool; the unsafe one warns when it is made."""
    with _lock:
        if unsafe not in _pools:
            if unsafe:
                warnings.warn("unsafe: a model's code runs on this machine without a sandbox", stacklevel=3)
            _pools[unsafe] = Pool(unsafe=unsafe)
            atexit.register(partial(_close, _pools[unsafe], os.getpid()))
        return _pools[unsafe]


def _close(pool: Pool, owner: int) -> None:
    if os.getpid() == owner:
        pool.close()


def _new_process() -> None:
    global _lock
    _lock = threading.Lock()
    for pool in _pools.values():
        pool.forget()
    _pools.clear()


os.register_at_fork(after_in_child=_new_process)
