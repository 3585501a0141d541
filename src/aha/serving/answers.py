"""Answers that watch whether somebody still listens: one JSON object, or a stream of server-sent events.

Both are ASGI applications. A client that hangs up ends the work behind its answer; one that does not read what it is
sent, for `stall_s` seconds, is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aha.serving.errors import ApiError, to_json
from aha.serving.limits import Message, Receive, Scope, Send
from aha.serving.run import Run

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

log = logging.getLogger("aha.serving")


class Answer:
    """What is common: `run` is closed at the end, whatever happens; `cut` closes a connection by force."""

    def __init__(self, run: Run | None, *, stall_s: float, cut: Callable[[Scope], None]) -> None:
        self._run, self._stall_s, self._cut = run, stall_s, cut
        self._sending: float | None = None  # since when the client is to take something

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Produce while the client listens."""

        async def sending(message: Message) -> None:
            self._sending = time.monotonic()
            await send(message)
            self._sending = None

        producing = asyncio.ensure_future(self.produce(sending))
        listening = asyncio.ensure_future(_gone(receive))
        try:
            while not (producing.done() or listening.done()):
                await asyncio.wait({producing, listening}, timeout=self._stall_s / 2, return_when=FIRST_COMPLETED)
                if self._sending is not None and time.monotonic() - self._sending > self._stall_s:
                    log.info("a client that took nothing for %g s is cut off", self._stall_s)
                    self._cut(scope)
                    return
            if producing.done():
                producing.result()
        finally:
            for task in (producing, listening):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            if self._run is not None:
                self._run.__exit__(None, None, None)

    async def produce(self, send: Send) -> None:
        """Send the answer."""
        raise NotImplementedError


class Json(Answer):
    """One object, when it is there."""

    def __init__(self, make: Callable[[], Awaitable[Any]], run: Run | None, **settings: Any) -> None:
        super().__init__(run, **settings)
        self._make = make

    async def produce(self, send: Send) -> None:
        body = to_json(await self._make())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Events(Answer):
    """Server-sent events. An error after the first of them is one too."""

    def __init__(self, events: AsyncIterator[bytes], run: Run, **settings: Any) -> None:
        super().__init__(run, **settings)
        self._events = events

    async def produce(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        headers += [(b"x-accel-buffering", b"no")]  # proxies hold back what they may
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        more = True
        async with contextlib.aclosing(self._events) as events:  # type: ignore[type-var]
            try:
                async for event in events:
                    more = not event.endswith(DONE)
                    await send({"type": "http.response.body", "body": event, "more_body": more})
            except ApiError as error:
                await send({"type": "http.response.body", "body": data(error.body), "more_body": True})
        if more:
            await send({"type": "http.response.body", "body": b""})


def data(value: Any, event: str = "") -> bytes:
    """One server-sent event."""
    head = b"event: " + event.encode() + b"\n" if event else b""
    return head + b"data: " + to_json(value) + b"\n\n"


async def _gone(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
