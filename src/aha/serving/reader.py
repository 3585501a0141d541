"""What a server reads out of a sample's tokens as they come: thinking, answer, calls of tools, and where it stops.

    reader = Reader(vocabulary, begin="inside", stops=("\\n\\n",))
    reader.feed(ids)        # [Piece("reasoning", "3*5 is 15"), Piece("content", "15")]
    reader.close()          # what was held back, at the end

What is fed token by token gives, joined, what it gives at once. Text that may be the beginning of a tag or of a stop
string is held back until that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from aha.serving.calls import Call, CallFormat, Calls, held
from aha.serving.vocabulary import Vocabulary

OPEN, CLOSE = "<think>", "</think>"
ANSWER, ANSWERED = "<answer>", "</answer>"

# Where a response begins: inside of thinking that the prompt has opened; before thinking, whose opening tag may be
# missing; outside of thinking; or "raw": nothing is read into it.
Begin = Literal["inside", "before", "outside", "raw"]
Kind = Literal["reasoning", "content"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of the thinking or of the answer."""

    kind: Kind
    text: str


def closings_of(tagged: bool) -> tuple[str, ...]:
    """What ends thinking. A model that puts its answer in tags may begin it without having closed its thinking."""
    return (CLOSE, ANSWER) if tagged else (CLOSE,)


