"""Calls of tools in a response's text: how models write them, and how they are told to.

    calls = Calls(HERMES)
    list(calls.feed('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'))   # [Call("add", '{"a": 1}')]

What cannot be read as a call stays text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_HELD = 1_000_000  # characters of one call


@dataclass(frozen=True, slots=True)
class Call:
    """A function's name and its arguments as JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a model writes a call: between `opening` and `closing`; `around` are marks that only group calls."""

    opening: str
    closing: str
    read: Callable[[str], list[Call] | None]  # what stands between; None: no call
    around: tuple[str, ...] = ()


def _read_json(body: str) -> list[Call] | None:
    """`{"name": .., "arguments": ..}`, or a list of such."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    calls = [_call(entry) for entry in (found if isinstance(found, list) else [found])]
    whole = [call for call in calls if call is not None]
    return whole if whole and len(whole) == len(calls) else None


def _call(entry: Any) -> Call | None:
    if not isinstance(entry, Mapping):
        return None
    name, arguments = entry.get("name"), entry.get("arguments", entry.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments, Mapping):
        return None
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def _read_deepseek(body: str) -> list[Call] | None:
    """`function<｜tool▁sep｜>NAME` with the arguments in a JSON fence, or `NAME<｜tool▁sep｜>` with bare ones."""
    before, separated, after = body.partition("<｜tool▁sep｜>")
    if not separated:
        return None
    name, text = before.strip(), after.strip()
    if name == "function":
        name, _, text = text.partition("\n")
    text = text.strip().removeprefix("```json").removesuffix("```").strip()
    return _read_json(json.dumps({"name": name.strip(), "arguments": text}))


HERMES = CallFormat("<tool_call>", "</tool_call>", _read_json)
DEEPSEEK = CallFormat(
    "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", _read_deepseek, ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
)


def format_of(template: str) -> CallFormat:
    """The format that a chat template shows its model."""
    return DEEPSEEK if DEEPSEEK.opening in template else HERMES


def held(text: str, marks: Sequence[str]) -> int:
    """How many of the last characters may be the beginning of one of `marks`.

    >>> held("so </thi", ["</think>"])
    5
    """
    tail = text[max(0, len(text) + 1 - max(map(len, marks), default=1)) :]
    if not any(mark[0] in tail for mark in marks):
        return 0
    return next((n for n in range(len(tail), 0, -1) if any(mark.startswith(tail[-n:]) for mark in marks)), 0)


class Calls:
    """Finds calls in text as it comes; a call comes whole."""

    def __init__(self, form: CallFormat) -> None:
        self._form = form
        self._marks = (form.opening, *form.around)
        self._held = ""
        self._open = False
        self._called = False  # nothing but space since the last call

    def feed(self, text: str) -> Iterator[str | Call]:
        """Text and calls, in order."""
        self._held += text
        while True:
            if not self._open:
                before, opened, after = self._held.partition(self._form.opening)
                keep = 0 if opened else held(before, self._marks)
                yield from self._plain(before[: len(before) - keep])
                self._held = after if opened else before[len(before) - keep :]
                if not opened:
                    return
                self._open = True
            body, closed, after = self._held.partition(self._form.closing)
            if not closed:
                if len(self._held) > MOST_HELD:
                    yield from self.close()
                return
            self._held, self._open = after, False
            yield from self._read(body, self._form.opening + body + self._form.closing)

    def close(self) -> Iterator[str | Call]:
        """What is left at the end: a call whose closing mark is missing counts."""
        rest, self._held = self._held, ""
        if self._open:
            self._open = False
            yield from self._read(rest, self._form.opening + rest)
        else:
            yield from self._plain(rest)

    def _plain(self, text: str) -> Iterator[str]:
        for mark in self._form.around:
            text = text.replace(mark, "")
        if self._called:  # space after a call says nothing
            text = text.lstrip()
        if text:
            self._called = False
            yield text

    def _read(self, body: str, whole: str) -> Iterator[str | Call]:
        found = self._form.read(body.strip())
        if found is None:
            yield whole
        else:
            self._called = True
            yield from found


def instructions(tools: Sequence[Mapping[str, Any]]) -> str:
    """What a model whose template knows no tools is told, in the words of the Hermes format."""
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return (
        "You may call one or more functions to assist with the user query.\n\nFunction signatures are within "
        f"<tools></tools> tags:\n<tools>\n{listed}\n</tools>\n\nFor each function call, return a JSON object with the "
        "function's name and arguments within <tool_call></tool_call> tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <arguments-as-JSON-object>}\n</tool_call>'
    )


def written(calls: Sequence[Mapping[str, Any]]) -> str:
    """Earlier calls as text, for such a model."""
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': c['name'], 'arguments': c['arguments']}, ensure_ascii=False)}\n</tool_call>"
        for c in calls
    )
