"""The processes of a run: who they are, and how they agree.

    with joined(seconds=7200, device="cuda:1") as world:    # one process where no launcher has started more
        world.rank, world.size, world.first
        world.agreed(found)                                 # the first process's answer, on all
        world.gather(data)                                  # the bytes of each, in order of their ranks

A launcher (`torchrun`, Slurm) says who a process is by RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. What is said here goes over gloo and from memory to memory; on GPUs, weights and gradients go over NCCL.
Every method is called by all processes, in the same order.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout as set_timeout

from aha.distributed.address import NAMED, settle, taken
from aha.errors import RunFailed, UserError

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
MEETING_S = 600.0  # in which all processes have to have come
CONNECTING_S = 120.0  # for one connection, once they have; gloo waits five times that for others to connect
FOREVER_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class World:
    """This process among all; `local_` are those of its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, and speaks for all."""
        return self.rank == 0

    def gather(self, data: bytes) -> list[bytes]:
        """What each process gives, in order of their ranks."""
        if self.size == 1:
            return [data]
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(data)]))
        most = max(int(size) for size in sizes)
        if not most:
            return [b""] * self.size
        padded = torch.frombuffer(bytearray(data.ljust(most, b"\0")), dtype=torch.uint8)
        found = [torch.empty(most, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(found, padded)
        return [row[: int(size)].numpy().tobytes() for row, size in zip(found, sizes, strict=True)]

    def told(self, value: Any) -> list[Any]:
        """The plain values of all processes, as JSON keeps them: floats to the last bit, tuples as lists."""
        return [value] if self.size == 1 else [json.loads(data) for data in self.gather(json.dumps(value).encode())]

    def agreed(self, value: Any) -> Any:
        """The first process's plain value, on all."""
        return value if self.size == 1 else self.told(value if self.first else None)[0]

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        return any(self.told(flag))

    def wait(self) -> None:
        """Until all are here."""
        self.told(None)


def launched() -> World:
    """This process as a launcher describes it; alone where none does. Raises UserError where it does so by halves."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    missing = [name for name in NAMES if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is set and {', '.join(missing)} not; start with torchrun, or set all of them")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return World(rank, size, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size)))


@contextlib.contextmanager
def joined(seconds: float, device: str, meeting: float = 0.0) -> Iterator[World]:
    """The processes of this run, met. What they do together may take `seconds` (0: any time), and happens on `device`;
    to meet they have `meeting` seconds (0: `MEETING_S`). Raises RunFailed where some do not come."""
    world = launched()
    if world.size > 1 and not dist.is_initialized():  # once a process: a store of addresses serves one meeting
        _meet(seconds, device, meeting or MEETING_S)
    yield world


def gpu_of(world: World) -> int:
    """The number of a process's GPU, of those that it sees: the launcher may have left it one alone. Raises UserError
    where there is none for it."""
    seen = torch.cuda.device_count()
    if seen == 1 and world.local_size > 1 and os.environ.get("CUDA_VISIBLE_DEVICES"):
        return 0
    if world.local_rank >= seen:
        raise UserError(
            f"process {world.rank} sees {seen} GPUs and would take number {world.local_rank}; start as many processes "
            "on a machine as it has GPUs"
        )
    return world.local_rank


def _meet(seconds: float, device: str, meeting: float) -> None:
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    patience = datetime.timedelta(seconds=seconds or FOREVER_S)
    connecting = datetime.timedelta(seconds=min(CONNECTING_S, meeting))
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=datetime.timedelta(seconds=meeting)))
        store.set_timeout(datetime.timedelta(seconds=meeting))
        settle(store, rank, size)
        store.set_timeout(patience)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RunFailed(
            f"the {os.environ['WORLD_SIZE']} processes did not all meet at {where} within {meeting:.0f} s; start as "
            "many, and see that the address can be reached from each"
        ) from error
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=connecting)
    except RuntimeError as error:
        raise RunFailed(
            f"the processes met, but {socket.gethostname()}, which gloo reaches at {taken()}, has no connection to all "
            f"others ({str(error).splitlines()[0][:300]}); set {NAMED} to the interface that the machines share, as "
            "ip -br addr lists them"
        ) from error
    set_timeout(patience)
