"""Files of answers: one outcome a line, in order, whatever the lines hold, in constant memory."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.rewards import graders, scoring
from aha.rewards.graders import Columns
from aha.types import Abstain, Outcome, Score


def echo(text: str, columns: Columns) -> Outcome:
    """Scores the text's length; other outcomes on demand."""
    if text == "crash":
        raise ZeroDivisionError("on purpose")
    if text == "wait":
        time.sleep(0.3)
    return {"abstain": Abstain("no opinion"), "nan": Score(float("nan"))}.get(text, Score(float(len(text)), text))


@pytest.fixture(autouse=True)
def with_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(graders.ROW_REWARDS, "echo", echo)


def scored(content: bytes, reward: str = "echo", **options: Any) -> list[dict[str, Any]]:
    return list(scoring.score(io.BytesIO(content).read, reward, **options))


def lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


BAD: list[tuple[Any, str]] = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"\xff\xfe\x00", "not UTF-8"),
    (b"\x00" * 50, "not JSON"),
    (b'{"completion": NaN}', "NaN is no JSON"),
    (b"9" * 5000, "not JSON"),
    ([1], "the row is [1], not an object"),
    (None, "the row is null, not an object"),
    ("text", 'the row is "text", not an object'),
    ({}, "no 'completion'"),
    ({"completion": None}, "a NoneType"),
    ({"completion": 5}, "a int"),
    ({"completion": [1, 2]}, "a list"),
    ({"completion": "crash"}, "ZeroDivisionError: on purpose"),
    ({"completion": "nan"}, "not finite"),
]


def test_bad_rows_fail_alone_and_in_their_places() -> None:
    good = {"completion": "four"}
    found = scored(lines(*(row for bad, _ in BAD for row in (good, bad))))
    assert [line["row"] for line in found] == list(range(1, 2 * len(BAD) + 1))
    assert all(line == {"row": line["row"], "outcome": "score", "value": 4.0, "why": "four"} for line in found[::2])
    for line, (_, reason) in zip(found[1::2], BAD, strict=True):
        assert (line["outcome"], line["value"]) == ("failed", None) and reason in line["why"]


def test_outcomes_keep_their_kind() -> None:
    found = scored(lines({"completion": "abstain"}, {"completion": ""}))
    assert [(line["outcome"], line["value"]) for line in found] == [("abstain", None), ("score", 0.0)]


def test_a_slow_row_does_not_change_the_order() -> None:
    found = scored(lines({"completion": "wait"}, *({"completion": "x" * n} for n in range(40))))
    assert [line["value"] for line in found] == [4.0, *map(float, range(40))]


def test_messages_are_a_completion() -> None:
    parts = [{"type": "text", "text": "ab"}, {"type": "image"}]
    others = [{"role": "tool", "content": "a tool's words"}, {"role": "assistant"}, {"role": "user", "content": "mine"}]
    found = scored(lines({"completion": [{"role": "assistant", "content": "cde"}, {"content": parts}, *others]}))
    assert found[0]["why"] == "cdeab"


def test_rows_are_read_as_they_are_graded() -> None:
    read = 0

    def endless(size: int) -> bytes:
        nonlocal read
        read += 1
        return lines({"completion": "ab"})

    found: Iterator[dict[str, Any]] = scoring.score(endless, "echo")
    assert [next(found)["row"] for _ in range(10)] == list(range(1, 11))
    time.sleep(0.1)
    assert read < 200  # bounded, though the stream never ends


def test_an_answer_comes_before_the_next_row_is_written() -> None:
    rows = iter([lines({"completion": "a"}), lines({"completion": "b"})])
    seen: list[list[str]] = []  # what had been answered when each block was read

    def read(size: int) -> bytes:
        seen.append([])
        for _ in range(500 if len(seen) == 2 else 0):
            if found:
                break
            time.sleep(0.01)
        seen[-1] = list(found)
        return next(rows, b"")

    found: list[str] = []
    for line in scoring.score(read, "echo"):
        found.append(line["why"])
    assert found == ["a", "b"] and seen[1] == ["a"]


def test_what_breaks_the_stream_is_raised() -> None:
    def broken(size: int) -> bytes:
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        list(scoring.score(broken, "echo"))


def test_a_row_without_end_is_never_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAX_ROW", 1000)
    content = b"x" * 500_000 + b"\nshort\n" + b"y" * 1001 + b"\n" + b"z" * 1000
    assert list(scoring.split_lines(io.BytesIO(content).read, 1000)) == [None, b"short", None, b"z" * 1000]
    assert "longer than 1000 bytes" in scoring.score_line(None, echo).reason  # type: ignore[union-attr]


@settings(deadline=None)
@given(content=st.binary(max_size=300), limit=st.integers(1, 20), block=st.integers(1, 10))
def test_lines_are_split_as_python_splits_them(content: bytes, limit: int, block: int) -> None:
    stream = io.BytesIO(content)
    expected = [line.rstrip(b"\n") for line in io.BytesIO(content)]
    found = list(scoring.split_lines(lambda size: stream.read(block), limit))
    assert found == [line if len(line) <= limit else None for line in expected]


@settings(max_examples=40, deadline=None)
@given(content=st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b" ")), max_size=5))
def test_any_lines_give_as_many_outcomes(content: list[bytes]) -> None:
    assert [line["row"] for line in scored(lines(*content))] == list(range(1, len(content) + 1))


def test_unknown_rewards_and_settings() -> None:
    with pytest.raises(UserError, match="unknown reward 'maths'; did you mean 'math'"):
        scored(b"", "maths")
    with pytest.raises(UserError, match="--unsafe means nothing"):
        scored(b"", "math", unsafe=True)
