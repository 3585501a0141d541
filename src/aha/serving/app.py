"""The ASGI application: routes, and errors in OpenAI's shape.

    app = make_app(service)     # behind its keys and limits

The chat page is at `/`. Requests that draw tokens go `Direct`ly to what answers them: FastAPI describes them, and says
what is wrong with those that are not as they should be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel

from aha import __version__
from aha.errors import UserError, nearest
from aha.serving.answers import Answer
from aha.serving.ask import beside
from aha.serving.direct import ENDPOINTS, Direct, Make
from aha.serving.errors import ApiError, to_json, told
from aha.serving.limits import App, Guarded, Receive, Scope, Send
from aha.serving.messages import tools_of, turns_of
from aha.serving.page_files import read_page
from aha.serving.prompt import tokens_of
from aha.serving.schema import REFUSED, DetokenizeRequest, TokenizeRequest
from aha.serving.service import Service

JSON, TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"
BODIES: dict[str, type[BaseModel]] = {path: schema for path, (schema, _) in ENDPOINTS.items()}
BODIES |= {"/tokenize": TokenizeRequest, "/detokenize": DetokenizeRequest}


def make_app(service: Service) -> App:
    """The application."""
    from fastapi import FastAPI
    from starlette.responses import Response

    class Sent(Response):
        """An `Answer`, as FastAPI takes it."""

        def __init__(self, answer: Answer) -> None:
            super().__init__()
            self._answer = answer

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(scope, receive, send)

    def plain(value: Any, kind: str = JSON, status: int = 200) -> Response:
        return Response(value if isinstance(value, str) else to_json(value), status, media_type=kind)

    app = FastAPI(title="aha", version=__version__, docs_url=None, redoc_url=None)
    _say_errors(app, plain)
    _answers(app, service, Sent)
    _facts(app, service, plain)
    _page(app)
    return Guarded(
        Direct(app, service), service.keys, service.metrics, most_body=service.settings.most_body,
        stall_s=service.settings.stall_s,
    )  # fmt: skip


def _answers(app: Any, service: Service, sent: Callable[[Answer], Any]) -> None:
    """The endpoints that draw tokens."""
    errors = {status: {"description": "an error in OpenAI's shape"} for status in (400, 401, 404, 413, 429, 500, 503)}

    def endpoint(schema: type[BaseModel], make: Make) -> Callable[..., Any]:
        async def answered(body):  # type: ignore[no-untyped-def]
            return sent(await make(service, body))

        answered.__annotations__ = {"body": schema}
        return answered

    for path, (schema, make) in ENDPOINTS.items():
        app.post(path, name=schema.__name__, response_model=None, responses=errors)(endpoint(schema, make))


def _page(app: Any) -> None:
    """The chat page and the files that it is made of; GET brings HEAD with it."""
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    page = read_page()

    async def index(request: Any) -> Response:
        known = page.index.headers["ETag"] in request.headers.get("if-none-match", "")
        return Response(b"" if known else page.index.body, 304 if known else 200, headers=dict(page.index.headers))

    async def asset(request: Any) -> Response:
        file = page.asset(**request.path_params)
        if file is None:
            raise HTTPException(404, "the chat page has no such file")
        return Response(file.body, headers=dict(file.headers))

    app.add_route("/", index, methods=["GET"], include_in_schema=False)
    app.add_route("/page/{version}/{name}", asset, methods=["GET"], include_in_schema=False)


def _facts(app: Any, service: Service, plain: Callable[..., Any]) -> None:
    """The endpoints that only tell."""

    @app.get("/v1/models", response_model=None)
    async def models():  # type: ignore[no-untyped-def]
        return plain({"object": "list", "data": [service.model]})

    @app.get("/v1/models/{name:path}", response_model=None)
    async def model(name: str):  # type: ignore[no-untyped-def]
        service.known(name)
        return plain(service.model)

    @app.get("/health", response_model=None)
    @app.get("/ping", response_model=None)
    async def health():  # type: ignore[no-untyped-def]
        return plain({"status": service.loop.trouble or "ok"}, status=200 if service.loop.alive else 503)

    @app.get("/version", response_model=None)
    async def version():  # type: ignore[no-untyped-def]
        return plain({"version": __version__})

    @app.get("/metrics", response_model=None)
    async def metrics():  # type: ignore[no-untyped-def]
        return plain(service.metrics.text(service.gauges), TEXT)

    @app.post("/tokenize", response_model=None)
    async def tokenize(body: TokenizeRequest):  # type: ignore[no-untyped-def]
        return plain(await _tokenized(service, body))

    @app.post("/detokenize", response_model=None)
    async def detokenize(body: DetokenizeRequest):  # type: ignore[no-untyped-def]
        service.known(body.model)
        if body.tokens and max(body.tokens) >= service.vocabulary.size:
            raise ApiError(400, f"token {max(body.tokens)} does not exist", param="tokens")
        return plain({"prompt": service.vocabulary.join(body.tokens, special=True)})

    @app.get("/tokenizer_info", response_model=None)
    async def tokenizer_info():  # type: ignore[no-untyped-def]
        return plain(_tokenizer_info(service))


async def _tokenized(service: Service, body: TokenizeRequest) -> dict[str, Any]:
    service.known(body.model)
    if body.messages is not None:
        prompt = service.form.prompt(
            turns_of(body.messages), tools=tools_of(body.tools), settings=body.chat_template_kwargs,
            generation=body.add_generation_prompt is not False,
        )  # fmt: skip
        ids = await beside(len(prompt.text), partial(tokens_of, service.form, prompt.text))
    else:
        text, special = body.prompt or "", body.add_special_tokens is not False
        ids = await beside(len(text), partial(service.vocabulary.encode, text, special=special))
    found = {"count": len(ids), "max_model_len": service.context, "tokens": ids}
    if body.return_token_strs:
        found["token_strs"] = [service.vocabulary.name(token) for token in ids]
    return found


def _tokenizer_info(service: Service) -> dict[str, Any]:
    tokenizer = service.vocabulary.tokenizer
    return {
        "tokenizer_class": type(tokenizer).__name__, "vocab_size": service.vocabulary.size,
        "eos_token": tokenizer.eos_token, "bos_token": tokenizer.bos_token, "pad_token": tokenizer.pad_token,
        "chat_template": service.form.source,
    }  # fmt: skip


def _say_errors(app: Any, plain: Callable[..., Any]) -> None:
    """Whatever goes wrong is told in OpenAI's shape."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    def answer(error: ApiError) -> Any:
        found = plain(error.body, status=error.status)
        found.headers.update(error.headers)
        return found

    async def ours(request: Any, error: Any) -> Any:  # a bug goes on to the log too
        return answer(told(error))

    async def unreadable(request: Any, error: Any) -> Any:
        faults = error.errors()
        return answer(_fault(next((f for f in faults if f["type"] == "extra_forbidden"), faults[0]), request))

    async def other(request: Any, error: Any) -> Any:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        said = ApiError(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}", code=code)
        said.headers.update(error.headers or {})
        return answer(said)

    for kind in (Exception, ApiError, UserError):
        app.exception_handler(kind)(ours)
    app.exception_handler(RequestValidationError)(unreadable)
    app.exception_handler(HTTPException)(other)


def _fault(fault: dict[str, Any], request: Any) -> ApiError:
    """The first fault of a body, as one sentence."""
    where = [str(part) for part in fault["loc"] if part != "body"]
    name = ".".join(where)
    if fault["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON ({fault['msg']})", code="invalid_json")
    if fault["type"] == "extra_forbidden" and len(where) == 1:
        fields = getattr(BODIES.get(request.url.path), "model_fields", {})
        why = f": {REFUSED[name]}" if name in REFUSED else nearest(name, fields) if fields else ""
        return ApiError(
            400, f"the field {name[:100]!r} is not served{why[:300]}", param=name[:100], code="unknown_field"
        )
    if not where and fault["type"] == "value_error":
        return ApiError(400, fault["msg"].removeprefix("Value error, "))
    if not where:
        kind = request.headers.get("content-type", "")[:60]
        return ApiError(400, f"the body is no JSON object; send one, as application/json and not as {kind!r}")
    return ApiError(400, f"{name[:200]}: {fault['msg'].removeprefix('Value error, ')[:300]}", param=name[:100])
