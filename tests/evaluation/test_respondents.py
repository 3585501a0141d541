"""Who answers: an engine's samples by problem and number, tokens of thinking, a speaker's replies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aha.engines.native.engine import NativeEngine
from aha.evaluation.respondents import Taken, local, spoken, thinking_tokens
from aha.models.dialogue import Dialogue
from aha.models.loading import load
from aha.models.templates import parse
from aha.tasks.table import make_task
from aha.types import Ask, Completion, Failed, Problem, Reply, Rollout, Sampling
from tiny_models import TinyFactory

TASK = make_task("countdown")
PROBLEMS = [TASK.problem("test", index) for index in range(4)]
SAMPLING = Sampling(12, 1.0)


def everything(problems: Sequence[Problem], samples: int) -> frozenset[tuple[str, int]]:
    return frozenset((problem.id, sample) for problem in problems for sample in range(samples))


def test_an_engine_draws_alike_whatever_is_wanted(tiny: TinyFactory) -> None:
    loaded = load(str(tiny("llama")))
    dialogue = Dialogue(loaded.tokenizer, "short", loaded.eos_ids)
    engine = NativeEngine(loaded.model, loaded.eos_ids, context=loaded.context)
    respondent = local(engine, dialogue, SAMPLING, samples=3, seed=7, rows=7)
    assert respondent.together == 2 and local(engine, dialogue, SAMPLING, samples=9, seed=7, rows=7).together == 1
    wanted = everything(PROBLEMS[:2], 3)
    drawn = {(p.id, s): read() for p, s, read in respondent.respond(PROBLEMS[:2], wanted)}
    assert set(drawn) == wanted
    some = frozenset(sorted(wanted)[:2])
    again = {(p.id, s): read() for p, s, read in respondent.respond(PROBLEMS[:2], some)}
    assert again == {key: drawn[key] for key in some}
    other = local(engine, dialogue, SAMPLING, samples=3, seed=8, rows=7)
    assert {(p.id, s): read() for p, s, read in other.respond(PROBLEMS[:2], wanted)} != drawn
    assert all(isinstance(t, Taken) and t.tokens == len(t.rollout.completion.ids) for t in drawn.values())


@pytest.mark.parametrize(
    ("text", "opened", "count"),
    [
        ("<think>ab</think>cd", False, 17),  # a token a byte
        ("ab</think>cd", True, 10),
        ("abcd", True, 4),
        ("<think>abcd", False, 11),
        ("abcd", False, 0),
        ("", False, 0),
        ("</think>", True, 8),
        ("a</think>b</think>c", True, 9),
    ],
)
def test_tokens_of_thinking(tiny: TinyFactory, text: str, opened: bool, count: int) -> None:
    loaded = load(str(tiny("llama")))
    dialogue = Dialogue(loaded.tokenizer, "short", loaded.eos_ids)
    ids = tuple(loaded.tokenizer.encode(text, add_special_tokens=False))
    rollout = Rollout(PROBLEMS[0], (), Completion(ids, (0.0,) * len(ids), "stop", 0), text, parse(text))
    assert thinking_tokens(dialogue, rollout, opened=opened) == count


@pytest.mark.parametrize(("text", "count"), [("<think>ab</think>cd", 10), ("</think>x", 1), ("a</think>b</think>", 9)])
def test_tokens_of_thinking_where_its_end_is_a_token(tiny: TinyFactory, text: str, count: int) -> None:
    loaded = load(str(tiny("llama")))
    pieces = text.rpartition("</think>")
    ids = [*loaded.tokenizer.encode(pieces[0], add_special_tokens=False)]
    loaded.tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    ids += loaded.tokenizer.encode("</think>" + pieces[2], add_special_tokens=False)
    dialogue = Dialogue(loaded.tokenizer, "short", loaded.eos_ids)
    rollout = Rollout(PROBLEMS[0], (), Completion(tuple(ids), (0.0,) * len(ids), "stop", 0), text, parse(text))
    assert thinking_tokens(dialogue, rollout, opened=False) == count


def test_a_speakers_replies_are_responses() -> None:
    replies: list[Reply | Failed] = [
        Reply("It is 4.", thinking="2 and 2", tokens=9, thinking_tokens=5), Reply("4"),
        Reply("", thinking="so long", stop_reason="length"),
        Reply("", thinking="done"), Failed("503"),
    ]  # fmt: skip
    asked: list[Ask] = []

    def speak(asks: Sequence[Ask], sampling: Sampling) -> list[Reply | Failed]:
        assert sampling == SAMPLING
        asked.extend(asks)
        return replies[: len(asks)]

    respondent = spoken(speak, SAMPLING, samples=5, seed=0, requests=16)
    assert respondent.together == 3
    found = [(s, read()) for _, s, read in respondent.respond(PROBLEMS[:1], everything(PROBLEMS[:1], 5))]
    texts = [t.rollout.text if isinstance(t, Taken) else t.reason for _, t in found]
    assert texts == ["<think>2 and 2</think>It is 4.", "4", "<think>so long", "<think>done</think>", "503"]
    assert found[0][1].tokens == 9 and found[0][1].thinking == 5
    cut = found[2][1]
    assert isinstance(cut, Taken) and cut.rollout.completion.stop_reason == "length" and cut.tokens is None
    assert cut.rollout.parsed.reasoning == "so long"
    assert len({ask.draw for ask in asked}) == 5 and {ask.messages for ask in asked} == {PROBLEMS[0].messages}
    first = [ask.draw for ask in asked]
    asked.clear()
    list(respondent.respond(PROBLEMS[:1], frozenset({(PROBLEMS[0].id, 3)})))
    assert [ask.draw for ask in asked] == [first[3]]  # a draw is the sample's own
