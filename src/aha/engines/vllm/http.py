"""Requests to one vLLM server: JSON, made again after what may pass, with a bound on everything.

    client = Client("http://127.0.0.1:8000", key="", timeout_s=600, attempts=3)
    client.ask("/collective_rpc", {"method": "aha_describe"}, read=lambda found: found["results"])

What is asked may be asked twice, so every request has to be one that does no harm when it is repeated.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aha.engines.post import HTTP_FAULTS, Answer, Post, Unanswered, said
from aha.engines.vllm.asking import Unusable
from aha.errors import RunFailed, UserError

T = TypeVar("T")
Body = Mapping[str, Any]

FIRST_WAIT_S = 0.5  # before a second attempt; doubled each time, less up to a half by chance
MOST_BYTES = 256 * 2**20  # of an answer: some 150 a token
TOO_MANY = 429


class Refused(UserError):
    """The server will answer no request like this; `status` is its answer's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Client:
    """One server. `ended` says why it is gone, where that is known; threads may share it."""

    def __init__(
        self, url: str, key: str, timeout_s: float, attempts: int, ended: Callable[[], str] = lambda: ""
    ) -> None:
        self.url, self.timeout_s, self.attempts, self._ended = url, timeout_s, attempts, ended
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def post(self, path: str) -> Post:
        """Requests to `path` that can be given up together."""
        return Post(self.url + path, self.timeout_s, MOST_BYTES, direct=True)  # it is on this machine, or near

    def ask(
        self, path: str, body: Body, read: Callable[[Any], T], post: Post | None = None,
        given_up: threading.Event | None = None,
    ) -> T:  # fmt: skip
        """What `read` makes of the answer. Raises Refused, and RunFailed where no attempt was answered with something
        that `read` can use: it raises Unusable, or whatever comes of data that is not what it should be."""
        data, post = json.dumps(body).encode(), post or self.post(path)
        given_up = given_up or threading.Event()
        reason = "given up"
        for attempt in range(self.attempts):
            if attempt and given_up.wait(FIRST_WAIT_S * 2.0**attempt * random.uniform(0.25, 0.5)):
                break
            try:
                answer = post(data, self._headers)
            except Unanswered as fault:
                reason = str(fault)
                if given_up.is_set() or self._ended():
                    break
                continue
            if answer.status == 200:
                try:
                    return read(_whole(answer))
                except (Unusable, ValueError, LookupError, TypeError, RecursionError) as fault:
                    reason = str(fault) if isinstance(fault, Unusable) else f"it answers no JSON that is known: {fault}"
                    continue
            reason = f"{answer.status} {said(answer.body)}".strip()
            if answer.status != TOO_MANY and answer.status < 500:
                raise Refused(answer.status, f"vLLM at {self.url}{path} answers {reason}; see docs/engines.md")
        raise RunFailed(f"vLLM at {self.url}{path} gave no answer: {self._ended() or reason}")

    def healthy(self, seconds: float) -> bool:
        """Whether the server says so within `seconds`."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
        try:
            connection.request("GET", f"{parts.path}/health")
            return connection.getresponse().status == 200
        except HTTP_FAULTS:
            return False
        finally:
            connection.close()


def _whole(answer: Answer) -> Any:
    if not answer.whole:
        raise Unusable(f"its answer has more than {MOST_BYTES} bytes")
    return json.loads(answer.body)
