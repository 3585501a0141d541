"""The server's own process: it listens, answers over HTTP by uvicorn, and ends on a signal, after what runs.

serve(service, listen("127.0.0.1", 8000), drain_s=30, ready=lambda: None)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aha.errors import UserError
from aha.serving.app import make_app
from aha.serving.engines import keep_what_is_loaded
from aha.serving.limits import Scope
from aha.serving.service import Service

KEEP_ALIVE_S = 30  # for which a connection may rest between two requests
SWITCH_S = 0.0002  # for which the event loop keeps the interpreter that the engine waits for
BACKLOG = 2048  # connections that wait to be taken
SWEEP_TICKS = 10  # of uvicorn, ten a second
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UserError."""
    # asyncio sends small messages at once only over sockets that call themselves TCP
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        return sock
    except (OSError, OverflowError) as error:
        sock.close()
        raise UserError(f"cannot listen at {host}:{port} ({error}); choose another --host or --port") from error


def is_local(host: str) -> bool:
    """True where only this machine reaches the server."""
    return host in ("localhost", "::1") or host.startswith("127.")


def serve(service: Service, sock: socket.socket, *, drain_s: float, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, for `drain_s` seconds at most. `ready` is called when
    requests are answered."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    keep_what_is_loaded()
    sys.setswitchinterval(SWITCH_S)
    service.loop.start()
    try:
        make_server(service, drain_s, ready).run(sockets=[sock])
    finally:
        service.loop.stop()


def make_server(service: Service, drain_s: float, ready: Callable[[], None] = lambda: None) -> Any:
    """A `uvicorn.Server` of a service, whose loop has been started."""
    import uvicorn

    class Server(uvicorn.Server):
        """Handles signals by itself, so that one which was obeyed is not raised again, and looks after connections."""

        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            self._resting: dict[Any, tuple[Any, float]] = {}

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await service.loop.attach()
            await super().startup(sockets)
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                    loop.add_signal_handler(number, self.end)
            ready()

        def end(self) -> None:
            self.force_exit = self.should_exit  # the second signal does not wait
            self.should_exit = True

        async def on_tick(self, counter: int) -> bool:
            if counter % SWEEP_TICKS == 0:
                self._resting = _sweep(self.server_state.connections, self._resting, service.settings.stall_s)
            return await super().on_tick(counter)

    config = uvicorn.Config(
        make_app(service), http=_protocol(), log_config=None, access_log=False, lifespan="off", server_header=False,
        ws="none", timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=max(1, round(drain_s)),
        proxy_headers=False,  # a request's client stays the connection's own, by which `_cut` finds it
    )  # fmt: skip
    server = Server(config)
    service.cut = lambda scope: _cut(server.server_state.connections, scope)
    return server


def _cut(connections: Iterable[Any], scope: Scope) -> None:
    """Close a client's connection without sending what is left."""
    for connection in list(connections):
        if connection.client is not None and connection.client == tuple(scope.get("client") or ()):
            connection.transport.abort()


def _sweep(
    connections: Iterable[Any], before: dict[Any, tuple[Any, float]], most_s: float
) -> dict[Any, tuple[Any, float]]:
    """Close connections that have begun no whole request for `most_s`: nothing else bounds how long a head may take.
    Returns those that rest, with their last request and the time since when."""
    now, resting = time.monotonic(), {}
    for connection in list(connections):
        cycle = connection.cycle
        if cycle is None or cycle.response_complete:
            known = before.get(connection)
            since = known[1] if known is not None and known[0] is cycle else now
            resting[connection] = cycle, since
            if now - since > most_s:
                connection.transport.abort()
    return resting


class Joined:
    """A transport before another: what is written in one moment, a head with its body or chunks that come at once, goes
    out together when the event loop comes round. Each write by itself costs a call of the system and wakes the client.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """As `asyncio.WriteTransport`."""
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """As `asyncio.BaseTransport`: after what was written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _protocol() -> Any:
    """uvicorn's protocol over joined transports."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Together(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Joined(transport))

    return Together
