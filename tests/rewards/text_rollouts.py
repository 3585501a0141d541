"""Rollouts from text alone, for the rewards that read text."""

from __future__ import annotations

from typing import Any

from aha.models.templates import parse
from aha.tasks.countdown import Countdown
from aha.types import Completion, Outcome, Problem, Rollout, Score, StopReason

TASK = Countdown()


def rollout(
    text: str,
    *,
    stop: StopReason = "stop",
    prefilled: bool = False,
    language: str = "en",
    tokens: int = 1,
    **hidden: Any,
) -> Rollout:
    problem = Problem("p", "t", (), "", language, hidden)
    completion = Completion((7,) * tokens, (-0.5,) * tokens, stop, 0)
    return Rollout(problem, (1,), completion, text, parse(text, prefilled=prefilled))


def score(outcome: Outcome) -> float:
    assert isinstance(outcome, Score), outcome
    return outcome.value
