"""Thinking, answers, calls and stop strings, read as tokens come."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.serving.calls import DEEPSEEK, HERMES, Call, CallFormat, Calls
from aha.serving.reader import Begin, Piece, Reader
from aha.serving.vocabulary import Vocabulary
from tiny_models import tokenizer

VOCABULARY = Vocabulary(tokenizer(), 260)  # a token is a byte: every tag straddles several of them


def read(
    text: str, begin: Begin = "inside", stops: tuple[str, ...] = (), cuts: list[int] | None = None, **settings
) -> tuple[str, str, list[Call], Reader]:
    """Thinking, answer and calls of a text that comes in parts."""
    reader = Reader(VOCABULARY, begin, stops, **settings)
    ids = VOCABULARY.encode(text)
    places = [0, *sorted(cuts or []), len(ids)]
    found = [piece for a, b in pairwise(places) for piece in reader.feed(ids[a:b])]
    found += reader.close()
    texts = {kind: "".join(p.text for p in found if isinstance(p, Piece) and p.kind == kind) for kind in KINDS}
    return texts["reasoning"], texts["content"], [p for p in found if isinstance(p, Call)], reader


KINDS = ("reasoning", "content")


@pytest.mark.parametrize(
    ("begin", "text", "thinking", "answer"),
    [
        ("inside", "3*5 is 15</think>\n\n15", "3*5 is 15", "15"),
        ("inside", " so\n</think>15 ", "so", "15 "),
        ("inside", "<think>again</think>15", "again", "15"),  # opened twice
        ("inside", "never closed", "never closed", ""),
        ("inside", "", "", ""),
        ("inside", "</think>at once", "", "at once"),
        ("before", "<think>a</think>b", "a", "b"),
        ("before", "\n<think>\na</think>b", "a", "b"),
        ("before", "a</think>b", "a", "b"),  # the opening tag is missing
        ("before", "a", "a", ""),
        ("before", " <answer>7</answer>", "", "7"),
        ("before", "<thin", "<thin", ""),
        ("outside", "plain </think> text", "", "plain </think> text"),
        ("outside", "<think>a</think>b", "a", "b"),
        ("outside", "\n\n b \n", "", "b \n"),
        ("inside", "a</think><answer> 7 </answer>\n", "a", "7"),
        ("inside", "a</think>\n<answer>7</answer> so <answer>8</answer>", "a", "7 so <answer>8</answer>"),
        ("inside", "a</think><answer>never closed </ans", "a", "never closed </ans"),
        ("inside", "a</think><answers>7", "a", "<answers>7"),
        ("inside", "a</think>b <think>c</think>", "a", "b <think>c</think>"),
        ("raw", " a</think> b ", "", " a</think> b "),
    ],
)
def test_thinking_and_answer(begin: Begin, text: str, thinking: str, answer: str) -> None:
    expected = thinking, answer
    assert read(text, begin)[:2] == expected
    assert read(text, begin, cuts=list(range(len(text.encode()))))[:2] == expected, "token by token"


def test_an_answer_in_tags_ends_the_thinking_where_it_was_not_closed() -> None:
    text = "27? too hard.<answer>2+7</answer>"
    for cuts in ([], list(range(len(text)))):
        assert read(text, tagged=True, cuts=cuts)[:2] == ("27? too hard.", "2+7")
        assert read(text, cuts=cuts)[:2] == (text, "")
    assert read("a</think><answer>b</answer>", tagged=True)[:2] == ("a", "b")


PARTS = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<tool_call>",
    "</tool_call>",
    "\n\n",
    " ",
    "a",
    "</",
    "é",
    "🙂",
]
PARTS += ['{"name": "f", "arguments": {"x": 1}}', "STOP", "ST", "<"]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@given(TEXTS, st.sampled_from(["inside", "before", "outside", "raw"]), st.data())
def test_parts_joined_are_the_whole(text: str, begin: Begin, data: st.DataObject) -> None:
    """However tokens are delivered, the same is read, up to the same token."""
    stops, tools, tagged = (data.draw(st.booleans()) for _ in range(3))
    settings = {"stops": ("STOP", "\n\n") if stops else (), "calls": HERMES if tools else None, "tagged": tagged}
    *whole, at_once = read(text, begin, **settings)
    cuts = data.draw(st.lists(st.integers(0, len(text.encode())), max_size=8))
    *parts, in_parts = read(text, begin, cuts=cuts, **settings)
    assert parts == whole
    for name in ("used", "reasoning", "stopped"):
        assert getattr(in_parts, name) == getattr(at_once, name), name


@given(TEXTS, st.sampled_from(["STOP", "\n\n", "a", "🙂", "</think>"]))
def test_nothing_of_a_stop_string_is_shown(text: str, stop: str) -> None:
    _, shown, _, reader = read(text, "raw", (stop,))
    assert shown == text.partition(stop)[0]
    assert (reader.stopped == stop) == (stop in text)
    assert VOCABULARY.join(VOCABULARY.encode(text)[: reader.used]) == "".join(text.partition(stop)[:2])


def test_stop_strings_end_the_answer_and_not_the_thinking() -> None:
    thinking, answer, _, reader = read("so\n\nthen</think>one\n\ntwo", stops=("\n\n",))
    assert (thinking, answer, reader.stopped) == ("so\n\nthen", "one", "\n\n")
    assert reader.used == len("so\n\nthen</think>one\n\n") and reader.reasoning == len("so\n\nthen</think>")
    assert read("x</think>one.two", stops=(".",), keep_stop=True)[1] == "one."
    assert read("x</think>ab", stops=("bc", "b"))[1] == "a"


def test_tokens_of_thinking_are_counted() -> None:
    for cuts in ([], [1], [2, 3, 4, 9], list(range(12))):
        assert read("abc</think>defg", cuts=cuts)[3].reasoning == len("abc</think>")
    assert read("abc", "outside")[3].reasoning == 0
    assert read("<answer>7</answer>", "before")[3].reasoning == 0
    assert read("abc")[3].reasoning == 3


CALLED = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call>'


def test_calls_are_read() -> None:
    thinking, answer, calls, _ = read(f"why</think>I add.\n{CALLED}\n{CALLED}\n", calls=HERMES)
    assert (thinking, answer) == ("why", "I add.\n")
    assert [(c.name, json.loads(c.arguments)) for c in calls] == [("add", {"a": 1, "b": [2]})] * 2
    assert read(f"why</think>{CALLED}", calls=None)[1] == CALLED, "nobody asked for tools"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>no json</tool_call>",
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>" + "[" * 3000 + "</tool_call>",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert read(text, "outside", calls=HERMES)[1:3] == (text, [])


def test_a_call_without_its_end_counts_where_it_is_whole() -> None:
    text = CALLED.removesuffix("\n</tool_call>")
    assert [c.name for c in read(text, "outside", calls=HERMES)[2]] == ["add"]
    assert read(text[:-4], "outside", calls=HERMES)[1:3] == (text[:-4], [])


GROUP = "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>"
FENCED = '<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"x": "y"}\n```<｜tool▁call▁end｜>'
BARE = '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"x": "y"}<｜tool▁call▁end｜>\n'


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (HERMES, '<tool_call>{"name": "f", "parameters": {"x": "y"}}</tool_call>'),
        (HERMES, '<tool_call>{"name": "f", "arguments": "{\\"x\\": \\"y\\"}"}</tool_call>'),
        (DEEPSEEK, GROUP.format(FENCED)),
        (DEEPSEEK, GROUP.format(BARE)),
    ],
)
def test_forms_of_calls(form: CallFormat, text: str) -> None:
    for size in (1, 7, 1000):
        calls = Calls(form)
        found = [x for at in range(0, len(text), size) for x in calls.feed(text[at : at + size])] + [*calls.close()]
        assert [(c.name, json.loads(c.arguments)) for c in found if isinstance(c, Call)] == [("f", {"x": "y"})]
        assert not [x for x in found if isinstance(x, str)]