class Reader:
    """Reads one sample. `used` counts its tokens up to a stop string, `reasoning` those of the thinking. `tagged`: the
    model was taught R1-Zero's tags."""

    def __init__(
        self, vocabulary: Vocabulary, begin: Begin = "outside", stops: Sequence[str] = (), *, keep_stop: bool = False,
        calls: CallFormat | None = None, special: bool = False, whole: bool = False, tagged: bool = False,
    ) -> None:  # fmt: skip
        self.used = self.reasoning = 0
        self.stopped: str | None = None  # the stop string that was found
        self._vocabulary, self._stops, self._keep_stop = vocabulary, tuple(stops), keep_stop
        self._text = vocabulary.text(special=special)
        closings = closings_of(tagged)
        self._thinking = _Thinking(begin, closings)
        self._aside = _Trimmed()  # the thinking's text
        self._stopping = ""  # held back for a stop string
        self._answer = (
            _Answer() if begin != "raw" and not whole else None
        )  # `whole`: what is continued keeps its spaces
        self._calls = Calls(calls) if calls is not None else None
        self._marks = [mark.encode() for mark in (*closings, *self._stops)]
        self._closings = len(closings)
        self._longest = max(map(len, self._marks)) - 1
        self._tail = b""  # the last bytes, in which a mark may begin

    def feed(self, ids: Sequence[int]) -> list[Piece | Call]:
        """What `ids` bring; those after a stop string are not read."""
        found: list[Piece | Call] = []
        for part in self._parts(ids):
            if self.stopped is not None:
                break
            open_before = self._thinking.state
            found += self._read(self._text.feed(part))
            self.used += len(part)
            self._count(open_before, len(part))
        return found

    def close(self) -> list[Piece | Call]:
        """What was held back; nothing comes after it."""
        found: list[Piece | Call] = []
        if self.stopped is None:
            found += self._read(self._text.feed((), last=True))
            for kind, text in self._thinking.close():
                found += self._sorted(kind, text)
            if self._stopping:
                found += self._answered(self._stopping)
        self._aside.close()
        if self._answer is not None:
            found += self._called(self._answer.close())
        if self._calls is not None:
            found += [x if isinstance(x, Call) else Piece("content", x) for x in self._calls.close()]
        return found

    def _parts(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """`ids` in parts, of which a token that completes a mark is one by itself: what is counted ends with it."""
        while ids:
            end = self._next_mark(self._tail + self._vocabulary.bytes_of(ids))
            part = len(ids)
            if end is not None:
                part = self._vocabulary.reaching(ids, end - len(self._tail))
                part -= part > 1  # those before come first
            self._tail = (self._tail + self._vocabulary.bytes_of(ids[:part]))[-self._longest :]
            yield ids[:part]
            ids = ids[part:]

    def _next_mark(self, near: bytes) -> int | None:
        """Where the first mark ends that the bytes after the tail complete."""
        known = len(self._tail)
        marks = self._marks if self._thinking.state != "answer" else self._marks[self._closings :]
        places = [(at, mark) for mark in marks if (at := near.find(mark, max(0, known - len(mark) + 1))) >= 0]
        return min((at + len(mark) for at, mark in places), default=None)

    def _count(self, before: str, tokens: int) -> None:
        state = self._thinking.state
        if state in ("begin", "thinking") or before == "thinking":
            self.reasoning += tokens
        elif before == "begin":
            self.reasoning = 0

    def _read(self, text: str) -> list[Piece | Call]:
        found: list[Piece | Call] = []
        for kind, part in self._thinking.feed(text):
            found += self._sorted(kind, part)
        return found

    def _sorted(self, kind: Kind, text: str) -> list[Piece | Call]:
        if kind == "reasoning":
            shown = self._aside.feed(text)
            return [Piece("reasoning", shown)] if shown else []
        return self._until_stop(text) if self.stopped is None else []

    def _until_stop(self, text: str) -> list[Piece | Call]:
        if not self._stops:
            return self._answered(text)
        whole = self._stopping + text
        places = [(at, stop) for stop in self._stops if (at := whole.find(stop)) >= 0]
        if places:
            at, self.stopped = min(places)
            self._stopping = ""
            return self._answered(whole[: at + len(self.stopped) * self._keep_stop])
        keep = held(whole, self._stops)
        self._stopping = whole[len(whole) - keep :]
        return self._answered(whole[: len(whole) - keep])

    def _answered(self, text: str) -> list[Piece | Call]:
        return self._called(self._answer.feed(text) if self._answer is not None else text)

    def _called(self, text: str) -> list[Piece | Call]:
        if self._calls is None:
            return [Piece("content", text)] if text else []
        return [x if isinstance(x, Call) else Piece("content", x) for x in self._calls.feed(text)]


class _Thinking:
    """Tells thinking from answer."""

    def __init__(self, begin: Begin, closings: Sequence[str]) -> None:
        self.state: Literal["begin", "thinking", "answer"] = "answer" if begin == "raw" else "begin"
        self._begin, self._closings = begin, closings
        self._held = ""

    def feed(self, text: str) -> Iterator[tuple[Kind, str]]:
        if self.state == "answer":
            yield "content", text
            return
        self._held += text
        if self.state == "begin" and not self._decided():
            return
        if self.state == "thinking":
            places = [(at, mark) for mark in self._closings if (at := self._held.find(mark)) >= 0]
            at, closed = min(places) if places else (len(self._held) - held(self._held, self._closings), "")
            yield "reasoning", self._held[:at]
            self._held = self._held[at:].removeprefix(CLOSE)
            if not closed:
                return
            self.state = "answer"
        rest, self._held = self._held, ""
        yield "content", rest

    def _decided(self) -> bool:
        """Look at how the response begins; False where that is not known yet."""
        start = self._held.lstrip()
        if start.startswith(OPEN):
            self.state, self._held = "thinking", start[len(OPEN) :]
        elif OPEN.startswith(start) or (self._begin == "before" and ANSWER.startswith(start)):
            return False
        elif self._begin == "inside" or (self._begin == "before" and not start.startswith(ANSWER)):
            self.state = "thinking"
        else:
            self.state = "answer"
        return True

    def close(self) -> Iterator[tuple[Kind, str]]:
        if self._held:
            thinking = self.state == "thinking" or (self.state == "begin" and self._begin in ("inside", "before"))
            yield ("reasoning" if thinking else "content"), self._held
        self._held = ""


class _Trimmed:
    """Drops white space at both ends of a text; only at its end, where it has `begun`."""

    def __init__(self, begun: bool = False) -> None:
        self._begun = begun
        self._space = ""

    def feed(self, text: str) -> str:
        text = self._space + text
        if not self._begun:
            text = text.lstrip()
        shown = text.rstrip()
        self._begun = self._begun or bool(shown)
        self._space = text[len(shown) :]
        return shown

    def close(self) -> None:
        self._space = ""


class _Answer:
    """The answer without white space before it; one that begins with `<answer>`, without its tags."""

    def __init__(self) -> None:
        self._state: Literal["begin", "tagged", "plain"] = "begin"
        self._held = ""
        self._inside = _Trimmed()
        self._after = _Trimmed(begun=True)  # nothing is to follow `</answer>`; what does is shown
        self._closed = False

    def feed(self, text: str) -> str:
        if self._state == "plain":
            return text
        if self._closed:
            return self._after.feed(text)
        self._held += text
        if self._state == "begin":
            start = self._held.lstrip()
            if ANSWER.startswith(start):
                return ""
            self._state = "tagged" if start.startswith(ANSWER) else "plain"
            self._held = start.removeprefix(ANSWER)
            if self._state == "plain":
                start, self._held = self._held, ""
                return start
        inside, closed, after = self._held.partition(ANSWERED)
        keep = 0 if closed else held(inside, [ANSWERED])
        self._held = "" if closed else inside[len(inside) - keep :]
        self._closed = bool(closed)
        return self._inside.feed(inside[: len(inside) - keep]) + (self._after.feed(after) if closed else "")

    def close(self) -> str:
        rest, self._held = self._held, ""
        if self._state == "begin":
            return "" if rest.lstrip() == ANSWER else rest.lstrip()
        return self._inside.feed(rest) if self._state == "tagged" else rest
