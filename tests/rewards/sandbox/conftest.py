"""One slot for all tests of this folder, and decoys on the host."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoys import SECRET, Host

from aha.rewards.sandbox import Pool, available


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skips where no sandbox can start, with the reason."""
    if missing := available():
        pytest.skip(missing)


@pytest.fixture(scope="session")
def pool(sandbox: None) -> Iterator[Pool]:
    pool = Pool(1)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    for way in (folder, *folder.parents[:3]):  # open to every user, so that only the sandbox can stop a program
        if way != Path("/tmp") and way.stat().st_uid == os.getuid():
            way.chmod(0o777)
    decoy = folder / "decoy.txt"
    decoy.write_text(SECRET)
    decoy.chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        name = f"aha-decoy-{os.getpid()}"
        local.bind("\0" + name)
        local.listen()
        sentinel = subprocess.Popen(["sleep", "3600"])
        host = Host(folder, decoy, sentinel, server.getsockname()[1], name)
        for listening in (server, local):
            threading.Thread(target=_answer, args=(listening, host), daemon=True).start()
        yield host
        sentinel.kill()
        sentinel.wait()


def _answer(server: socket.socket, host: Host) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        host.visitors.append(str(server.family))
        connection.sendall(SECRET.encode())
        connection.close()
