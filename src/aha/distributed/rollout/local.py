"""Workers as processes of this machine.

    launcher = Processes()
    worker = launcher.start("rollout-0", setup)

A worker is a fresh interpreter at the other end of a pipe; orders and words are JSON with bytes after it, nothing is
unpickled. Weights go through a file in shared memory, which workers map. Both ends have a thread that reads and one
that writes, so nobody waits for a process that is stopped. A worker ends with the process that has started it.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aha.distributed.rollout.channel import Message, Setup, Worker
from aha.distributed.rollout.worker import work
from aha.errors import UserError
from aha.protocols import Weights

SHARED_MEMORY = Path("/dev/shm")
FOLDER = "aha-weights-"  # then the number of the process that has made it
KEPT = 2  # versions that can be read
SIZE = struct.Struct("<I")
ENDING_S = 0.5  # for the last words of a process that has ended to be read
LEAVING_S = 3.0  # for workers that were told to leave
ORPHAN_S = 1.0


def encoded(message: Message) -> bytes:
    """A message as bytes.

    >>> decoded(encoded(Message("made", {"question": "17"}, b"12")))
    Message(kind='made', about={'question': '17'}, body=b'12', handle=None)
    """
    words = json.dumps([message.kind, message.about, message.handle]).encode()
    return SIZE.pack(len(words)) + words + message.body


def decoded(data: bytes) -> Message:
    """Inverse of `encoded`."""
    (size,) = SIZE.unpack_from(data)
    kind, about, handle = json.loads(data[SIZE.size : SIZE.size + size])
    return Message(kind, about, data[SIZE.size + size :], handle)


class Processes:
    """A launcher of processes, each with an interpreter of its own, which begin by one of multiprocessing's methods. Of
    several GPUs, workers take those after the ones of `learners` in turn."""

    def __init__(self, learners: int = 1, method: Literal["spawn", "forkserver"] = "spawn") -> None:
        self._learners = learners
        self._context: Any = multiprocessing.get_context(method)
        self._heard = threading.Event()
        self._workers: list[_Process] = []
        self._folder: Path | None = None
        self._files: deque[Path] = deque()
        self._numbers = itertools.count()
        atexit.register(self.close)  # before multiprocessing waits for all processes

    def start(self, name: str, setup: Setup) -> Worker:
        """As `Launcher` says."""
        number = int(name.rpartition("-")[2])
        ours, theirs = self._context.Pipe()
        arguments = _placed(setup, self._learners + number), theirs
        process = self._context.Process(target=_process, args=arguments, name=f"aha-{name}")
        process.start()
        theirs.close()
        worker = _Process(name, process, ours, self._heard)
        self._workers = [other for other in self._workers if not other.ended()] + [worker]
        return worker

    def hand_out(self, weights: Weights, version: int) -> str:
        """As `Launcher` says: a file of this version, whole."""
        tensors = _apart(weights)
        if self._folder is None:
            self._folder = _new_folder(sum(tensor.nbytes for tensor in tensors.values()))
        file = self._folder / f"{next(self._numbers):06d}-{version}.safetensors"
        save_file(tensors, file.with_suffix(".writing"))
        os.replace(file.with_suffix(".writing"), file)
        self._files.append(file)
        if len(self._files) > KEPT:
            self._files.popleft().unlink(missing_ok=True)
        return str(file)

    def wait(self, seconds: float) -> None:
        """As `Launcher` says."""
        self._heard.wait(seconds)
        self._heard.clear()

    def close(self) -> None:
        """As `Launcher` says; those that were told to leave have a moment to do so."""
        until = time.monotonic() + LEAVING_S
        for worker in self._workers:
            worker.leave(max(0.0, until - time.monotonic()))
        self._workers.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)


class _Process:
    """One worker as its pool sees it."""

    def __init__(self, name: str, process: BaseProcess, end: Connection, heard: threading.Event) -> None:
        self.name, self._process, self._end, self._heard = name, process, end, heard
        self._words: SimpleQueue[Message] = SimpleQueue()
        self._orders: SimpleQueue[Message | None] = SimpleQueue()
        self._ended_at: float | None = None
        self._told = self._closed = False
        for job in (self._read, self._write):
            threading.Thread(target=job, daemon=True, name=f"aha-{name}").start()

    def send(self, message: Message) -> None:
        """As `Worker` says."""
        self._told = self._told or message.kind == "leave"
        self._orders.put(message)

    def received(self) -> list[Message]:
        """As `Worker` says."""
        found = []
        with contextlib.suppress(Empty):
            while True:
                found.append(self._words.get_nowait())
        return found

    def ended(self) -> str:
        """As `Worker` says."""
        code = self._process.exitcode
        if code is None:
            return ""
        self._ended_at = self._ended_at or time.monotonic()
        if not self._closed and time.monotonic() - self._ended_at < ENDING_S:
            return ""
        return f"its process was ended by signal {-code}" if code < 0 else f"its process ended with status {code}"

    def end(self) -> None:
        """As `Worker` says."""
        self._process.kill()
        self._orders.put(None)

    def leave(self, seconds: float) -> None:
        """End, after a wait of `seconds` where it was told to leave."""
        if self._told:
            self._process.join(seconds)
        self.end()
        self._process.join(LEAVING_S)

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._words.put(decoded(self._end.recv_bytes()))
                self._heard.set()
        self._end.close()
        self._closed = True
        self._heard.set()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while (message := self._orders.get()) is not None:
                self._end.send_bytes(encoded(message))


def _process(setup: Setup, end: Connection) -> None:
    """A worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that has started it hears it, and ends it
    orders: SimpleQueue[Message] = SimpleQueue()
    parent, folders = os.getppid(), set[Path]()

    def leave() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)  # nobody else is left to do so
        os._exit(1)

    def read() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                orders.put(decoded(end.recv_bytes()))
        leave()

    def watch() -> None:
        while os.getppid() == parent:  # others may hold the pipe open
            time.sleep(ORPHAN_S)
        leave()

    def take(seconds: float) -> Message | None:
        try:
            return orders.get(timeout=seconds) if seconds > 0 else orders.get_nowait()
        except Empty:
            return None

    def read_weights(handle: str) -> Weights | None:
        folders.add(Path(handle).parent)
        return weights_at(handle)

    for job in (read, watch):
        threading.Thread(target=job, daemon=True, name=f"aha-{job.__name__}").start()
    try:
        work(setup, take, lambda word: end.send_bytes(encoded(word)), read_weights)
    except (UserError, OSError):  # it has said so, or nobody hears it any more
        sys.exit(1)


