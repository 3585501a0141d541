"""Collecting groups: how often new questions are sampled for groups that are mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from aha.config import RLStage, Rollouts
from aha.models.templates import parse
from aha.rewards import table
from aha.training.collect import Collector, collect
from aha.types import Completion, Message, Problem, Prompt, Rollout, Sampling, Score


class Counting:
    """A task whose problem number i has the text "i"."""

    def problem(self, split: str, index: int) -> Problem:
        return Problem(f"p{index}", "counting", (Message("user", str(index)),), "")


class Plain:
    """A dialogue whose prompt is the problem's number."""

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        return (int(problem.messages[0].content) + 1,)

    def read(self, problem: Problem, prompt_ids: tuple[int, ...], completion: Completion) -> Rollout:
        return Rollout(problem, prompt_ids, completion, "", parse(""))


class Numbering:
    """An engine that draws the sample's number, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        self.asked += prompts
        for place, prompt in enumerate(prompts):
            for sample in range(prompt.n):
                yield place, sample, Completion((sample,), (-0.1,), "stop", 0)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Collector:
    """Only every fourth problem has right and wrong answers."""

    def accuracy(task: object, r: Rollout) -> Score:
        number = int(r.problem.messages[0].content)
        return Score(float(number % 4 == 3 and r.completion.ids[0] == 0))

    monkeypatch.setitem(table.REWARDS, "accuracy", accuracy)
    stage = RLStage(rewards={"accuracy": 1.0}, rollouts=Rollouts(questions=4, group=2, max_tokens=8), reward_threads=0)
    return Collector(stage, Counting(), 5, Plain())  # type: ignore[arg-type]


def test_one_attempt_trains_all(collector: Collector) -> None:
    engine = Numbering()
    collected = collect(collector, engine, done=2, attempts=1)  # type: ignore[arg-type]
    groups = collected.groups
    assert [g.problem.id for g in groups] == ["p8", "p9", "p10", "p11"] and all(g.trained for g in groups)
    assert [g.mixed for g in groups] == [False, False, False, True]
    assert collected.lag is not None and collected.lag >= 0 and len({p.seed for p in engine.asked}) == 4


def test_new_questions_until_enough_are_mixed(collector: Collector) -> None:
    engine = Numbering()
    groups = collect(collector, engine, done=0, attempts=9).groups  # type: ignore[arg-type]
    assert len(groups) == 16, "four rollouts of four, each with one mixed group"
    assert [g.problem.id for g in groups if g.trained] == ["p3", "p7", "p11", "p15"]
    again = collect(collector, Numbering(), done=0, attempts=9).groups  # type: ignore[arg-type]
    assert [g.problem for g in again] == [g.problem for g in groups]
    later = collect(collector, Numbering(), done=1, attempts=9).groups  # type: ignore[arg-type]
    assert not {g.problem.id for g in later} & {g.problem.id for g in groups}
    assert len({p.seed for p in engine.asked}) == 16


def test_attempts_have_an_end(collector: Collector) -> None:
    groups = collect(collector, Numbering(), done=0, attempts=2).groups  # type: ignore[arg-type]
    assert len(groups) == 8 and sum(g.trained for g in groups) == 2


def test_what_is_beyond_the_questions_is_not_trained(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        table.REWARDS, "accuracy", lambda _, r: Score(float(r.problem.id != "p0" and r.completion.ids[0] == 0))
    )
    groups = collect(collector, Numbering(), done=0, attempts=3).groups  # type: ignore[arg-type]
    assert [g.problem.id for g in groups if g.trained] == ["p1", "p2", "p3", "p4"] and len(groups) == 8
