"""Accuracy, format, and their composition: a failure is never a 0."""

from __future__ import annotations

import dataclasses
import math

import pytest

from aha.errors import UserError
from aha.models.templates import parse
from aha.rewards import compose
from aha.rewards.compose import verdict
from aha.rewards.table import REWARDS
from aha.tasks.countdown import Countdown
from aha.types import Abstain, Completion, Failed, Outcome, Problem, Rollout, Score, StopReason

TASK = Countdown()
PROBLEM = TASK.problem("train", 0)
BOTH = {"accuracy": 1.0, "format": 1.0}


class Broken(Countdown):
    """A task whose grader crashes."""

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        raise TimeoutError("too slow")


def rollout(text: str, stop: StopReason = "stop") -> Rollout:
    return Rollout(PROBLEM, (1,), Completion((2,), (-0.5,), stop, 0), text, parse(text))


RIGHT = rollout(f"<think>so</think><answer>{TASK.gold(PROBLEM)}</answer>")
WRONG = rollout(f"<think>so</think><answer>{TASK.wrong(PROBLEM)}</answer>")


def test_the_papers_rule_reward_is_the_sum_of_both() -> None:
    assert verdict(TASK, RIGHT, BOTH).total == 2.0
    assert verdict(TASK, WRONG, BOTH).total == 1.0
    assert verdict(TASK, rollout("no idea"), BOTH).total == 0.0
    assert verdict(TASK, RIGHT, {"accuracy": 0.5, "format": 0.25}).total == 0.75


def test_format_needs_tags_and_an_end() -> None:
    values = [REWARDS["format"](TASK, r) for r in (RIGHT, rollout(RIGHT.text, "length"), rollout(RIGHT.text + "!"))]
    assert [v.value for v in values if isinstance(v, Score)] == [1.0, 0.0, 0.0]
    assert isinstance(values[1], Score) and "cut off" in values[1].why


def test_a_crashing_grader_is_a_failure() -> None:
    found = verdict(Broken(), RIGHT, BOTH)
    assert found.outcomes["accuracy"] == Failed("accuracy: TimeoutError: too slow")
    assert found.total is None and found.value("format") == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_failure(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setitem(compose.REWARDS, "odd", lambda task, r: Score(value))
    assert verdict(TASK, RIGHT, {"odd": 1.0}).total is None


def test_an_abstention_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compose.REWARDS, "silent", lambda task, r: Abstain("no opinion"))
    assert verdict(TASK, RIGHT, {"silent": 5.0, "format": 1.0}).total == 1.0
    assert verdict(TASK, RIGHT, {"silent": 5.0}).total is None


def test_a_raising_reward_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compose.REWARDS, "broken", lambda task, r: 1 // 0)
    assert isinstance(verdict(TASK, RIGHT, {"broken": 1.0}).outcomes["broken"], Failed)


def test_an_unknown_reward_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown reward 'acuracy'; did you mean 'accuracy'"):
        verdict(TASK, RIGHT, {"acuracy": 1.0})


class WantsText(Countdown):
    """A task whose answers are whole texts, as programs are."""

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        return Score(float(answer == "```python\nx = 1\n```"), "")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>hm</think>\n```python\nx = 1\n```", True),
        ("<think>hm</think><answer>```python\nx = 1\n```</answer>", True),
        ("```python\nx = 1\n```", True),
        ("<think>```python\nx = 1\n```", False),  # the thinking never ended
    ],
)
def test_the_answer_of_a_whole_text_is_what_follows_the_thinking(text: str, right: bool) -> None:
    problem = dataclasses.replace(PROBLEM, hidden={**PROBLEM.hidden, "whole_text": True})
    outcome = verdict(WantsText(), dataclasses.replace(rollout(text), problem=problem), {"accuracy": 1.0})
    assert outcome.total == float(right)
    tagged = verdict(WantsText(), rollout(text), {"accuracy": 1.0}).total
    assert tagged == float("<answer>" in text)
