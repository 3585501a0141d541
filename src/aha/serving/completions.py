"""`POST /v1/completions`: prompts as text or token ids, continued as they stand."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import accumulate
from typing import Any

from aha.engines.native.controls import Scored
from aha.serving.answers import DONE, KEEP_ALIVE, Answer, Events, Json, data
from aha.serving.ask import beside
from aha.serving.constrain import compile_, format_compiler
from aha.serving.errors import invalid
from aha.serving.guide import Rules
from aha.serving.plan import Plan, controls_of, room_for, seeded
from aha.serving.run import Progress, Run
from aha.serving.schema import CompletionRequest
from aha.serving.service import LEAST_LOGPROB, Service, usage_of

DEFAULT_TOKENS = 16  # OpenAI's
MOST_PROMPTS = 1024


async def completions(service: Service, body: CompletionRequest) -> Answer:
    """Serve a request. Raises ApiError and UserError before anything is sent."""
    service.known(body.model)
    plans = await _plans(service, body)
    run = service.begin(plans, streaming=bool(body.stream))
    head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
    head["model"] = service.settings.name
    if body.stream:
        return Events(_events(service, body, run, head), run, **service.answering)
    return Json(lambda: _whole(service, body, run, head), run, **service.answering)


def _prompts(service: Service, body: CompletionRequest) -> list[tuple[int, ...]]:
    """The prompts' ids: of a text, of a list of texts, or given as they are, one or several."""
    given: Any = body.prompt
    prompts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not prompts or len(prompts) > MOST_PROMPTS:
        raise invalid(f"{len(prompts)} prompts cannot be served at once; give 1 to {MOST_PROMPTS}", "prompt")
    special = body.add_special_tokens is not False
    found = [tuple(service.vocabulary.encode(p, special=special) if isinstance(p, str) else p) for p in prompts]
    for ids in found:
        if not ids:
            raise invalid("an empty prompt cannot be continued; give at least one token", "prompt")
        if max(ids) >= service.vocabulary.size:
            raise invalid(f"token {max(ids)} does not exist; the model has {service.vocabulary.size}", "prompt")
    return found


async def _plans(service: Service, body: CompletionRequest) -> list[Plan]:
    limit = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    if not limit and not body.echo:
        raise invalid("max_tokens is 0, which only echo makes sense of", "max_tokens")
    texts = [body.prompt] if isinstance(body.prompt, str) else [p for p in body.prompt if isinstance(p, str)]
    size = sum(map(len, texts))
    prompts, n = await beside(size, lambda: _prompts(service, body)), body.n or 1
    if len(prompts) * n > service.gate.slots + service.gate.queue:
        raise invalid(f"{len(prompts)} prompts x n={n} are more samples than this server ever takes on", "n")
    grammar = await compile_(format_compiler(service.grammars, body.response_format, body.structured_outputs))
    seed, first = seeded(body, n, service.repeats)
    plans = []
    for ids in prompts:
        most = room_for(ids, limit, service.context, "prompt")
        controls = controls_of(
            body,
            service.defaults,
            service.vocabulary,
            service.eos_ids,
            max_tokens=most,
            logprobs=body.logprobs,
        )
        plan = Plan(
            ids, n, seed, first, controls, ends=service.eos_ids, stops=body.stops,
            keep_stop=bool(body.include_stop_str_in_output), special=body.skip_special_tokens is False,
            prompt_scores=body.logprobs if body.echo and body.logprobs is not None else None if most else 0,
            rules=Rules(body.stops, grammar=grammar),
        )  # fmt: skip
        plans.append(plan)
    return plans


async def _whole(service: Service, body: CompletionRequest, run: Run, head: dict[str, Any]) -> dict[str, Any]:
    samples = await run.whole()
    choices = []
    for index, sample in enumerate(samples):
        scored = run.works[index // (body.n or 1)].request.scored
        choices.append(_choice(service, body, index, sample, scored))
    return {**head, "choices": choices, "usage": usage_of(run.plans, samples)}


def _choice(
    service: Service, body: CompletionRequest, index: int, sample: Progress, scored: Sequence[Scored]
) -> dict[str, Any]:
    prompt = list(sample.plan.ids) if body.echo else []
    choice: dict[str, Any] = {
        "index": index,
        "text": _text(service, body, prompt) + sample.text("content"),
        "finish_reason": sample.finish,
        "stop_reason": sample.stop,
        "logprobs": None,
    }
    if body.logprobs is not None:
        scores: list[Scored | None] = [None, *scored] if prompt else []
        choice["logprobs"] = _logprobs(service, [*prompt, *sample.ids], [*scores, *sample.scores])
    if body.return_token_ids:
        choice["token_ids"], choice["prompt_token_ids"] = list(sample.ids), list(sample.plan.ids)
    return choice


def _text(service: Service, body: CompletionRequest, ids: Sequence[int]) -> str:
    return service.vocabulary.join(ids, special=body.skip_special_tokens is False)


def _logprobs(service: Service, ids: Sequence[int], scores: Sequence[Scored | None], start: int = 0) -> dict[str, Any]:
    """One entry a token, that which ended the sample among them. A prompt's first token has no log-prob."""
    names = [service.vocabulary.name(token) for token in ids]
    text = service.vocabulary.text()
    ends = list(accumulate((len(text.feed([token])) for token in ids), initial=start))
    return {
        "tokens": names,
        "token_logprobs": [None if s is None else max(s.logprob, LEAST_LOGPROB) for s in scores],
        "top_logprobs": [
            None if s is None else _likeliest(service, name, s) for name, s in zip(names, scores, strict=True)
        ],
        "text_offset": ends[:-1],
    }


def _likeliest(service: Service, name: str, scored: Scored) -> dict[str, float]:
    """The likeliest tokens by name, and the one that was drawn. Of several with one name the likeliest counts."""
    found: dict[str, float] = {}
    for token, logprob in scored.likeliest:
        found.setdefault(service.vocabulary.name(token), max(logprob, LEAST_LOGPROB))
    found.setdefault(name, max(scored.logprob, LEAST_LOGPROB))
    return found


async def _events(service: Service, body: CompletionRequest, run: Run, head: dict[str, Any]) -> AsyncIterator[bytes]:
    options = body.stream_options
    counted = options is not None and bool(options.include_usage)
    offsets = [0] * len(run.progress)
    begun = [False] * len(run.progress)
    if counted:
        head = {**head, "usage": None}
    async for found in run.updates():
        if found is None:
            yield KEEP_ALIVE
            continue
        index, update = found
        sample = run.progress[index]
        ids, scores = list(update.ids), list(update.scores)
        text = "".join(_texts(update.pieces))
        whole: list[Scored | None] = list(scores)
        if body.echo and not begun[index]:
            text = _text(service, body, sample.plan.ids) + text
            ids = [*sample.plan.ids, *ids]
            whole = [None, *run.works[index // (body.n or 1)].request.scored, *scores]
        begun[index] = True
        choice: dict[str, Any] = {"index": index, "text": text, "finish_reason": update.finish, "logprobs": None}
        if update.finish is not None:
            choice["stop_reason"] = sample.stop
        if body.logprobs is not None:
            choice["logprobs"] = _logprobs(service, ids, whole, offsets[index])
        if body.return_token_ids:
            choice["token_ids"] = list(update.ids)
        offsets[index] += len(text)
        yield data({**head, "choices": [choice]})
    usage = data({**head, "choices": [], "usage": usage_of(run.plans, run.progress)}) if counted else b""
    yield usage + DONE


def _texts(pieces: Sequence[Any]) -> Iterator[str]:
    for piece in pieces:
        yield piece.text
