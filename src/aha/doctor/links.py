"""How quickly processes hand each other numbers, by the operations that a run uses, and whether they come whole.

    for link in measured(world, group, "gloo", "cpu", begins): ...     # on every process, the same everywhere

Sizes are those of what all have in the end: each gives its part of that to `all_gather`. Of the rounds of an operation,
whose number all agree on, the mean is kept, of the process that took longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from aha.distributed.world import World
from aha.doctor.findings import Finding

SIZES = (("1 KB", 1000), ("1 MB", 1_000_000), ("100 MB", 100_000_000))
BUDGET_S = 1.0  # of an operation at one size
MOST_ROUNDS = 20
MOST_S = 20.0  # of one round: slower ones are not tried
SLOW, LATE_S = 0.1e9, 0.01  # bytes a second, and seconds of 1 KB, past which a network is in a run's way


@dataclass(frozen=True, slots=True)
class Link:
    """An operation at some sizes: seconds of each, in order, as far as it was tried."""

    backend: str
    operation: str
    seconds: tuple[float, ...]
    whole: bool = True  # the right numbers came

    @property
    def rate(self) -> float:
        """Bytes a second at the largest size that was tried."""
        return SIZES[len(self.seconds) - 1][1] / self.seconds[-1]


def measured(
    world: World, group: dist.ProcessGroup | None, backend: str, device: str, begins: Callable[[str], None]
) -> Iterator[Link]:
    """Each operation after the other; `begins` hears what comes next. Raises RuntimeError where one fails."""
    for name, (call, expected) in OPERATIONS.items():
        found: list[float] = []
        whole = True
        for label, size in SIZES:
            if len(found) > 1 and found[-1] * size / SIZES[len(found) - 1][1] > MOST_S:
                break  # 1 KB says nothing about large ones
            begins(f"{backend} {name} of {label}")
            values = torch.empty(max(1, size // 4 // world.size) * world.size, device=device)
            seconds, right = _timed(world, lambda v=values, c=call: c(v, world, group), values, expected, device)  # type: ignore[misc]
            whole = whole and right
            found.append(seconds)
        yield Link(backend, name, tuple(found), whole)


def _timed(
    world: World, call: Callable[[], None], values: Tensor, expected: Callable[[World, Tensor], None], device: str
) -> tuple[float, bool]:
    """Seconds of a round, and whether the first one brought the right numbers on all processes."""
    values.fill_(world.rank + 1.0)
    once = _clocked(call, 1, device)  # makes connections
    wanted = torch.empty_like(values)
    expected(world, wanted)
    right = bool(torch.equal(values, wanted))
    once = min(once, _clocked(call, 1, device))
    told = world.told([once, right])
    slowest = max(seconds for seconds, _ in told)
    rounds = int(min(MOST_ROUNDS, BUDGET_S / max(slowest, 1e-9)))
    if rounds > 1:
        slowest = max(world.told(_clocked(call, rounds, device)))
    return slowest, all(one for _, one in told)


def _clocked(call: Callable[[], None], rounds: int, device: str) -> float:
    began = time.perf_counter()
    for _ in range(rounds):
        call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / rounds


def _reduce(values: Tensor, world: World, group: dist.ProcessGroup | None) -> None:
    dist.all_reduce(values, dist.ReduceOp.MAX, group=group)  # may be repeated: sums would grow


def _reduced(world: World, values: Tensor) -> None:
    values.fill_(float(world.size))


def _broadcast(values: Tensor, world: World, group: dist.ProcessGroup | None) -> None:
    dist.broadcast(values, 0, group=group)


def _broadcasted(world: World, values: Tensor) -> None:
    values.fill_(1.0)


def _gather(values: Tensor, world: World, group: dist.ProcessGroup | None) -> None:
    dist.all_gather(list(values.chunk(world.size)), values.chunk(world.size)[world.rank].clone(), group=group)


def _gathered(world: World, values: Tensor) -> None:
    for rank, part in enumerate(values.chunk(world.size)):
        part.fill_(rank + 1.0)


# name: the operation in place, and what it makes of rank + 1 everywhere
Operation = tuple[Callable[[Tensor, World, dist.ProcessGroup | None], None], Callable[[World, Tensor], None]]
OPERATIONS: dict[str, Operation] = {
    "all_reduce": (_reduce, _reduced), "broadcast": (_broadcast, _broadcasted), "all_gather": (_gather, _gathered),
}  # fmt: skip


def judged(link: Link) -> Finding:
    """A failure where wrong numbers came, a warning where it is slow."""
    name = f"{link.backend} {link.operation}"
    parts = [f"{label} {_time(s)}" for (label, _), s in zip(SIZES, link.seconds, strict=False)]
    value = f"{', '.join(parts)}, {link.rate / 1e9:.3g} GB/s"
    if not link.whole:
        remedy = "look for a faulty network card or driver: update it, or leave the host out"
        return Finding(name, f"wrong numbers came; {value}", "fails", remedy)
    if len(link.seconds) == len(SIZES) and link.rate >= SLOW and link.seconds[0] <= LATE_S:
        return Finding(name, value)
    names = "NCCL_SOCKET_IFNAME" if link.backend == "nccl" else "GLOO_SOCKET_IFNAME"
    return Finding(name, value, "warning", f"see that it goes over the fastest network, which {names} names")


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
