"""Requests that go past the framework, and those that do not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aha.errors import UserError
from aha.serving import direct
from aha.serving.auth import Keys
from aha.serving.direct import Direct
from aha.serving.errors import ApiError
from aha.serving.limits import Guarded
from aha.serving.metrics import Metrics
from aha.serving.schema import CompletionRequest

PATH = "/v1/completions"
GOOD = {"prompt": "2+2=", "max_tokens": 3}


async def other(scope: Any, receive: Any, send: Any) -> None:
    """The application behind: says that it was asked, and what it was sent."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Answer:
    """Says back what was asked; then fails, where it is to."""

    def __init__(self, asked: CompletionRequest, failing: Exception | None) -> None:
        self._asked, self._failing = asked, failing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(self._asked.prompt).encode()})
        if self._failing is not None:
            raise self._failing


def ask(
    monkeypatch: pytest.MonkeyPatch, body: bytes, *, method: str = "POST", path: str = PATH,
    kinds: tuple[bytes, ...] = (b"application/json",), before: Exception | None = None, after: Exception | None = None,
) -> tuple[int, bytes, Exception | None]:  # fmt: skip
    """Status, body, and what went on to the log, of a request whose answer fails before or after it has begun."""

    async def make(service: Any, asked: CompletionRequest) -> Answer:
        assert service == "service"
        if before is not None:
            raise before
        return Answer(asked, after)

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    monkeypatch.setitem(direct.ENDPOINTS, PATH, (CompletionRequest, make))
    app = Guarded(Direct(other, "service"), Keys(()), Metrics(), most_body=10_000, stall_s=60)  # type: ignore[arg-type]
    headers = [(b"content-type", kind) for kind in kinds]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    logged = None
    try:
        asyncio.run(app(scope, receive, send))
    except Exception as error:
        logged = error
    starts = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1, "an answer begins once"
    return starts[0], b"".join(message.get("body", b"") for message in sent), logged


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON ; charset=utf-8"])
def test_a_good_request_is_answered_directly(monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    assert ask(monkeypatch, json.dumps(GOOD).encode(), kinds=(kind,)) == (200, b"2+2=", None)


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (b'{"prompt": "x"}', {"method": "GET"}),
        (b'{"prompt": "x"}', {"path": "/v1/models"}),
        (b'{"prompt": "x"}', {"kinds": (b"text/plain",)}),
        (b'{"prompt": "x"}', {"kinds": ()}),
        (b'{"prompt": "x"}', {"kinds": (b"application/json", b"text/plain")}),
        (b'{"prompt": "x", "promt": 1}', {}),
        (b'{"prompt": "x", "n": 0}', {}),
        (b"[]", {}),
        (b"{", {}),
        (b"\xff\xfe", {}),
        (b"[" * 9_000, {}),
        (b'{"seed": ' + b"9" * 5000 + b"}", {}),
        (b"", {}),
    ],
)
def test_all_else_is_left_to_the_application(
    monkeypatch: pytest.MonkeyPatch, body: bytes, change: dict[str, Any]
) -> None:
    """Which is given the body as it came."""
    assert ask(monkeypatch, body, **change) == (418, body, None)


@pytest.mark.parametrize(
    ("error", "status", "part", "logged"),
    [
        (ApiError(503, "the engine has stopped"), 503, b"the engine has stopped", False),
        (UserError("an empty prompt"), 400, b"an empty prompt", False),
        (KeyError("secret"), 500, b"its log says why", True),
    ],
)
def test_errors_are_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, part: bytes, logged: bool
) -> None:
    """A bug of ours goes on to the log, and nothing of it to the client."""
    found, body, raised = ask(monkeypatch, json.dumps(GOOD).encode(), before=error)
    assert found == status and part in body and set(json.loads(body)) == {"error"} and b"secret" not in body
    assert raised is (error if logged else None)
    assert ask(monkeypatch, json.dumps(GOOD).encode(), after=error) == (200, b"2+2=", error), "too late to say it"
