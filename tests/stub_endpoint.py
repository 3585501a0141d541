"""A real HTTP server in a thread that answers as it is told: an OpenAI-compatible endpoint in all its moods."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aha.choices import EndpointChoice


@dataclass(frozen=True)
class Said:
    """One answer: a dict becomes JSON; `wait_s` passes before it; `drip_s` before each of its bytes."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drip_s: float = 0.0
    cut: bool = False  # the connection breaks in the midst of the body


def chat(text: str | None, *, tokens: tuple[int, int] | None = (10, 5), stop: Any = "stop", **message: Any) -> Said:
    """A chat completion with this text."""
    body: dict[str, Any] = {
        "choices": [{"index": 0, "finish_reason": stop, "message": {"role": "assistant", "content": text, **message}}]
    }
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return Said(body)


Answering = Callable[[dict[str, Any], int], Said]  # (request, its number from 0) -> what is said


class Stub:
    """`with Stub(lambda body, number: chat("4")) as stub: stub.choice()`; `asked` has the requests as they came."""

    def __init__(self, answering: Answering, tls: ssl.SSLContext | None = None) -> None:
        self.answering = answering
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.most_at_a_time = self._now = 0
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def choice(self, **changes: Any) -> EndpointChoice:
        return EndpointChoice(**{"url": self.url, "model": "stub", "timeout_s": 20.0, **changes})

    def texts(self) -> list[str]:
        """The last message of each request."""
        return [body["messages"][-1]["content"] for body in self.asked]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _handler(stub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub._lock:
                    number = len(stub.asked)
                    stub.asked.append(body)
                    stub.headers.append(dict(self.headers))
                    stub.paths.append(self.path)
                    stub._now += 1
                    stub.most_at_a_time = max(stub.most_at_a_time, stub._now)
                try:
                    said = stub.answering(body, number)
                    time.sleep(said.wait_s)
                finally:
                    with stub._lock:
                        stub._now -= 1
                try:
                    self._say(said)
                except OSError:
                    self.close_connection = True  # nobody listens any more

            def _say(self, said: Said) -> None:
                data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                if said.drip_s:
                    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + data:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(said.drip_s)
                    return
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if said.cut else data)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
