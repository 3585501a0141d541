"""Clients' messages and tools as a chat template takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aha.serving.errors import invalid
from aha.serving.prompt import Turn
from aha.serving.schema import ChatMessage, Part, Tool, ToolCall

TEXTS = frozenset({"text", "input_text", "output_text", "summary_text", "reasoning_text"})


def turns_of(messages: Sequence[ChatMessage]) -> list[Turn]:
    """Messages as plain values. Raises ApiError for what is no text, and for calls without a JSON object."""
    return [_turn(message) for message in messages]


def _turn(message: ChatMessage) -> Turn:
    role = "system" if message.role == "developer" else message.role
    turn: Turn = {"role": role, "content": text_of(message.content)}
    reasoning = message.reasoning_content or message.reasoning
    if role == "assistant" and isinstance(reasoning, str) and reasoning:
        turn["reasoning_content"] = reasoning
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, number) for number, call in enumerate(message.tool_calls)]
    for name in ("name", "tool_call_id"):
        if getattr(message, name) is not None:
            turn[name] = getattr(message, name)
    return turn


def text_of(content: str | list[Part] | None) -> str:
    """A content's text; its parts are lines."""
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type not in TEXTS:
            raise invalid(f"content of type {part.type[:40]!r} cannot be read; only text is served", "messages")
    return "\n".join(part.text or "" for part in content)


def _call(call: ToolCall, number: int) -> dict[str, Any]:
    arguments: Any = call.function.arguments
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise invalid(f"the arguments of the call of {call.function.name[:60]!r} are no JSON object", "messages")
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or f"call_{number}", "type": "function", "function": function}


def tools_of(tools: Sequence[Tool] | None) -> list[dict[str, Any]]:
    """Functions as plain values: name, description, parameters."""
    return [
        {
            "name": tool.function.name,
            **({"description": tool.function.description} if tool.function.description else {}),
            "parameters": tool.function.parameters or {"type": "object", "properties": {}},
        }
        for tool in tools or ()
    ]
