"""An end for what waits inside of a library, where no exception and no signal reaches it.

with limit(60, late) as begins:
    begins("the clocks")        # each part has as long; after that `late("the clocks")` is called, from a thread
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def limit(seconds: float, late: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """What is given is called where a part begins, of which each has `seconds`."""
    timers: list[threading.Timer] = []

    def begins(what: str) -> None:
        end()
        timer = threading.Timer(seconds, late, (what,))
        timer.daemon = True
        timers.append(timer)
        timer.start()

    def end() -> None:
        for timer in timers:
            timer.cancel()
        timers.clear()

    try:
        yield begins
    finally:
        end()
