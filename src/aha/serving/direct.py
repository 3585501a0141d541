"""The endpoints that draw tokens, and the way to them past the layers of a framework, which cost more than all else of
an answer.

    app = Direct(app, service)      # `app`: the same endpoints and all others

A POST with JSON that its schema takes is answered at once. All else goes on to `app`, which says what is wrong with it.
Errors are raised as ApiError or UserError.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from aha.serving.answers import Answer
from aha.serving.chat import chat
from aha.serving.completions import completions
from aha.serving.limits import App, Receive, Scope, Send, replayed
from aha.serving.responses import responses
from aha.serving.schema import ChatRequest, CompletionRequest, ResponsesRequest
from aha.serving.service import Service

Make = Callable[[Service, Any], Awaitable[Answer]]
ENDPOINTS: dict[str, tuple[type[BaseModel], Make]] = {
    "/v1/chat/completions": (ChatRequest, chat),
    "/v1/completions": (CompletionRequest, completions),
    "/v1/responses": (ResponsesRequest, responses),
}


class Direct:
    """An ASGI application before another. A request's body has to come as one message."""

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or leave it to the other application."""
        found = ENDPOINTS.get(scope["path"])
        if found is None or scope["method"] != "POST" or not _is_json(scope):
            await self._app(scope, receive, send)
            return
        schema, make = found
        body = (await receive())["body"]
        asked = _read(schema, body)
        if asked is None:
            await self._app(scope, replayed(body, receive), send)
            return
        answer = await make(self._service, asked)
        await answer(scope, receive, send)


def _is_json(scope: Scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == b"application/json"


def _read(schema: type[BaseModel], body: bytes) -> BaseModel | None:
    """The request that a body holds; None for what is none."""
    try:
        return schema.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError):
        return None
