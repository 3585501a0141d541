"""What may come next: thinking that is ended, stop strings, grammars."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.serving.guide import FREE, Grammars, Guides, Rules, Watch, tool_grammar
from aha.serving.reader import CLOSE
from aha.serving.vocabulary import Vocabulary
from tiny_models import tokenizer

VOCABULARY = Vocabulary(tokenizer(), 260)
END = 256
GRAMMARS = Grammars(VOCABULARY, 260, frozenset({END}))
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"enum": ["x", "yé"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    pytest.importorskip("llguidance")
    return Grammars(VOCABULARY, 260, frozenset({END}))


def watch(**rules: Any) -> Watch:
    guide = Guides(VOCABULARY, GRAMMARS, frozenset({END})).make(Rules(**rules))
    assert guide is not None
    return guide


def walk(guide: Watch, wish: str, chance: random.Random, most: int = 400) -> tuple[str, bool]:
    """Draw `wish` where it is allowed, else anything that is; the text, and whether the guide has ended it."""
    ids: list[int] = []
    for token in [*VOCABULARY.encode(wish), *[None] * most]:
        mask = guide.mask()
        allowed = [i for i in range(260) if mask is None or mask[i]]
        drawn = token if token in allowed else chance.choice(allowed)
        if drawn == END:
            return VOCABULARY.join(ids), True
        ids.append(drawn)
        if guide.take(drawn):
            return VOCABULARY.join(ids), True
    return VOCABULARY.join(ids), False


def test_thinking_is_ended_at_its_budget() -> None:
    text, _ = walk(watch(thinking=True, budget=5), "a" * 30, random.Random(0), most=0)
    assert text.startswith("a" * 5 + CLOSE) and len(text) == 30
    text, _ = walk(watch(thinking=True, budget=0), "a" * 12, random.Random(0), most=0)
    assert text == CLOSE + "aaaa"
    text, _ = walk(watch(thinking=True, budget=12), f"ab{CLOSE}" + "c" * 30, random.Random(0), most=0)
    assert text == f"ab{CLOSE}" + "c" * 30, "it ended by itself"


def test_stop_strings_are_looked_for_after_the_thinking() -> None:
    guide = watch(thinking=True, stops=("\n\n", "end"))
    assert walk(guide, f"so\n\nend{CLOSE}first\n\nsecond", random.Random(0)) == (f"so\n\nend{CLOSE}first\n\n", True)
    assert walk(watch(stops=("end",)), "the e-end.", random.Random(0), most=0) == ("the e-end", True)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_a_schema_holds_for_the_answer(chance: random.Random) -> None:
    pytest.importorskip("llguidance")
    guide = watch(thinking=True, budget=20, grammar=GRAMMARS.of_schema(SCHEMA))
    text, ended = walk(guide, '{"a": "no number', chance)
    thinking, _, answer = text.partition(CLOSE)
    assert ended and len(thinking) <= 20  # characters of 20 bytes
    value = json.loads(answer)
    assert 0 <= value["a"] <= 99 and value["b"] in ("x", "yé") and set(value) == {"a", "b"}


def test_what_is_free_is_not_watched() -> None:
    guides = Guides(VOCABULARY, GRAMMARS, frozenset({END}))
    assert guides.make(FREE) is None and guides.make(Rules(thinking=True)) is None
    assert guides.make(Rules(budget=0)) is not None and guides.make(Rules(("a",))) is not None


def test_other_grammars(grammars: Grammars) -> None:
    chance = random.Random(1)
    assert walk(watch(grammar=grammars.of_regex("[ab]{3}-[0-9]")), "xx", chance)[0][3] == "-"
    assert walk(watch(grammar=grammars.of_lark('start: "yes" | "no"')), "n", chance) == ("no", True)
    first, second = (grammars.matcher(grammars.of_schema(SCHEMA)) for _ in range(2))
    assert not first.consume_token(VOCABULARY.encode("x")[0]) and first.is_error()
    assert not second.is_error(), "each sample has a matcher of its own"


def test_a_call_of_a_tool(grammars: Grammars) -> None:
    tools = [{"name": "add", "parameters": SCHEMA}, {"name": 'say "hi"', "parameters": None}]
    for seed in range(5):
        grammar = grammars.of_lark(tool_grammar(tools[:1], several=False))
        text, ended = walk(watch(grammar=grammar), "I would rather", random.Random(seed))
        assert ended and text.startswith("<tool_call>\n") and text.endswith("\n</tool_call>")
        call = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
        assert call["name"] == "add" and set(call["arguments"]) == {"a", "b"}
    text, _ = walk(
        watch(grammar=grammars.of_lark(tool_grammar(tools, several=True))),
        '<tool_call>\n{"name": "s',
        random.Random(0),
        40,
    )
    assert text.startswith('<tool_call>\n{"name": "say \\"hi\\"", "arguments": {')


@pytest.mark.parametrize(
    ("compile_", "said"),
    [
        (lambda g: g.of_schema({"type": "nope"}), "json grammar"),
        (lambda g: g.of_schema({"$ref": "http://example.com/x.json"}), "json grammar"),
        (lambda g: g.of_regex("(("), "regex grammar"),
        (lambda g: g.of_lark("start: nothing"), "lark grammar"),
        (lambda g: g.of_lark(""), "lark grammar"),
    ],
)
def test_grammars_that_cannot_be_used(grammars: Grammars, compile_: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"the {said} cannot be used") as caught:
        compile_(grammars)
    assert "\n" not in str(caught.value)
