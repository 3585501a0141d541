"""What one process of a run says of itself and its machine, before anything is compared.

facts = of_this(world, "cuda", "0.0.0.0 (eth0)")
Facts(**world.told(asdict(facts))[3])         # plain data: it travels as JSON
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import socket
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import torch

import aha
from aha import runtime
from aha.distributed.world import World, gpu_of
from aha.errors import UserError
from aha.pipeline.run import commit

SHARED_MEMORY = Path("/dev/shm")
SOURCE = Path(aha.__file__).parent


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one process. Sizes are bytes; `gpu` is the name of its own GPU, and `refused` why it has no device."""

    rank: int
    host: str
    address: str  # that gloo is reached at, with its interface
    python: str
    torch: str
    transformers: str
    aha: str  # version, commit and a digest of the source
    device: str  # cpu, cuda, mps
    cores: int
    omp: str  # OMP_NUM_THREADS
    memory: int  # that can be had
    files: int  # that may be open
    opened: int
    shm: int | None  # size of /dev/shm; None: there is none
    shm_free: int
    gpus: tuple[str, ...] = ()  # names of those that it sees
    gpu: str = ""  # its own, by a number that no other one has
    gpu_free: int = 0
    gpu_memory: int = 0
    refused: str = ""


def of_this(world: World, device: str, address: str) -> Facts:
    """This process, on `device` as a user names it: auto, cpu, cuda or mps."""
    limit, opened = _files()
    try:
        kind, refused = runtime.choose(device).device.partition(":")[0], ""
    except UserError as error:
        kind, refused = "none", str(error)
    gpus: dict[str, object] = {}
    if kind == "cuda":
        try:
            gpus = _gpus(gpu_of(world))
        except UserError as error:
            refused = str(error)
    shm = shutil.disk_usage(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    return Facts(
        rank=world.rank, host=socket.gethostname(), address=address, python=platform.python_version(),
        torch=torch.__version__, transformers=metadata.version("transformers"),
        aha=f"{aha.__version__}, commit {commit() or 'unknown'}, source {source_digest()}", device=kind,
        cores=runtime.default_threads(), omp=os.environ.get("OMP_NUM_THREADS", ""),
        memory=psutil.virtual_memory().available, files=limit, opened=opened, shm=shm.total if shm else None,
        shm_free=shm.free if shm else 0, refused=refused, **gpus,  # type: ignore[arg-type]
    )  # fmt: skip


def _gpus(own: int) -> dict[str, object]:
    free, total = torch.cuda.mem_get_info(own)
    names = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    number = str(torch.cuda.get_device_properties(own).uuid)
    return {"gpus": names, "gpu": number, "gpu_free": free, "gpu_memory": total}


def _files() -> tuple[int, int]:
    """Files that this process may have open, and how many it has."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0, 0
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0], psutil.Process().num_fds()


@functools.lru_cache
def source_digest() -> str:
    """Of the code of aha that runs, committed or not."""
    digest = hashlib.sha256()
    for file in sorted(p for p in SOURCE.rglob("*") if p.suffix in (".py", ".cpp", ".h")):
        digest.update(f"{file.relative_to(SOURCE).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:10]
