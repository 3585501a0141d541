"""Several processes that a test starts as a launcher would: `on_ranks(function, *arguments)` is what each returns."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import torch

# Forked from a server that has imported all of this and done nothing with it: a process is there at once.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["aha.pipeline.run", "aha.pipeline.recipes", "torch.distributed.fsdp", "torch._dynamo"])
PATIENCE_S = 600.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _begin(ends: Connection, names: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= names
    torch.set_num_threads(1)
    try:
        said = io.BytesIO()
        torch.save(function(*arguments), said)  # tensors as bytes: shared memory would end with the process
        ends.send((True, said.getvalue()))
    except BaseException as error:
        ends.send((False, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        raise SystemExit(1) from None


@contextlib.contextmanager
def ranks(
    function: Callable[..., Any], *arguments: Any, size: int = 2
) -> Iterator[list[tuple[ForkServerProcess, Connection]]]:
    """The processes of ranks 0 to `size` - 1 that call `function`, each with the end that its answer comes from."""
    port, made = free_port(), []
    for rank in range(size):
        names = {
            "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        ours, theirs = SERVER.Pipe(duplex=False)
        process = SERVER.Process(target=_begin, args=(theirs, names, function, arguments), daemon=True)
        process.start()
        theirs.close()
        made.append((process, ours))
    try:
        yield made
    finally:
        for process, _ in made:
            process.kill()


def answer(end: Connection) -> tuple[bool, Any]:
    """Whether a process returned, and what; or what it raised, or that it died."""
    if not end.poll(PATIENCE_S):
        return False, "no answer"
    try:
        well, said = end.recv()
    except EOFError:
        return False, "died"
    return well, torch.load(io.BytesIO(said), weights_only=False) if well else said


def on_ranks(function: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """What `function` returns on each of `size` processes; fails where one of them does."""
    with ranks(function, *arguments, size=size) as made:
        found = [answer(end) for _, end in made]
    assert all(well for well, _ in found), "\n".join(str(what) for well, what in found if not well)
    return [what for _, what in found]
