"""What reward models learn from: pairs of a better and a worse response, and responses that are safe or not.

A file is JSONL: `{"messages" or "prompt", "chosen", "rejected"}`, as stages of kind `compare` write it, or
`{"messages" or "prompt", "response", "safe"}`.
A task whose preferences follow from known rules makes its own (`rules:requests`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.config import RULES
from aha.errors import UserError, nearest
from aha.pipeline.conversations import turns_of
from aha.tasks import preferences
from aha.tasks.rows import BadRow, RowError, read_file, text_under
from aha.tasks.splits import split_of
from aha.types import Message, Split


@dataclass(frozen=True, slots=True)
class Pair:
    """Of two whole responses to the same messages the better one and the other."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A whole response that is safe or not."""

    messages: tuple[Message, ...]
    response: str
    safe: bool


Example = Pair | Labelled


def examples(source: str, kind: str, count: int, seed: int, split: Split) -> list[Example]:
    """At most `count` examples of `kind` ("pairwise" or "pointwise") from a file, or made by rules.

    A file is split by a hash of what its messages say, so that no prompt is in both splits.
    """
    if source.startswith(RULES):
        return list(_by_rules(source.removeprefix(RULES), kind, count, seed, split))
    file = Path(source)
    if not file.is_file():
        raise UserError(f"no file {source!r}; give a .jsonl file of preferences, or rules:TASK")
    read: Callable[[Any], Example] = _pair if kind == "pairwise" else _labelled
    found: list[Example] = []
    for raw in read_file(file):
        try:
            example = read(raw.data)
        except RowError as error:
            raise BadRow(str(file), raw.number, str(error)) from error
        if split_of("\n".join(f"{m.role} {m.content}" for m in example.messages)) == split:
            found.append(example)
    return found[:count]


def _by_rules(task: str, kind: str, count: int, seed: int, split: Split) -> Sequence[Example]:
    makers: dict[tuple[str, str], Callable[[], Sequence[Example]]] = {
        ("requests", "pairwise"): lambda: [
            Pair(p.problem.messages, p.chosen, p.rejected) for p in preferences.pairs(count, seed, split)
        ],
        ("requests", "pointwise"): lambda: [
            Labelled(x.problem.messages, x.response, x.safe) for x in preferences.labelled(count, seed, split)
        ],
    }
    if (task, kind) not in makers:
        raise UserError(f"no rules make preferences of task {task!r}{nearest(task, {name for name, _ in makers})}")
    return makers[task, kind]()


def _pair(data: Any) -> Pair:
    messages = _messages(data)
    return Pair(messages, text_under(data, "chosen"), text_under(data, "rejected"))


def _labelled(data: Any) -> Labelled:
    messages = _messages(data)
    if not isinstance(data.get("safe"), bool):
        raise RowError("has neither true nor false under 'safe'")
    return Labelled(messages, text_under(data, "response", "completion"), data["safe"])


def _messages(data: Any) -> tuple[Message, ...]:
    if isinstance(data, RowError):
        raise data
    if not isinstance(data, Mapping):
        raise RowError("is no JSON object")
    return turns_of(data)
