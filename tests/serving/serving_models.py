"""Servers for tests: one in this process, and `aha serve` as a process."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from aha import runtime
from aha.serving.loop import EngineLoop
from aha.serving.server import listen, make_server
from aha.serving.service import Service, Settings
from aha.serving.start import Options, make_service

SECONDS = 120.0  # after which a test has failed that waits


@dataclass
class Served:
    """A server that runs; `stop` ends it."""

    service: Service
    server: Any
    sock: socket.socket
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.sock.getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(SECONDS)
        self.service.loop.stop()

    def rests(self) -> bool:
        """True as soon as nothing runs or waits."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            loop: Any = self.service.loop
            busy = loop.engine.busy if isinstance(loop, EngineLoop) else loop.running or any(r.works for r in loop._all)
            if not self.service.gate.inside and not busy:
                return True
            time.sleep(0.02)
        return False


Serve = Callable[..., Served]


def serve_model(model: str = "tiny", options: Options | None = None, engines: int = 1, **settings: Any) -> Served:
    """Serve `model` under `Settings(**settings)`, by an engine in this process or by several in others."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    given = Settings(**{"name": "tiny", "slots": 16, "stall_s": 20.0, **settings})
    chosen = runtime.choose("cpu", "float32", engines)
    service = make_service(model, chosen, engines, given, options or Options(room=2**28))
    service.loop.start()
    sock = listen("127.0.0.1", 0)
    server = make_server(service, drain_s=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    until = time.monotonic() + SECONDS
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    return Served(service, server, sock, thread)


@contextmanager
def process(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`aha serve tiny` as a process, with its address."""
    command = [sys.executable, "-m", "aha", "serve", "tiny", "--port", "0", "--threads", "1", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    ) as running:
        try:
            assert running.stdout is not None
            said = ""
            until = time.monotonic() + SECONDS
            while not said.endswith("\n") or "serving " not in said:
                assert time.monotonic() < until and running.poll() is None, said
                if select.select([running.stdout], [], [], 1.0)[0]:
                    said += running.stdout.readline()
            found = re.search(r"at (http://\S+)/v1", said)
            assert found is not None
            yield running, found[1]
        finally:
            if running.poll() is None:
                running.kill()
            running.wait(SECONDS)
