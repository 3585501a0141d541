"""One POST of JSON to an address, with a bound on everything: seconds in all, bytes, where it goes.

    answer = Post("https://api.deepseek.com/v1/chat/completions", timeout_s=600)(body, headers)
    answer.status, answer.headers["retry-after"], answer.body

Redirects are not followed: headers with a key go to the address that was given and to no other. Proxies are those of
the environment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_S = 10.0  # for a connection, of the seconds for all
MOST_BYTES = 8 * 2**20  # of an answer, unless more is asked for
SAID = 300  # characters of what a server says of an error, that are shown
# ssl's faults and timeouts among them; UnicodeError for a name that no host can have
HTTP_FAULTS = (OSError, http.client.HTTPException, UnicodeError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Headers' names are in small letters; `whole` is False where there was more than is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class Unanswered(Exception):
    """No answer came, or none whole in time. `sent`: the request may have arrived, and may be paid for."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Post:
    """Posts to `url`; a request has `timeout_s` seconds from its connection to the last byte. Threads may share it.
    With `direct` no proxy is asked."""

    def __init__(self, url: str, timeout_s: float, most_bytes: int = MOST_BYTES, *, direct: bool = False) -> None:
        self.url, self.timeout_s, self.most_bytes, self.direct = url, timeout_s, most_bytes, direct
        self._parts = urlsplit(url)
        self._tls = ssl.create_default_context() if self._parts.scheme == "https" else None
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._given_up = False

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Raises Unanswered."""
        connection, target, proxy_headers = self._connection()
        late, sent = threading.Event(), False

        def expire() -> None:
            late.set()
            _hang_up(connection)

        timer = threading.Timer(self.timeout_s, expire)
        timer.daemon = True
        try:
            self._note(connection)
            timer.start()
            connection.connect()
            self._note(connection)  # until now there was nothing that could be hung up
            if late.is_set():
                raise TimeoutError
            if connection.sock is not None:
                connection.sock.settimeout(self.timeout_s + CONNECT_S)  # a read alone; the timer comes first
            sent = True
            connection.request("POST", target, body, {**headers, **proxy_headers, "Connection": "close"})
            response = connection.getresponse()
            data = response.read(self.most_bytes + 1)
            if late.is_set():
                raise TimeoutError
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, data[: self.most_bytes], len(data) <= self.most_bytes)
        except HTTP_FAULTS as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise Unanswered(
                f"no whole answer in {self.timeout_s:g} s" if late.is_set() else reason, sent=sent
            ) from error
        finally:
            timer.cancel()
            connection.close()
            with self._lock:
                self._open.discard(connection)

    def give_up(self) -> None:
        """End all requests that are under way; later ones raise Unanswered at once."""
        with self._lock:
            self._given_up = True
            for connection in self._open:
                _hang_up(connection)

    def _note(self, connection: http.client.HTTPConnection) -> None:
        """Let `give_up` know of the connection. Raises Unanswered where it has been called."""
        with self._lock:
            if self._given_up:
                raise Unanswered("given up", sent=False)
            self._open.add(connection)

    def _connection(self) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """A connection that is not made yet, the request's target, and headers for a proxy that reads them."""
        parts = self._parts
        host, path = parts.hostname or "", parts.path or "/"
        proxy = "" if self.direct else getproxies().get(parts.scheme, "")
        if proxy and not proxy_bypass(parts.netloc):
            via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            secret = f"{unquote(via.username)}:{unquote(via.password or '')}" if via.username else ""
            basic = {"Proxy-Authorization": f"Basic {b64encode(secret.encode()).decode()}"} if secret else {}
            connection = self._to(via.hostname or "", via.port)
            if self._tls is None:
                return connection, self.url, basic
            connection.set_tunnel(host, parts.port or 443, basic)
            return connection, path, {}
        return self._to(host, parts.port), path, {}

    def _to(self, host: str, port: int | None) -> http.client.HTTPConnection:
        seconds = min(CONNECT_S, self.timeout_s)
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=seconds)


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """Wake whoever reads from the connection: it has ended."""
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def said(body: bytes) -> str:
    """What a body says of an error, on one line."""
    text = body[: 16 * SAID].decode("utf-8", "replace")
    try:
        found = json.loads(text)
        error = found.get("error", found.get("detail", text))
        text = str(error["message"] if isinstance(error, Mapping) else error)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SAID]
