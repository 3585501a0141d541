"""From messages to a prompt: the model's chat template with R1's rules around it.

    form = ChatForm(tokenizer, template="auto")
    prompt = form.prompt(messages, thinking=True)      # Prompted(text, begin="inside")

Earlier thinking is dropped, except of turns that called tools. Where the model thinks, `<think>` is put at the end of
the prompt unless the template has done so (R1's README: models tend to skip thinking otherwise); with thinking off, the
thinking is closed there, empty. A template that knows no tools gets them as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from aha.models.chat_template import plain_templates, remember_template
from aha.models.templates import choose
from aha.serving.calls import CallFormat, format_of, instructions, written
from aha.serving.errors import invalid
from aha.serving.reader import ANSWER, CLOSE, OPEN, Begin
from aha.serving.vocabulary import ids_of

# What a template gets from the server itself, whatever a client says.
RESERVED = frozenset(
    (
        "messages", "tools", "documents", "chat_template", "add_generation_prompt", "continue_final_message",
        "tokenize",
        "return_dict", "padding", "truncation", "max_length", "return_tensors", "tokenizer_kwargs", "conversation",
        "return_assistant_tokens_mask", "processor_kwargs", "self", "kwargs",
    )
)  # fmt: skip
SWITCHES = ("enable_thinking", "thinking")
TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)

Turn = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt's text, and where a response to it begins."""

    text: str
    begin: Begin


class ChatForm:
    """How a model is asked. `thinking` is "on", "off" or "auto", which believes the template: one that speaks of
    `<think>` is of a model that thinks, and so is a plain one of a tokenizer with R1-Zero's tags. `forced`: `<think>`
    is put where it is missing."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: str = "auto",
        thinking: str = "auto",
        *,
        forced: bool = True,
    ) -> None:
        remember_template(tokenizer, template)
        choose("chat", tokenizer)
        self.tokenizer, self.forced = tokenizer, forced
        found: Any = tokenizer.chat_template
        self.source: str = found if isinstance(found, str) else "\n".join(map(str, found.values()))
        plain = plain_templates(tokenizer)
        tagged = {OPEN, CLOSE, ANSWER} <= tokenizer.get_vocab().keys()
        speaks = OPEN in self.source or CLOSE in self.source or (self.source in plain and tagged)
        self.thinks = speaks if thinking == "auto" else thinking == "on"
        self.tagged = self.source in plain  # its answers are in tags
        self._opener = OPEN if self.tagged else OPEN + "\n"
        self._names = set(re.findall(r"[A-Za-z_]\w*", self.source))
        self.knows_tools = {"tools", "tool_calls"} <= self._names

    @property
    def calls(self) -> CallFormat:
        """How the model is told to write calls."""
        return format_of(self.source if self.knows_tools else "")

    def prompt(
        self, messages: Sequence[Turn], *, tools: Sequence[Mapping[str, Any]] = (), thinking: bool = True,
        settings: Mapping[str, Any] | None = None, continued: bool = False, generation: bool = True,
    ) -> Prompted:  # fmt: skip
        """The prompt of a conversation, whose last turn is `continued` or answered. `settings` go to the template.

        Raises ApiError where the template refuses the messages or does not read a setting."""
        unknown = sorted(name for name in settings or {} if name not in self._names - RESERVED)
        if unknown:
            raise invalid(f"the model's chat template reads no {unknown[0]!r}; leave it out", "chat_template_kwargs")
        earlier, begun = (messages[:-1], messages[-1:]) if continued else (messages, [])
        turns = [*map(_without_thinking, earlier), *begun]
        if not self.knows_tools:
            turns = _as_text(turns, tools)
        last = turns.pop() if continued else None
        switches = {name: thinking for name in SWITCHES if name in self._names}
        values = {**switches, **(settings or {}), "add_generation_prompt": generation or continued}
        if tools and self.knows_tools:
            values["tools"] = [{"type": "function", "function": dict(tool)} for tool in tools]
        text = self._rendered(turns, values)
        if last is not None:
            return self._continued(text, last["content"] or "")
        return self._opened(text, thinking) if generation else Prompted(text, "raw")

    def _rendered(self, turns: list[Turn], values: Mapping[str, Any]) -> str:
        """Templates differ in whether they want the arguments of earlier calls as JSON or as its value."""
        try:
            return self._apply(turns, values)
        except TEMPLATE_FAULTS as fault:
            error = fault
        if any(turn.get("tool_calls") for turn in turns):
            try:
                return self._apply([_with_json(turn) for turn in turns], values)
            except TEMPLATE_FAULTS as fault:
                error = fault
        raise invalid(f"the model's chat template refuses the messages: {str(error)[:200]}", "messages") from error

    def _apply(self, turns: list[Turn], values: Mapping[str, Any]) -> str:
        text: str = self.tokenizer.apply_chat_template(turns, tokenize=False, **values)
        return text

    def _opened(self, text: str, thinking: bool) -> Prompted:
        is_open = text.rstrip().endswith(OPEN)
        if not self.thinks:
            return Prompted(text, "inside" if is_open else "outside")
        if thinking:
            if is_open:
                return Prompted(text, "inside")
            return Prompted(text + self._opener, "inside") if self.forced else Prompted(text, "before")
        line = self._opener.removeprefix(OPEN)
        if is_open:
            return Prompted(f"{text.rstrip()}{2 * line}{CLOSE}{2 * line}", "outside")
        closed = any(name in self._names for name in SWITCHES)  # the template has been told
        return Prompted(text if closed else f"{text}{OPEN}{2 * line}{CLOSE}{2 * line}", "outside")

    def _continued(self, text: str, content: str) -> Prompted:
        """The beginning of an answer, that is to go on. It may hold thinking, or only the answer."""
        is_open = text.rstrip().endswith(OPEN)
        if content.lstrip().startswith(OPEN):
            text = text.rstrip().removesuffix(OPEN) if is_open else text
        elif is_open:
            text = text.rstrip().removesuffix(OPEN)
        begin: Begin = "inside" if content.rpartition(CLOSE)[2].lstrip().startswith(OPEN) else "outside"
        return Prompted(text + content, begin)


def tokens_of(form: ChatForm, text: str) -> list[int]:
    """A rendered prompt's ids; the template has written all special tokens. Raises UserError."""
    return ids_of(form.tokenizer, text, "one of the messages")


