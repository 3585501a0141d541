"""How much a server takes on: samples that run and wait, bytes of a body, seconds for which a client may stall.

What is beyond is refused at once and in words: 429 with `Retry-After` where too many wait, 413 for a body too large,
408 for one that does not come.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aha.errors import UserError
from aha.serving.auth import OPEN, Keys, is_open
from aha.serving.errors import ApiError, to_json, told
from aha.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_RETRY_S = 60
UNANSWERED = 499  # the status that is counted where nobody listens any more
REPEATS_KEPT = 100_000
PATHS = frozenset(
    (
        *OPEN, "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize",
        "/tokenizer_info", "/openapi.json",
    )
)  # fmt: skip


class Gate:
    """Counts the samples under way: `slots` run, `queue` more may wait."""

    def __init__(self, slots: int, queue: int, metrics: Metrics) -> None:
        self.slots, self.queue = slots, queue
        self.inside = 0
        self._metrics = metrics

    def enter(self, samples: int) -> None:
        """Take `samples` in, or raise what says to come back later. Every `enter` needs a `leave`."""
        if self.inside + samples > self.slots + self.queue:
            self._metrics.count("refused_total")
            each = self._metrics.mean("e2e_request_latency_seconds")
            seconds = min(LONGEST_RETRY_S, max(1, math.ceil(each * self.inside / self.slots)))
            raise ApiError(
                429, f"{self.inside} samples run or wait, and {self.slots + self.queue} may; try again in {seconds} s",
                code="rate_limit_exceeded", headers={"Retry-After": str(seconds)},
            )  # fmt: skip
        self.inside += samples

    def leave(self, samples: int) -> None:
        """They have ended."""
        self.inside -= samples


class Repeats:
    """Numbers the samples of identical requests, so that each draws others: see docs/serving.md, "Seeds"."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[bytes, int] = OrderedDict()

    def first(self, digest: bytes, n: int) -> int:
        """The number of the first of `n` samples of a request that has been made before, or not."""
        number = self._drawn.pop(digest, 0)
        self._drawn[digest] = number + n
        if len(self._drawn) > REPEATS_KEPT:
            self._drawn.popitem(last=False)
        return number


class Guarded:
    """An ASGI application behind keys, a limit on bodies, and counters."""

    def __init__(self, app: App, keys: Keys, metrics: Metrics, *, most_body: int, stall_s: float) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics
        self._most_body, self._stall_s = most_body, stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = UNANSWERED

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._admit(scope)
            body = await self._body(receive)
            await self._app(scope, replayed(body, receive), sending)
        except Exception as error:
            if status != UNANSWERED:  # too late to say it
                raise
            await refuse(sending, told(error))
            if not isinstance(error, (ApiError, UserError)):
                raise  # to the log
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.count("requests_total", path=path, status=str(status))

    def _admit(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if not is_open(scope["path"]) and not self._keys.admit(headers.get(b"authorization")):
            raise ApiError(
                401, "no valid key was given; send it as `Authorization: Bearer KEY`", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._most_body:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes:
        """The whole body, in parts that each come in time."""
        parts: list[bytes] = []
        while True:
            try:
                async with asyncio.timeout(self._stall_s):
                    message = await receive()
            except TimeoutError as error:
                raise ApiError(408, f"the body did not come for {self._stall_s:g} s; send it whole") from error
            if message["type"] == "http.disconnect":
                raise ApiError(UNANSWERED, "the client has gone")
            parts.append(message.get("body", b""))
            if sum(map(len, parts)) > self._most_body:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"a body may have {self._most_body} bytes; send less", code="request_too_large")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then what comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def refuse(send: Send, error: ApiError) -> None:
    """Answer with an error. The connection is closed after it where a body may be left unread."""
    body = to_json(error.body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    if error.status in (401, 408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
