"""Grade while sampling goes on: what waits for a verifier's process costs the sampler nothing.

verdicts = beside(engine.stream(prompts, sampling), grade, threads=4)     # in the order of the stream
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from aha.errors import RunFailed

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 600.0  # seconds for one result, once all items are there


def beside(items: Iterable[T], work: Callable[[T], R], *, threads: int, patience: float = PATIENCE) -> list[R]:
    """`work(item)` for each item, in `threads` threads (0: in this one) while `items` makes more; results in order.

    What `work` raises is raised here. Raises RunFailed where no result comes for `patience` seconds.
    """
    if threads == 0:
        return [work(item) for item in items]
    jobs: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
    ended: SimpleQueue[tuple[int, R | BaseException]] = SimpleQueue()

    def serve() -> None:
        while (job := jobs.get()) is not None:
            place, item = job
            try:
                ended.put((place, work(item)))
            except BaseException as error:
                ended.put((place, error))

    # Daemons: a reward that never returns must not keep the process from ending.
    for _ in range(threads):
        Thread(target=serve, daemon=True, name="aha-reward").start()
    try:
        count = 0
        for item in items:
            jobs.put((count, item))
            count += 1
        found = dict(ended.get(timeout=patience) for _ in range(count))
    except Empty:
        raise RunFailed(
            f"no reward has returned for {patience:g} s; mend the one that hangs, then run the same command"
        ) from None
    finally:
        for _ in range(threads):
            jobs.put(None)
    results: list[R] = []
    for place in range(count):
        result = found[place]
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
