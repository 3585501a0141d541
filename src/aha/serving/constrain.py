"""Which grammar a request asks for: a format of the answer, a tool that has to be called, vLLM's structured outputs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aha.serving.errors import invalid
from aha.serving.guide import Forms, Grammar, tool_grammar
from aha.serving.schema import ChatRequest, NamedTool, ResponseFormat, StructuredOutputs

COMPILE_S = 30.0


@dataclass(frozen=True, slots=True)
class Constraint:
    """The `grammar` of an answer; None: it is free. `calls`: the answer is a call of a tool."""

    grammar: Grammar | None = None
    calls: bool = False


async def constraint_of(grammars: Forms, body: ChatRequest, tools: Sequence[Mapping[str, Any]]) -> Constraint:
    """The one constraint of a chat request. Raises ApiError for two of them, UserError for one that cannot be used."""
    choice = body.tool_choice
    if isinstance(choice, NamedTool):
        tools = [tool for tool in tools if tool["name"] == choice.function.name]
        if not tools:
            raise invalid(
                f"tool_choice names {choice.function.name[:60]!r}, which is not among the tools", "tool_choice"
            )
    has_to = choice == "required" or isinstance(choice, NamedTool)
    if has_to and not tools:
        raise invalid("tool_choice asks for a call, and there are no tools", "tool_choice")
    compiled = format_compiler(grammars, body.response_format, body.structured_outputs)
    if not has_to:
        return Constraint(await compile_(compiled))
    if compiled is not None:
        raise invalid("a call of a tool and a format of the answer cannot be asked for at once", "tool_choice")
    several = body.parallel_tool_calls is not False and choice == "required"
    return Constraint(await compile_(partial(grammars.of_lark, tool_grammar(tools, several))), calls=True)


def format_compiler(
    grammars: Forms, response: ResponseFormat | None, structured: StructuredOutputs | None
) -> Callable[[], Grammar] | None:
    """What compiles the grammar of an answer's format; None where it is free."""
    found: list[Callable[[], Grammar]] = []
    if response is not None and response.type == "json_object":
        found.append(partial(grammars.of_schema, {"type": "object"}))
    if response is not None and response.type == "json_schema":
        if response.json_schema is None or response.json_schema.json_schema is None:
            raise invalid("response_format has no json_schema.schema; give one", "response_format")
        found.append(partial(grammars.of_schema, response.json_schema.json_schema))
    if structured is not None:
        found += _structured(grammars, structured)
    if len(found) > 1:
        raise invalid("more than one format of the answer is asked for; give one", "response_format")
    return found[0] if found else None


def _structured(grammars: Forms, asked: StructuredOutputs) -> list[Callable[[], Grammar]]:
    found: list[Callable[[], Grammar]] = []
    if asked.json_ is not None:
        try:
            schema = json.loads(asked.json_) if isinstance(asked.json_, str) else asked.json_
        except (ValueError, RecursionError) as error:
            raise invalid("structured_outputs.json is no JSON schema", "structured_outputs") from error
        found.append(partial(grammars.of_schema, schema))
    if asked.json_object:
        found.append(partial(grammars.of_schema, {"type": "object"}))
    if asked.regex is not None:
        found.append(partial(grammars.of_regex, asked.regex))
    if asked.choice is not None:
        if not asked.choice or not all(asked.choice):
            raise invalid("structured_outputs.choice has no text to choose", "structured_outputs")
        found.append(partial(grammars.of_lark, "start: " + " | ".join(json.dumps(text) for text in asked.choice)))
    if asked.grammar is not None:
        found.append(partial(grammars.of_lark, asked.grammar))
    return found


async def compile_(compiler: Callable[[], Grammar] | None) -> Grammar | None:
    """Compile beside the event loop."""
    if compiler is None:
        return None
    try:
        return await asyncio.wait_for(asyncio.to_thread(compiler), COMPILE_S)
    except TimeoutError as error:
        raise invalid(f"the grammar took longer than {COMPILE_S:g} s to compile; make it simpler") from error
