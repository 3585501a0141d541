"""What a word, a sentence and a paragraph are, for instructions that count them. All take linear time.

A word is a run of letters and digits with the marks that combine with them, or one Han character or kana; `don't` is
two, as in the published evaluation. A sentence ends with `.`, `!`, `?`, `…` or their counterparts in other scripts, at
white space or the end; not at a known abbreviation, an initial, or the number of a list item. A line break ends none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CJK = r"\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_MARKS = r"\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e\u0eb1-\u0ecd\u1000-\u109f\u1780-\u17d3"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[\w{_MARKS}])+")
_END = re.compile(r"[.!?…。！？؟।॥]+[\"'”’)\]*_»」』]*")
_ANY_SPACE = frozenset("。！？।॥")  # these end a sentence whatever follows
_LETTERED = re.compile(r"[^\W_]")
_TITLES = frozenset(["mr", "mrs", "ms", "dr", "prof", "st", "gen", "col", "sgt", "capt", "e.g", "i.e", "vs", "cf"])
_SHORTENED = frozenset(["etc", "a.m", "p.m", "u.s", "u.k", "inc", "ltd", "corp", "jr", "sr", "ph.d", "p.s", "p.p.s"])
_OPENERS = "\"'“‘([{*_<#>-"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether an instruction is followed, and how that was seen."""

    followed: bool
    why: str


def words(text: str) -> list[str]:
    """The words of `text`, in order."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of `text` that hold a letter or a digit, with their signs."""
    found: list[str] = []
    begin = 0
    for end in _END.finditer(text):
        if _ends(text, end):
            found.append(text[begin : end.end()].strip())
            begin = end.end()
    found.append(text[begin:].strip())
    return [sentence for sentence in found if _LETTERED.search(sentence)]


def _ends(text: str, end: re.Match[str]) -> bool:
    """Whether the sign `end` ends a sentence."""
    if not _ANY_SPACE.isdisjoint(end[0]):
        return True
    following = text[end.end() : end.end() + 8]
    if following and not following[0].isspace():
        return False
    goes_on = following.strip()[:1].islower()
    if end[0].startswith(("..", "…")):
        return not goes_on
    return not end[0].startswith(".") or not _is_shortened(text, end.start(), goes_on)


def _is_shortened(text: str, dot: int, goes_on: bool) -> bool:
    """Whether the full stop at `dot` belongs to a title, an initial, an abbreviation or the number of a list item."""
    head = text[max(0, dot - 40) : dot]
    line = head.rpartition("\n")[2]
    word = (line.split() or [""])[-1].lstrip(_OPENERS)
    item = word.isdigit() and line.strip().lstrip(_OPENERS).strip() == word and ("\n" in head or dot <= 40)
    initial = len(word) == 1 and word.isupper() and word != "I"
    return item or initial or word.lower() in _TITLES or (goes_on and word.lower() in _SHORTENED)


def paragraphs(text: str) -> list[str]:
    """The parts of `text` between blank lines."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def compare(count: int, relation: str, bound: int, what: str) -> Finding:
    """Whether `count` is "at least" or "less than" `bound`."""
    followed = count >= bound if relation == "at least" else count < bound
    return Finding(followed, f"{count} {what}, asked for {relation} {bound}")


def exactly(count: int, bound: int, what: str) -> Finding:
    """Whether `count` is `bound`."""
    return Finding(count == bound, f"{count} {what}, asked for {bound}")


def count_text(text: str, part: str) -> int:
    """How often `part` stands in `text`, whatever the case."""
    return text.casefold().count(part.casefold())
