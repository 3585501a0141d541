"""Conversations to learn from: their file, and a conversation as a training row.

    write(file, conversations); read(file)
    sample_of(conversation, dialogue)      # prompt not trained, response and end token trained

A file is JSONL. Its own rows are `{"id", "task", "language", "messages": [...], "response", "tokens"}`; rows of other
programs are read too: `{"messages": [..., {"role": "assistant", ...}]}` and `{"prompt", "completion"}`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aha.errors import UserError
from aha.models.dialogue import Dialogue
from aha.models.templates import render
from aha.pipeline.run_folder import write_text
from aha.tasks.rows import BadRow, RowError, read_file, text_under
from aha.types import Message, Sample

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, and the response that is to be learned."""

    id: str
    task: str
    messages: tuple[Message, ...]
    response: str
    language: str = "en"
    tokens: int | None = None  # of the response, where that was counted

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Conversation:
        """Inverse of `as_row`."""
        messages = tuple(Message(m["role"], m["content"]) for m in row["messages"])
        return cls(row["id"], row["task"], messages, row["response"], row["language"], row["tokens"])

    def as_row(self) -> dict[str, Any]:
        """What its line of a file holds."""
        return {
            "id": self.id,
            "task": self.task,
            "language": self.language,
            "messages": [{"role": m.role, "content": m.content} for m in self.messages],
            "response": self.response,
            "tokens": self.tokens,
        }


def with_own_ids(conversations: Iterable[Conversation]) -> list[Conversation]:
    """The conversations, where an id comes again with a number after it."""
    seen: Counter[str] = Counter()
    found = []
    for conversation in conversations:
        seen[conversation.id] += 1
        again = seen[conversation.id]
        found.append(replace(conversation, id=f"{conversation.id}#{again}") if again > 1 else conversation)
    return found


def write(file: Path, conversations: Iterable[Conversation]) -> None:
    """Write a file of conversations, whole or not at all."""
    write_text(file, "".join(json.dumps(c.as_row(), ensure_ascii=False) + "\n" for c in conversations))


def read(file: Path) -> list[Conversation]:
    """Read a file of conversations. Raises UserError where it is missing, or for a row that is none."""
    if not file.is_file():
        raise UserError(
            f"no file {str(file)!r}; give a .jsonl file of conversations, or the name of a stage that makes some"
        )
    found = []
    for raw in read_file(file):
        try:
            if isinstance(raw.data, RowError):
                raise raw.data
            found.append(_conversation(raw.data, f"{file.stem}-{raw.number}"))
        except RowError as error:
            raise BadRow(str(file), raw.number, str(error)) from error
    return found


def _conversation(data: Any, name: str) -> Conversation:
    if not isinstance(data, Mapping):
        raise RowError("is no JSON object")
    messages = list(turns_of(data))
    response = data.get("response", data.get("completion"))
    if response is None and messages and messages[-1].role == "assistant":
        response = messages.pop().content
    if not isinstance(response, str) or not response.strip():
        raise RowError("has no text under 'response' and no assistant's message at its end")
    if not messages:
        raise RowError("has no message before the response")
    tokens = data.get("tokens")
    return Conversation(
        str(data.get("id", name)), str(data.get("task", "")), tuple(messages), response,
        str(data.get("language", "en")), tokens if isinstance(tokens, int) else None,
    )  # fmt: skip


def turns_of(data: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a row, or its one question. Raises RowError where it has neither."""
    if isinstance(data.get("messages"), list):
        return tuple(_message(m) for m in data["messages"])
    return (Message("user", text_under(data, "prompt", "question")),)


def _message(data: Any) -> Message:
    if (
        not isinstance(data, Mapping)
        or not isinstance(data.get("role"), str)
        or not isinstance(data.get("content"), str)
    ):
        raise RowError("has a message without a role and a text as its content")
    if data["role"] not in ROLES:
        raise RowError(f"has the role {data['role']!r}; write one of {', '.join(ROLES)}")
    return Message(data["role"], data["content"])


def sample_of(conversation: Conversation, dialogue: Dialogue) -> Sample:
    """The training row: what the policy is shown, then the response and the token that ends it."""
    prompt = render(conversation.messages, dialogue.template, dialogue.tokenizer)
    ids = response_ids(dialogue, prompt, conversation.response)
    return Sample((*prompt, *ids), (0,) * len(prompt) + (1,) * len(ids))


def response_ids(dialogue: Dialogue, prompt: tuple[int, ...], response: str) -> list[int]:
    """The ids of a response after `prompt`, which may have opened its thinking, and of the token that ends it."""
    if dialogue.opens_thinking(prompt):
        response = response.lstrip().removeprefix("<think>").removeprefix("\n")
    return [*dialogue.tokenizer.encode(response, add_special_tokens=False), dialogue.end]
