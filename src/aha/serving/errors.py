"""Errors as OpenAI's servers put them: `{"error": {"message", "type", "param", "code"}}` under an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

TYPES = {
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}  # every other one is an invalid_request_error


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


def to_json(value: Any) -> bytes:
    """JSON in UTF-8. Halves of characters, which UTF-8 cannot hold, are written as JSON escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
