"""From a chat request to a plan: messages become a prompt, switches become settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aha.serving.calls import HERMES
from aha.serving.constrain import Constraint, constraint_of
from aha.serving.errors import invalid
from aha.serving.guide import Rules
from aha.serving.messages import tools_of, turns_of
from aha.serving.plan import Plan, controls_of, room_for, seeded
from aha.serving.prompt import SWITCHES, Prompted, Turn, tokens_of
from aha.serving.schema import ChatRequest
from aha.serving.service import Service
from aha.serving.thinking import budget_of, thinks

INLINE = 20_000  # characters of a prompt, from which on it is made beside the event loop
TURN = 50  # characters that a turn counts for beside its own
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A chat request as it will be served."""

    body: ChatRequest
    turns: list[Turn]
    plan: Plan
    names: tuple[str, ...]  # of the fields that hold the thinking; none: it is not shown


async def ask(service: Service, body: ChatRequest) -> Asked:
    """Plan a request. Raises ApiError and UserError."""
    service.known(body.model)
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("top_logprobs needs logprobs to be true", "top_logprobs")
    turns = turns_of(body.messages)
    tools = [] if body.tool_choice == "none" else tools_of(body.tools)
    size = sum(len(turn["content"]) + TURN for turn in turns)
    prompt, ids = await beside(size, lambda: _prompted(service, body, turns, tools))
    constraint = await constraint_of(service.grammars, body, tools)
    plan = _plan(service, body, ids, prompt, constraint, tools=bool(tools))
    shown = body.include_reasoning is not False and not (body.reasoning is not None and body.reasoning.exclude)
    apart = body.separate_reasoning is not False
    names = service.settings.reasoning_fields if service.form.thinks and shown and apart else ()
    return Asked(body, turns, plan, names)


async def beside(size: int, make: Callable[[], T]) -> T:
    """What `make` makes of `size` characters: of many, beside the event loop."""
    return make() if size < INLINE else await asyncio.to_thread(make)


def _prompted(
    service: Service, body: ChatRequest, turns: list[Turn], tools: list[dict[str, Any]]
) -> tuple[Prompted, tuple[int, ...]]:
    continued = bool(body.continue_final_message or body.messages[-1].prefix)
    if continued and turns[-1]["role"] != "assistant":
        raise invalid("only an assistant's message can be continued; put one last", "continue_final_message")
    given = body.chat_template_kwargs or {}
    prompt = service.form.prompt(
        turns, tools=tools, thinking=thinks(body), continued=continued,
        settings={name: value for name, value in given.items() if name not in SWITCHES},
        generation=body.add_generation_prompt is not False,
    )  # fmt: skip
    return prompt, tuple(tokens_of(service.form, prompt.text))


def _plan(
    service: Service, body: ChatRequest, ids: tuple[int, ...], prompt: Prompted, constraint: Constraint, *, tools: bool
) -> Plan:
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    most = room_for(ids, limit, service.context, "messages")
    n = body.n or 1
    seed, first = seeded(body, n, service.repeats)
    thinking = prompt.begin in ("inside", "before")
    return Plan(
        ids, n, seed, first,
        controls_of(
            body, service.defaults, service.vocabulary, service.eos_ids, max_tokens=most,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        ),
        ends=service.eos_ids,
        begin="raw" if body.separate_reasoning is False else prompt.begin,
        stops=body.stops,
        keep_stop=bool(body.include_stop_str_in_output),
        special=body.skip_special_tokens is False,
        tagged=service.form.tagged,
        whole=bool(body.continue_final_message or body.messages[-1].prefix),
        calls=(HERMES if constraint.calls else service.form.calls) if tools else None,
        rules=Rules(body.stops, thinking, budget_of(body, most) if thinking else None, constraint.grammar),
    )  # fmt: skip
