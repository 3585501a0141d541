"""Errors as OpenAI's servers put them: `{"error": {"message", "type", "param", "code"}}` under an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aha.errors import UserError

TYPES = {
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}  # every other one is an invalid_request_error
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class ApiError(Exception):
    """What a client is told. `headers` go with it."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """As it is sent."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that cannot be served as it stands."""
    return ApiError(400, message, param=param, code=code)


def told(error: Exception) -> ApiError:
    """What a client is told of an error; of a bug of ours no more than that there is one."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return ApiError(400, str(error))
    return ApiError(500, "the server has failed at this request; its log says why", code="internal_error")


def to_json(value: Any) -> bytes:
    """JSON in UTF-8. Halves of characters, which UTF-8 cannot hold, are written as JSON escapes."""
    return ENCODER.encode(value).encode("utf-8", "backslashreplace")
