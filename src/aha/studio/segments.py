"""A response's text taken apart for display: thinking, answer, tags, and the words with which it turns back.

    for part in segments("<think>3*5=15, wait, </think><answer>3*5</answer>"):
        part.kind, part.text

Text from models is untrusted: `visible` takes out what a terminal or a browser would obey instead of show.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from aha.rewards.text import REFLECTION

Kind = Literal["think", "answer", "plain", "tag", "turn"]

_TAG = re.compile(r"(</?(?:think|answer)>)")
_TURN = re.compile(f"({REFLECTION.pattern})", REFLECTION.flags)
_DIRECTION = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
_KEPT = {"\n", "\t", "\u200c", "\u200d"}


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a response. `turn` is a word of reflection inside the thinking."""

    kind: Kind
    text: str


def visible(text: str) -> str:
    """`text` with control characters, escape sequences' beginnings and changes of direction made harmless.

    >>> visible("a\\x1b[31mb")
    'a\\ufffd[31mb'
    """
    return "".join(
        "\ufffd" if c not in _KEPT and (ord(c) in _DIRECTION or unicodedata.category(c) in ("Cc", "Cs")) else c
        for c in text.replace("\r\n", "\n")
    )


def segments(response: str) -> list[Segment]:
    """The pieces in order; together they are the (visible) response.

    A response whose prompt had opened the thinking is thinking up to its closing tag.
    """
    pieces = _TAG.split(visible(response))
    tags = pieces[1::2]
    mode: Kind = "think" if tags and tags[0] == "</think>" else "plain"
    found: list[Segment] = []
    for piece in pieces:
        if _TAG.fullmatch(piece):
            found.append(Segment("tag", piece))
            mode = {"<think>": "think", "<answer>": "answer"}.get(piece, "plain")  # type: ignore[assignment]
        elif piece:
            found.extend([Segment(mode, piece)] if mode == "answer" else _turns(mode, piece))
    return found


def _turns(mode: Kind, text: str) -> list[Segment]:
    return [Segment("turn" if i % 2 else mode, piece) for i, piece in enumerate(_TURN.split(text)) if piece]