def weights_at(handle: str) -> Weights | None:
    """What was handed out under `handle`; None where newer weights have taken its place."""
    try:
        return dict(load_file(handle))
    except FileNotFoundError:
        return None


def _apart(weights: Weights) -> dict[str, Tensor]:
    """In main memory, each with memory of its own: tied ones are written twice."""
    seen: set[int] = set()
    found = {}
    for name, tensor in weights.items():
        one = tensor.detach().cpu().contiguous()
        if one.data_ptr() in seen or one.untyped_storage().nbytes() != one.nbytes:
            one = one.clone()
        seen.add(one.data_ptr())
        found[name] = one
    return found


def _placed(setup: Setup, number: int) -> Setup:
    """With the GPU of this number, of those that there are."""
    count = torch.cuda.device_count() if setup.device == "cuda" else 0
    return replace(setup, device=f"cuda:{number % count}") if count > 1 else setup


def _new_folder(size: int) -> Path:
    """A folder for files of `size` bytes: in shared memory, where it has room for them. What dead processes have left
    there is removed."""
    roomy = os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > (KEPT + 2) * size
    place = SHARED_MEMORY if roomy else Path(tempfile.gettempdir())
    for old in place.glob(f"{FOLDER}*"):
        owner = old.name.removeprefix(FOLDER).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=place))