def _without_thinking(turn: Turn) -> Turn:
    """An earlier answer without its thinking; a turn that called tools keeps it, as `reasoning_content`."""
    if turn["role"] != "assistant":
        return turn
    content = turn.get("content") or ""
    thought, closed, answer = content.rpartition(CLOSE)
    kept = {name: value for name, value in turn.items() if name != "reasoning_content"}
    kept["content"] = answer.lstrip() if closed else content
    reasoning = turn.get("reasoning_content") or thought.strip().removeprefix(OPEN).strip()
    if turn.get("tool_calls") and reasoning:
        kept["reasoning_content"] = reasoning
    return kept


def _with_json(turn: Turn) -> Turn:
    """A turn whose calls have their arguments as JSON text."""
    calls = [
        {**c, "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"], ensure_ascii=False)}}
        for c in turn.get("tool_calls") or ()
    ]
    return {**turn, "tool_calls": calls} if calls else turn


def _as_text(turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The conversation for a template that knows only texts: tools among the system's words, results from the user."""
    plain: list[Turn] = []
    for turn in turns:
        content = turn.get("content") or ""
        if turn["role"] == "tool":
            plain.append({"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"})
        elif turn.get("tool_calls"):
            thought = f"{OPEN}\n{turn['reasoning_content']}\n{CLOSE}\n\n" if turn.get("reasoning_content") else ""
            calls = written([call["function"] for call in turn["tool_calls"]])
            plain.append({"role": "assistant", "content": f"{thought}{content}\n{calls}".lstrip("\n")})
        else:
            plain.append({"role": turn["role"], "content": content})
    if tools:
        told = instructions([{"type": "function", "function": dict(tool)} for tool in tools])
        first = plain[0]["content"] + "\n\n" if plain and plain[0]["role"] == "system" else ""
        plain[: 1 if first else 0] = [{"role": "system", "content": first + told}]
    return plain
