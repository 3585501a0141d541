"""`POST /v1/chat/completions`: the answer to a planned request, whole and as a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aha import __version__
from aha.engines.native.controls import Scored
from aha.serving.answers import DONE, KEEP_ALIVE, Answer, Events, Json, data
from aha.serving.ask import Asked, ask
from aha.serving.calls import Call
from aha.serving.reader import Piece
from aha.serving.run import Progress, Run, Update
from aha.serving.schema import ChatRequest
from aha.serving.service import Service, usage_of

FINGERPRINT = f"aha-{__version__}"


async def chat(service: Service, body: ChatRequest) -> Answer:
    """Serve a request. Raises ApiError and UserError before anything is sent."""
    asked = await ask(service, body)
    run = service.begin([asked.plan], streaming=bool(body.stream))
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": service.settings.name}
    head["system_fingerprint"] = FINGERPRINT
    if body.stream:
        return Events(_events(service, asked, run, head), run, **service.answering)
    return Json(lambda: _whole(service, asked, run, head), run, **service.answering)


async def _whole(service: Service, asked: Asked, run: Run, head: dict[str, Any]) -> dict[str, Any]:
    samples = await run.whole()
    if service.risk is not None:
        await service.risk.control(service, asked.turns, samples)
    usage = usage_of(run.plans, samples)
    answer = {**head, "object": "chat.completion", "usage": usage}
    answer["choices"] = [_choice(service, asked, index, sample) for index, sample in enumerate(samples)]
    if asked.body.return_token_ids:
        answer["prompt_token_ids"] = list(asked.plan.ids)
    return answer


def _choice(service: Service, asked: Asked, index: int, sample: Progress) -> dict[str, Any]:
    thinking, content, calls = sample.text("reasoning"), sample.text("content"), sample.calls
    message: dict[str, Any] = {"role": "assistant", "content": content or (None if thinking or calls else "")}
    message["refusal"] = content if sample.finish == "content_filter" else None
    for name in asked.names:
        message[name] = thinking or None
    if calls:
        message["tool_calls"] = [_call(call) for call in calls]
    choice = {"index": index, "message": message, "finish_reason": finish_of(sample), "stop_reason": sample.stop}
    choice["logprobs"] = _logprobs(service, asked, sample.ids, sample.scores)
    if asked.body.return_token_ids and sample.finish != "content_filter":
        choice["token_ids"] = list(sample.ids)
    return choice


def finish_of(sample: Progress) -> str | None:
    """Why a sample ended, in OpenAI's words."""
    return "tool_calls" if sample.calls and sample.finish == "stop" else sample.finish


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _logprobs(service: Service, asked: Asked, ids: Sequence[int], scores: Sequence[Scored]) -> dict[str, Any] | None:
    """Of each token, those of thinking and the one that ended the sample among them."""
    if not asked.body.logprobs:
        return None
    content = [service.scored(token, scored) for token, scored in zip(ids, scores, strict=False)]
    return {"content": content, "refusal": None}


async def _events(service: Service, asked: Asked, run: Run, head: dict[str, Any]) -> AsyncIterator[bytes]:
    options = asked.body.stream_options
    counted = options is not None and bool(options.include_usage)
    head = {**head, "object": "chat.completion.chunk", **({"usage": None} if counted else {})}
    streams = [_Stream(service, asked, head, index) for index in range(asked.plan.n)]
    # What comes first goes with the first text, and what comes last with the last: each message wakes two processes.
    events = b"".join(stream.chunk({"role": "assistant", "content": ""}) for stream in streams)
    async for found in _reviewed(service, asked, run):
        if found is None:
            events += KEEP_ALIVE
        else:
            index, update = found
            events += streams[index].events(update, run.progress[index])
        if events and not run.over:
            yield events
            events = b""
    usage = data({**head, "choices": [], "usage": usage_of(run.plans, run.progress)}) if counted else b""
    yield events + usage + DONE


async def _reviewed(service: Service, asked: Asked, run: Run) -> AsyncIterator[tuple[int, Update] | None]:
    """What comes, as it comes; an answer that risk control looks at, when it has been looked at."""
    if service.risk is None or not service.risk.concerns(asked.turns):
        async for found in run.updates():
            yield found
        return
    async for found in run.updates():
        if found is None:
            yield None
    await service.risk.control(service, asked.turns, run.progress)
    for index, sample in enumerate(run.progress):
        yield index, Update(tuple(sample.pieces), tuple(sample.ids), tuple(sample.scores), sample.finish)


class _Stream:
    """One sample's chunks. Log-probs and ids wait for the next chunk that has something to say."""

    def __init__(self, service: Service, asked: Asked, head: dict[str, Any], index: int) -> None:
        self._service, self._asked, self._head, self._index = service, asked, head, index
        self._ids: list[int] = []
        self._scores: list[Scored] = []
        self._calls = 0
        self._first = True

    def events(self, update: Update, sample: Progress) -> bytes:
        """The chunks of an update, one after the other."""
        withdrawn = update.finish == "content_filter"
        self._ids += [] if withdrawn else update.ids
        self._scores += [] if withdrawn else update.scores
        events = [self.chunk(delta) for delta in self._deltas(update.pieces)]
        if update.finish is not None:
            events.append(self.chunk({}, finish_of(sample), sample.stop))
        return b"".join(events)

    def chunk(self, delta: dict[str, Any], finish: str | None = None, stop: int | str | None = None) -> bytes:
        """One event, with the log-probs and ids of what was drawn since the last."""
        choice: dict[str, Any] = {"index": self._index, "delta": delta, "finish_reason": finish}
        choice["logprobs"] = _logprobs(self._service, self._asked, self._ids, self._scores) if self._ids else None
        if finish is not None:
            choice["stop_reason"] = stop
        head = self._head
        if self._asked.body.return_token_ids:
            choice["token_ids"] = self._ids
            if self._first:
                head = {**head, "prompt_token_ids": list(self._asked.plan.ids)}
        self._ids, self._scores, self._first = [], [], False
        return data({**head, "choices": [choice]})

    def _deltas(self, pieces: Sequence[Piece | Call]) -> list[dict[str, Any]]:
        """What the pieces say: text of one kind together, each call by itself."""
        deltas: list[dict[str, Any]] = []
        texts: list[Piece] = []
        for piece in [*pieces, None]:
            if texts and not (isinstance(piece, Piece) and piece.kind == texts[0].kind):
                text = "".join(part.text for part in texts)
                names = ("content",) if texts[0].kind == "content" else self._asked.names
                deltas += [dict.fromkeys(names, text)] if names else []
                texts = []
            if isinstance(piece, Piece):
                texts.append(piece)
            elif piece is not None:
                deltas.append({"tool_calls": [{"index": self._calls, **_call(piece)}]})
                self._calls += 1
        return deltas
