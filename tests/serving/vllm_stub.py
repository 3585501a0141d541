"""A vLLM server without vLLM: the routes and messages of vLLM 0.32 that `aha serve --engine vllm` asks for.

with Stub() as stub:
    stub.script = lambda body: [5, 6, 7]        # what it draws after a prompt
    stub.url, stub.bodies                       # what it was asked
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from aha.models.loading import load_tokenizer, resolve
from aha.serving.server import listen

SECONDS = 60.0  # after which a test has failed that waits
CONTEXT = 512
OWN, FORCED, OTHER = -0.5, -3.0, -1.25  # log-probs: of a token that was drawn, was put, is token 7


class Stub:
    """`script` maps a request to what is drawn; `hold`: a stream rests after so many tokens, until it is hung up on."""

    def __init__(self) -> None:
        self.tokenizer = load_tokenizer("tiny")
        self.script: Callable[[dict[str, Any]], list[int]] = lambda body: [5]
        self.bodies: list[dict[str, Any]] = []
        self.hold: int | None = None
        self.fault: dict[str, Any] | None = None  # an error in the midst of a stream
        self.refusal: str = ""  # of grammars
        self.processed, self.root, self.extra = False, resolve("tiny"), ""
        self.hung_up = 0
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def start(self) -> None:
        """Serve, at the port of the last time."""
        import uvicorn

        sock = listen("127.0.0.1", self._port)
        self._port = sock.getsockname()[1]
        config = uvicorn.Config(self._app, interface="asgi3", log_config=None, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()
        until = time.monotonic() + SECONDS
        while not self._server.started:
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        """Go as a process goes that is killed: connections break."""
        for connection in list(self._server.server_state.connections):
            connection.loop.call_soon_threadsafe(connection.transport.abort)
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(SECONDS)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        raw = b""
        while (message := await receive()).get("more_body"):
            raw += message["body"]
        raw += message.get("body", b"")
        body = json.loads(raw or b"{}")
        path = scope["path"]
        if path == "/v1/models":
            card = {"id": "served", "root": self.root, "parent": None, "max_model_len": CONTEXT}
            await _json(send, {"data": [{"id": "adapter", "parent": "served"}, card]})
        elif path == "/tokenize":
            await _json(send, {"tokens": self.ids(body["prompt"] + self.extra)})
        elif path == "/metrics":
            await _json(send, None, text='vllm:kv_cache_usage_perc{engine="0",model_name="served"} 0.25\n')
        elif path == "/v1/completions":
            self.bodies.append(body)
            await (self._stream if body.get("stream") else self._whole)(body, receive, send)
        else:
            await _json(send, {}, status=200 if path == "/health" else 404)

    async def _whole(self, body: dict[str, Any], receive: Any, send: Any) -> None:
        if self.refusal and "structured_outputs" in body:
            await _json(send, {"error": {"message": self.refusal, "code": 400}}, status=400)
            return
        ids, choice = self._drawn(body)[: body["max_tokens"]], {"index": 0, "text": "", "finish_reason": "length"}
        if (most := body.get("prompt_logprobs")) is not None:
            prompt = body["prompt"]
            scores = [{str(t): {"logprob": -float(t), "rank": 1}, "7": {"logprob": OTHER}} for t in prompt[1:]]
            choice["prompt_logprobs"] = [None, *({k: s[k] for k in list(s)[: most + 1]} for s in scores)]
        await _json(send, {"choices": [{**choice, "token_ids": ids, "logprobs": self._logprobs(body, ids)}]})

    async def _stream(self, body: dict[str, Any], receive: Any, send: Any) -> None:
        ids = self._drawn(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        sent = 0
        for part, finish in _parts(ids, body):
            if self.fault is not None:
                await _event(send, {"error": self.fault})
                break
            if self.hold is not None and sent >= self.hold:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.hung_up += 1
                return
            choice = {"index": 0, "text": "", "logprobs": self._logprobs(body, part), "token_ids": part}
            await _event(send, {"choices": [{**choice, "finish_reason": finish, "stop_reason": None}]})
            sent += len(part)
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    def _drawn(self, body: dict[str, Any]) -> list[int]:
        only = body.get("allowed_token_ids") or ()
        return list(only) if len(only) == 1 else self.script(body)

    def _logprobs(self, body: dict[str, Any], ids: list[int]) -> dict[str, Any] | None:
        if body.get("logprobs") is None:
            return None
        own = FORCED if body.get("allowed_token_ids") else OWN
        own = 0.0 if self.processed else own
        tops = [{f"token_id:{t}": own, "token_id:7": OTHER, "token_id:8": OTHER - 1} for t in ids]
        shown = [dict(list(top.items())[: body["logprobs"] + 1]) for top in tops]
        return {"token_logprobs": [own] * len(ids), "top_logprobs": shown, "tokens": [], "text_offset": []}

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()


def _parts(ids: list[int], body: dict[str, Any]) -> Iterator[tuple[list[int], str | None]]:
    """The messages of a stream, with how it finishes: vLLM draws no end before `min_tokens`."""
    stops, taken = set(body["stop_token_ids"]), list[int]()
    for token in ids:
        if token in stops and len(taken) < body["min_tokens"]:
            continue
        taken.append(token)
        if token in stops or len(taken) == body["max_tokens"]:
            break
    finish = "stop" if taken and taken[-1] in stops else "length"
    each = body["stream_interval"]
    for at in range(0, len(taken), each):
        yield taken[at : at + each], finish if at + each >= len(taken) else None


async def _event(send: Any, value: Any) -> None:
    body = f"data: {json.dumps(value)}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _json(send: Any, value: Any, status: int = 200, text: str | None = None) -> None:
    body = (json.dumps(value) if text is None else text).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
