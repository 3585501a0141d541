"""A sample's requests, where one token says more than the end of thinking."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aha.engines.native.controls import Controls, Scored
from aha.engines.native.request import Request, Sample
from aha.serving.guide import Grammar, Rules
from aha.serving.vllm_asking import Fault, Part, part_of
from aha.serving.vllm_drawing import Drawing, Taught

PIECES = [b"", b"a", b"</think", b">{", b">", b">\n"]
RULES = Rules(thinking=True, grammar=Grammar("regex", "[{]"))


def drawing(rules: Rules, **settings: Any) -> tuple[Drawing, Sample]:
    vocabulary: Any = SimpleNamespace(
        pieces=PIECES, size=len(PIECES), encode=lambda text: [PIECES.index(text.encode())]
    )
    sample = Sample(0)
    request = Request((1,), 3, Controls(10, stop_ids=frozenset({0}), **settings), [sample])
    return Drawing(request, sample, rules, Taught(vocabulary, frozenset({0}), False), model="m", streaming=True), sample


@pytest.mark.parametrize("logprobs", [None, 0])
def test_a_token_that_begins_the_answer_is_put_otherwise(logprobs: int | None) -> None:
    made, sample = drawing(RULES, logprobs=logprobs)
    score = (Scored(-1.0, ()),) if logprobs is not None else ()
    assert made.body() is not None
    assert not made.take(Part((1, 2), score * 2)) and made.take(Part((3,), score))
    body = made.body()
    assert body is not None and sample.ids == ([1, 2, 4] if logprobs is None else [1, 2])
    if logprobs is not None:
        assert body["allowed_token_ids"] == [4]
        assert made.take(Part((4,), score)) and sample.ids == [1, 2, 4]
        body = made.body()
    assert body is not None and body["structured_outputs"] == {"regex": "[{]"} and body["prompt"] == [1, 1, 2, 4]
    assert made.take(Part((0,), score)) and made.reason == "stop" and made.body() is None


def test_space_after_the_thinking_stays() -> None:
    made, sample = drawing(RULES)
    made.body()
    assert made.take(Part((2, 5, 1))) and sample.ids == [2, 5]


def test_an_end_that_nobody_asked_for_is_no_token() -> None:
    """A grammar ends with the tokenizer's own end, also where the answer is to go on beyond it."""
    made, sample = drawing(Rules(grammar=RULES.grammar))
    made._controls = Controls(10)
    body = made.body()
    assert body is not None and body["stop_token_ids"] == [0]
    assert made.take(Part((1, 0), (), "stop")) and sample.ids == [1] and made.reason == "stop"


def test_what_is_no_answer() -> None:
    made, _ = drawing(Rules())
    made.body()
    with pytest.raises(Fault, match="abort"):
        made.take(Part((1,), (), "abort"))
    for line in ("{", '{"choices": [{}]}', "[]", '{"choices": [{"token_ids": null}]}'):
        with pytest.raises(Fault, match="not known"):
            part_of(line, None)
    made, _ = drawing(Rules(), logprobs=0)
    with pytest.raises(Fault, match="no log-prob"):
        made.take(Part((1,)))
