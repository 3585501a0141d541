"""What goes between a server and the processes of its engines comes out as it went in."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from aha.engines.native.controls import Controls, Scored
from aha.engines.native.request import Limits, Request, Sample
from aha.serving.engines import Facts
from aha.serving.guide import FREE, Grammar, Rules
from aha.serving.plan import Defaults
from aha.serving.wire import Frames, Reported, asked, facts_in, follow, frame, loaded, request_of

TOKENS = st.integers(0, 2**31)
CONTROLS = st.builds(
    Controls,
    max_tokens=st.integers(0, 10_000),
    temperature=st.floats(0, 2),
    top_k=st.integers(0, 50),
    top_p=st.floats(0.1, 1),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    bias=st.lists(st.tuples(TOKENS, st.floats(-100, 100)), max_size=3).map(tuple),
    allowed=st.lists(TOKENS, max_size=3).map(tuple),
    stop_ids=st.frozensets(TOKENS, max_size=3),
    logprobs=st.none() | st.integers(0, 20),
)
RULES = st.builds(
    Rules,
    st.lists(st.text(min_size=1), max_size=3).map(tuple),
    st.booleans(),
    st.none() | st.integers(0, 9),
    st.none() | st.builds(Grammar, st.sampled_from(["json", "regex"]), st.text()),
)


def through(message: dict, chance: random.Random) -> dict:
    """A message after another, over a way that cuts them anywhere."""
    data, frames, found = frame({"before": 1}) + frame(message), Frames(), []
    while data:
        size = chance.randint(1, len(data))
        found += frames.feed(data[:size])
        data = data[size:]
    assert found[0] == {"before": 1} and len(found) == 2
    return found[1]


@settings(max_examples=60)
@given(
    st.lists(TOKENS, min_size=1, max_size=9).map(tuple), st.integers(-(2**63), 2**63), CONTROLS, RULES,
    st.none() | st.integers(0, 5), st.integers(0, 10**6),
)  # fmt: skip
def test_requests(
    ids: tuple[int, ...], seed: int, controls: Controls, rules: Rules, scores: int | None, cuts: int
) -> None:
    sent = Request(ids, seed, controls, [Sample(3), Sample(4)], scores)
    message = through(asked(7, sent, rules, streaming=True), random.Random(cuts))
    assert message["ask"] == 7 and message["streaming"] is True
    found, found_rules = request_of(message)
    assert (found.ids, found.seed, found.controls, found.prompt_scores) == (ids, seed, controls, scores)
    assert [sample.number for sample in found.samples] == [3, 4]
    assert found_rules == rules if rules else found_rules == FREE


def test_facts() -> None:
    facts = Facts(frozenset({3, 1}), Limits(640, 1024, 8, 2**28, 192, exact=True), Defaults(0.7, 0.9, 5, 1.1))
    assert facts_in(through(loaded(facts), random.Random(0))) == facts


def grow(request: Request, chance: random.Random) -> None:
    """What an engine does: tokens with their scores for each sample, ends of some."""
    request.began = request.began or chance.random()
    request.first = request.first or chance.random()
    for sample in request.samples:
        if sample.reason is None:
            for _ in range(chance.randrange(4)):
                sample.ids.append(chance.randrange(1000))
                sample.scores.append(Scored(-math.inf, ((5, -0.5), (6, -math.inf))))
            if chance.random() < 0.3:
                sample.reason = chance.choice(["stop", "length", "failed"])
                sample.fault = "why" if sample.reason == "failed" else ""


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_news(seed: int) -> None:
    """However often it is told, the other end has what there is: nothing is missing and nothing comes twice."""
    chance = random.Random(seed)
    here, there = (Request((1, 2), 0, Controls(9), [Sample(i) for i in range(3)]) for _ in range(2))
    here.scored = [Scored(-1.5, ((1, -1.5),))]
    work = Reported(request=here, streaming=True, number=1)
    while not there.ended:
        for _ in range(chance.randrange(3)):
            grow(here, chance)
        follow(there, through({"news": [work.news()]}, chance)["news"][0])
        assert (there.began, there.first, there.scored) == (here.began, here.first, here.scored)
        for mine, theirs in zip(here.samples, there.samples, strict=True):
            assert (mine.ids, mine.scores, mine.reason, mine.fault) == (
                theirs.ids, theirs.scores, theirs.reason, theirs.fault,
            )  # fmt: skip
