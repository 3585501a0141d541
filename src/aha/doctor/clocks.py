"""How far the clocks of hosts are apart, by questions and answers between one process of each and the first process.

    offsets(world)       # on every process: [Offset("b", 0.0012, 0.00004), ...], the same everywhere

A process notes when it asks (a) and when it is answered (b) with the first one's time t: its own clock is ahead by
(a + b) / 2 - t, uncertain by (b - a) / 2 (Cristian, Probabilistic clock synchronization, 1989). The quickest of some
rounds is the surest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from aha.distributed.world import World
from aha.doctor.findings import Finding

ROUNDS = 20
APART_S = 1.0  # from which lines of logs and times of files mislead


@dataclass(frozen=True, slots=True)
class Offset:
    """A host's clock against the first process's: seconds ahead, and by how many seconds that may be wrong."""

    host: str
    ahead_s: float
    uncertain_s: float


def offsets(world: World, host: str, now: Callable[[], float] = time.time) -> list[Offset]:
    """Of every host but the first process's. `host` is this process's, `now` its clock."""
    hosts = world.told(host)
    asking = [rank for rank, name in enumerate(hosts) if name != hosts[0] and hosts.index(name) == rank]
    own: tuple[float, float] | None = None
    for rank in asking:
        if world.first:
            _answer(rank, now)
        elif world.rank == rank:
            own = _asked(now)
    told = world.told(own)
    return [Offset(hosts[rank], *told[rank]) for rank in asking]


def _answer(rank: int, now: Callable[[], float]) -> None:
    for _ in range(ROUNDS):
        dist.recv(torch.zeros(1, dtype=torch.float64), rank)
        dist.send(torch.tensor([now()], dtype=torch.float64), rank)


def _asked(now: Callable[[], float]) -> tuple[float, float]:
    """Seconds that this clock is ahead of the first process's, and their uncertainty."""
    best = (0.0, float("inf"))
    answer = torch.zeros(1, dtype=torch.float64)
    for _ in range(ROUNDS):
        a = now()
        dist.send(torch.zeros(1, dtype=torch.float64), 0)
        dist.recv(answer, 0)
        b = now()
        if (b - a) / 2 < best[1]:
            best = ((a + b) / 2 - float(answer), (b - a) / 2)
    return best


def judged(found: list[Offset]) -> Finding:
    """A warning where one is more than `APART_S` away."""
    if not found:
        return Finding("clocks", "one host")
    worst = max(found, key=lambda one: abs(one.ahead_s) + one.uncertain_s)
    way = "ahead of" if worst.ahead_s >= 0 else "behind"
    value = f"{worst.host} is {abs(worst.ahead_s) * 1e3:.3g} ms {way} the first host, give or take "
    value += f"{worst.uncertain_s * 1e3:.2g} ms" + (f"; {len(found)} hosts asked" if len(found) > 1 else "")
    if abs(worst.ahead_s) + worst.uncertain_s <= APART_S:
        return Finding("clocks", value)
    return Finding(
        "clocks", value, "warning", f"let chronyd or ntpd set the clock of {worst.host}: times in logs mislead"
    )
