"""The JSON schema reward: valid, invalid, and what would hang, crash or fetch."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_rollouts import TASK, rollout, score

from aha.errors import UserError
from aha.rewards.schema import json_schema, validate
from aha.types import Abstain, Failed

pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install jsonschema")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"$ref": "#/$defs/age"}},
    "patternProperties": {"^x-": {"type": "integer"}},
    "additionalProperties": False,
    "required": ["name"],
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name": "Ada"}', 1), (' {"name": "Ada", "age": 7, "x-a": 1}\n', 1), ('```json\n{"name": "Ada"}\n```', 1),
        ('```\n{"name": "Ada"}\n```', 1), ('{"name": "ada"}', 0), ('{"name": "Ada", "age": -1}', 0),
        ('{"age": 7}', 0),
        ('{"name": "Ada", "more": 1}', 0), ('{"name": "Ada", "x-a": "1"}', 0), ("[]", 0), ('"Ada"', 0), ("", 0),
        ('{"name": "Ada"', 0), ('Here: {"name": "Ada"}', 0), ("{'name': 'Ada'}", 0), ('{"name": "Ada",}', 0),
        ('{"name": "Ada", "age": NaN}', 0), ('{"name": "Ada", "age": 1e999}', 0), ('{"name": "Ada", "age": 7.5}', 0),
        ('{"name": "Ada", "age": true}', 0), ('{"name": "Ada", "age": ' + "9" * 5000 + "}", 0), ("[" * 40_000, 0),
        ("[" * 500 + "]" * 500, 0), ('{"name": "A' + "a" * 60_000 + '"}', 0), ('{"name": "\\ud800"}', 0),
    ],
)  # fmt: skip
def test_answers(text: str, value: float) -> None:
    assert score(validate(text, SCHEMA)) == value


def test_the_reward_reads_what_follows_the_thinking() -> None:
    text = '<think>{"name": 1}</think>{"name": "Ada"}'
    assert score(json_schema(TASK, rollout(text, schema=SCHEMA))) == 1.0
    assert score(json_schema(TASK, rollout(text, schema=SCHEMA, stop="length"))) == 0.0
    assert score(json_schema(TASK, rollout("<think>so", schema=SCHEMA))) == 0.0
    assert isinstance(json_schema(TASK, rollout(text)), Abstain)


@pytest.mark.parametrize(
    ("items", "value"),
    [("[1, 2]", 1), ("[1, 1.0]", 0), ("[1, true]", 1), ('[{"a": [1]}, {"a": [1]}]', 0), ('["1", 1]', 1),
    ("[[], {}]", 1)],
)
def test_unique_items(items: str, value: float) -> None:
    assert score(validate(items, {"uniqueItems": True})) == value


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "http://127.0.0.1:9/x"}, "refers to"),
        ({"$ref": "file:///etc/passwd"}, "refers to"),
        ({"$ref": "#/$defs/none"}, "refers to"),
        ({"$ref": "#"}, "without end"),
        ({"type": 7}, "no JSON schema"),
        ({"pattern": "("}, "no regular expression|no JSON schema"),
        ({"patternProperties": {"a": True}, "unevaluatedProperties": False}, "use additionalProperties"),
    ],
)
def test_a_schema_that_cannot_be_used(schema: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a schema reached for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(UserError, match=message):
        validate('"a"', schema)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"pattern": r"^(a|aa)+$"}, '"' + "a" * 60 + '!"'),
        ({"patternProperties": {r"^(a|aa)+$": False}}, '{"' + "a" * 60 + '!": 1}'),
        (
            {"patternProperties": {r"^(a|aa)+$": True}, "additionalProperties": False, "type": "object"},
            '{"' + "a" * 60 + '!": 1}',
        ),
    ],
)
def test_a_pattern_that_would_hang_ends(schema: dict[str, Any], text: str) -> None:
    began = time.process_time()
    outcome = validate(text, schema)
    assert time.process_time() - began < 5.0
    assert isinstance(outcome, Failed) and "pattern" in outcome.reason


def test_many_items_are_compared_in_linear_time() -> None:
    items = "[" + ",".join(['{"a":1}', '"b"'] * 4000) + "]"
    began = time.process_time()
    assert score(validate(items, {"uniqueItems": True})) == 0.0
    assert time.process_time() - began < 2.0


@given(st.text(max_size=60))
def test_any_text_is_scored(text: str) -> None:
    assert score(validate(text, SCHEMA)) in (0.0, 1.0)
