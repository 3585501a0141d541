"""`POST /v1/responses`, without a store: a request becomes a chat request, its answer a list of items.

reasoning item, message item, function_call items
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import ValidationError

from aha.serving.answers import KEEP_ALIVE, Answer, Events, Json, data
from aha.serving.ask import Asked, ask
from aha.serving.calls import Call
from aha.serving.errors import ApiError, invalid
from aha.serving.messages import text_of
from aha.serving.reader import Piece
from aha.serving.run import Progress, Run
from aha.serving.schema import ChatRequest, InputItem, ResponsesRequest, ResponseToolChoice
from aha.serving.service import Service, usage_of

INCLUDED = frozenset({"reasoning.encrypted_content", "message.output_text.logprobs"})
CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
LOGPROBS = "message.output_text.logprobs"
# Fields that both requests have under the same name.
SHARED = (
    "model", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "logit_bias", "allowed_token_ids", "seed", "sample_index", "stop", "stop_token_ids", "include_stop_str_in_output",
    "ignore_eos", "min_tokens", "skip_special_tokens", "structured_outputs", "reasoning", "chat_template_kwargs",
    "parallel_tool_calls", "top_logprobs",
)  # fmt: skip


async def responses(service: Service, body: ResponsesRequest) -> Answer:
    """Serve a request. Raises ApiError and UserError before anything is sent."""
    asked = await ask(service, chat_request(body))
    run = service.begin([asked.plan], streaming=bool(body.stream))
    answer = _Response(service, body, asked, run)
    if body.stream:
        return Events(answer.events(), run, **service.answering)
    return Json(answer.whole, run, **service.answering)


def chat_request(body: ResponsesRequest) -> ChatRequest:
    """The same request as a chat's. Raises ApiError for what has no meaning there."""
    if body.n not in (None, 1):
        raise invalid("a response has one answer; leave n out", "n")
    unknown = sorted(set(body.include or ()) - INCLUDED)
    if unknown:
        raise invalid(f"include knows no {unknown[0][:60]!r}", "include")
    messages: list[dict[str, Any]] = [{"role": "system", "content": body.instructions}] if body.instructions else []
    if isinstance(body.input, str):
        messages.append({"role": "user", "content": body.input})
    else:
        messages += _messages(body.input)
    given = body.model_dump(by_alias=True)
    values = {name: given[name] for name in SHARED if given[name] is not None}
    values |= {"messages": messages, "max_completion_tokens": body.max_output_tokens}
    if LOGPROBS in (body.include or ()) or body.top_logprobs:
        values["logprobs"] = True
    if body.text is not None and body.text.format is not None:
        form = body.text.format
        values["response_format"] = {"type": form.type}
        if form.type == "json_schema":
            values["response_format"]["json_schema"] = {"name": form.name, "schema": form.json_schema}
    values |= _tools(body)
    try:
        return ChatRequest.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise invalid(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", str(fault["loc"][0])) from error


def _tools(body: ResponsesRequest) -> dict[str, Any]:
    for tool in body.tools or ():
        if tool.type != "function":
            raise invalid(f"tools of type {tool.type[:40]!r} are not served; give functions", "tools")
    given = [tool.model_dump(exclude={"type"}, exclude_none=True) for tool in body.tools or ()]
    values: dict[str, Any] = {"tools": [{"type": "function", "function": tool} for tool in given]} if given else {}
    choice = body.tool_choice
    if isinstance(choice, ResponseToolChoice):
        if choice.type != "function" or not choice.name:
            raise invalid(f"tool_choice of type {choice.type[:40]!r} is not served; name a function", "tool_choice")
        values["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice is not None:
        values["tool_choice"] = choice
    return values


def _messages(items: list[InputItem]) -> Iterator[dict[str, Any]]:
    """Items as messages. Thinking and calls belong to one answer of the assistant."""
    answer: dict[str, Any] = {}
    for item in items:
        kind = item.type or "message"
        if kind == "reasoning":
            answer["reasoning_content"] = text_of(item.content) or text_of(item.summary)
        elif kind == "function_call":
            call = {"id": item.call_id, "function": {"name": item.name or "", "arguments": item.arguments or "{}"}}
            answer.setdefault("tool_calls", []).append(call)
        else:
            if kind == "message" and item.role == "assistant" and not answer.get("tool_calls"):
                yield {**answer, "role": "assistant", "content": text_of(item.content)}
                answer = {}
                continue
            if answer.get("tool_calls"):
                yield {"content": "", **answer, "role": "assistant"}
            answer = {}
            yield _message(item, kind)
    if answer.get("tool_calls"):
        yield {"content": "", **answer, "role": "assistant"}


def _message(item: InputItem, kind: str) -> dict[str, Any]:
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item.call_id, "content": text_of(item.output)}
    if kind != "message":
        raise invalid(f"input items of type {kind[:40]!r} are not served", "input")
    return {"role": item.role or "user", "content": text_of(item.content)}


class _Response:
    """One response, its items made as they come. Events are numbered in the order in which they are sent."""

    def __init__(self, service: Service, body: ResponsesRequest, asked: Asked, run: Run) -> None:
        self._service, self._body, self._asked, self._run = service, body, asked, run
        self._id, self._created = _name("resp"), int(time.time())
        self._number = 0
        self._output: list[dict[str, Any]] = []  # items that are whole
        self._item: dict[str, Any] = {}  # the one that is being made
        self._text = ""

    async def whole(self) -> dict[str, Any]:
        """The response, without a stream."""
        [sample] = await self._run.whole()
        if self._service.risk is not None:
            await self._service.risk.control(self._service, self._asked.turns, [sample])
        for piece in sample.pieces:
            list(self._piece(piece))
        list(self._finished(sample))
        return self._object(sample)

    async def events(self) -> AsyncIterator[bytes]:
        """The response as a stream."""
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self._object(None))
        risk, [sample] = self._service.risk, self._run.progress
        held = risk is not None and risk.concerns(self._asked.turns)
        try:
            async for found in self._run.updates():
                if found is None:
                    yield KEEP_ALIVE
                elif not held:
                    for piece in found[1].pieces:
                        for event in self._piece(piece):
                            yield event
            if risk is not None and held:
                await risk.control(self._service, self._asked.turns, [sample])
                for piece in sample.pieces:
                    for event in self._piece(piece):
                        yield event
        except ApiError as error:
            failed = {**self._object(None), "status": "failed"}
            failed["error"] = {"code": "server_error", "message": error.message}
            yield self._event("response.failed", response=failed)
            return
        for event in self._finished(sample):
            yield event
        whole = self._object(sample)
        yield self._event(f"response.{whole['status']}", response=whole)

    def _event(self, kind: str, **values: Any) -> bytes:
        event = data({"type": kind, "sequence_number": self._number, **values}, kind)
        self._number += 1
        return event

    def _piece(self, piece: Piece | Call) -> Iterator[bytes]:
        """The events of a piece: it goes on with the item that is being made, or begins another."""
        if isinstance(piece, Call):
            yield from self._end()
            yield from self._call(piece)
            return
        if piece.kind == "reasoning" and not self._asked.names:
            return
        kind = "reasoning" if piece.kind == "reasoning" else "message"
        if self._item.get("type") != kind:
            yield from self._end()
            yield from self._begin(kind)
        self._text += piece.text
        name = "reasoning_text" if kind == "reasoning" else "output_text"
        beside: dict[str, Any] = {} if kind == "reasoning" else {"logprobs": []}
        yield self._event(f"response.{name}.delta", **self._where(), content_index=0, delta=piece.text, **beside)

    def _begin(self, kind: str) -> Iterator[bytes]:
        if kind == "reasoning":
            self._item = {"type": "reasoning", "id": _name("rs"), "summary": [], "content": []}
        else:
            self._item = {"type": "message", "id": _name("msg"), "role": "assistant", "content": []}
        self._item["status"], self._text = "in_progress", ""
        yield self._event("response.output_item.added", output_index=len(self._output), item=self._item)
        part = _part(kind, "")
        yield self._event("response.content_part.added", **self._where(), content_index=0, part=part)

    def _end(self) -> Iterator[bytes]:
        """The item that is being made is whole."""
        if not self._item:
            return
        kind = self._item["type"]
        name = "reasoning_text" if kind == "reasoning" else "output_text"
        part = _part(kind, self._text)
        beside: dict[str, Any] = {} if kind == "reasoning" else {"logprobs": []}
        yield self._event(f"response.{name}.done", **self._where(), content_index=0, text=self._text, **beside)
        yield self._event("response.content_part.done", **self._where(), content_index=0, part=part)
        whole = {**self._item, "content": [part], "status": "completed"}
        yield self._event("response.output_item.done", output_index=len(self._output), item=whole)
        self._output.append(whole)
        self._item = {}

    def _call(self, call: Call) -> Iterator[bytes]:
        item = {
            "type": "function_call", "id": _name("fc"), "call_id": _name("call"), "name": call.name, "arguments": "",
            "status": "in_progress",
        }  # fmt: skip
        at = {"item_id": item["id"], "output_index": len(self._output)}
        yield self._event("response.output_item.added", output_index=len(self._output), item=item)
        yield self._event("response.function_call_arguments.delta", **at, delta=call.arguments)
        yield self._event("response.function_call_arguments.done", **at, name=call.name, arguments=call.arguments)
        whole = {**item, "arguments": call.arguments, "status": "completed"}
        yield self._event("response.output_item.done", output_index=len(self._output), item=whole)
        self._output.append(whole)

    def _finished(self, sample: Progress) -> Iterator[bytes]:
        """End the last item; an answer that was empty is a message all the same."""
        yield from self._end()
        if not any(item["type"] != "reasoning" for item in self._output) and sample.finish == "stop":
            yield from self._begin("message")
            yield from self._end()
        message = next((item for item in self._output if item["type"] == "message"), None)
        if message is not None and self._asked.body.logprobs and sample.finish != "content_filter":
            scored = zip(sample.ids, sample.scores, strict=False)
            message["content"][0]["logprobs"] = [self._service.scored(token, found) for token, found in scored]

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._item["id"], "output_index": len(self._output)}

    def _object(self, sample: Progress | None) -> dict[str, Any]:
        """The response as it stands; with `sample`, as it ended."""
        cut = CUT.get(sample.finish or "") if sample is not None else None
        usage = usage_of(self._run.plans, [sample]) if sample is not None else None
        body = self._body
        return {
            "id": self._id, "object": "response", "created_at": self._created, "model": self._service.settings.name,
            "status": "in_progress" if sample is None else "incomplete" if cut else "completed",
            "error": None, "incomplete_details": {"reason": cut} if cut else None, "output": list(self._output),
            "instructions": body.instructions, "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": None, "store": False,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "temperature": self._asked.plan.controls.temperature, "top_p": self._asked.plan.controls.top_p,
            "text": {"format": {"type": "text"} if body.text is None or body.text.format is None
                     else body.text.format.model_dump(by_alias=True, exclude_none=True)},
            "tool_choice": body.tool_choice if isinstance(body.tool_choice, str) else "auto" if body.tool_choice is None
            else body.tool_choice.model_dump(),
            "tools": [tool.model_dump(exclude_none=True) for tool in body.tools or ()],
            "truncation": body.truncation or "disabled", "user": body.user,
            "usage": _usage(usage) if usage is not None else None,
        }  # fmt: skip


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }


def _name(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
