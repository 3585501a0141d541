"""What `serve` does to the process that it has for itself, and writes that go out together."""

from __future__ import annotations

import asyncio
import gc
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from aha.serving import server
from aha.serving.server import Joined


def test_the_process_is_made_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was loaded is not looked through for garbage, and the engine gets the interpreter back soon; the engine is
    stopped whatever happens."""
    done: list[str] = []
    loop = SimpleNamespace(start=lambda: done.append("start"), stop=lambda: done.append("stop"))
    service: Any = SimpleNamespace(loop=loop)

    class Server:
        def run(self, sockets: list[Any]) -> None:
            assert gc.get_freeze_count() > 1000 and sys.getswitchinterval() <= 0.001
            done.append("run")
            raise KeyboardInterrupt

    before = sys.getswitchinterval()
    monkeypatch.setattr(server, "make_server", lambda *_: Server())
    try:
        with pytest.raises(KeyboardInterrupt):
            server.serve(service, None, drain_s=1, ready=lambda: None)  # type: ignore[arg-type]
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
    assert done == ["start", "run", "stop"]


class Wire:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True


def after(steps: Any) -> Wire:
    """What has been sent after `steps` of a transport and a round of the event loop."""

    async def main() -> Wire:
        wire = Wire()
        await steps(Joined(wire), wire)
        await asyncio.sleep(0)
        return wire

    return asyncio.run(main())


def test_writes_of_one_moment_are_one() -> None:
    async def steps(transport: Any, wire: Wire) -> None:
        transport.write(b"head ")
        transport.write(b"body")
        assert wire.sent == []
        await asyncio.sleep(0)
        transport.write(b"more")
        transport.pause_reading()

    wire = after(steps)
    assert wire.sent == [b"head body", b"more"] and wire.paused


def test_what_was_written_goes_out_before_the_end() -> None:
    async def steps(transport: Any, wire: Wire) -> None:
        transport.write(b"last")
        transport.close()
        assert wire.sent == [b"last"] and wire.closed

    assert after(steps).sent == [b"last"]


def test_nothing_is_written_after_an_abort() -> None:
    async def steps(transport: Any, wire: Wire) -> None:
        transport.write(b"lost")
        transport.abort()

    assert after(steps).sent == []
