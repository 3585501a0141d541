"""Pairwise judging with judges whose verdicts are known: orders, points, ties, verdicts that do not come."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from aha.evaluation.judging import ALPACA, ARENA_HARD, Match, Pair, judged_against
from aha.types import Ask, Failed, Message, Reply, Sampling, Score

SAMPLING = Sampling(100, 0.0)


def pair(answer: str | None = "OWN", baseline: str = "BASE", seed: int = 0) -> Pair:
    return Pair((Message("user", "Name a fruit."),), answer, baseline, seed)


class Judge:
    """Says what `verdict` makes of a prompt; keeps what it was asked."""

    def __init__(self, verdict: Callable[[str], str]) -> None:
        self.verdict, self.asked = verdict, list[str]()

    def __call__(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply | Failed]:
        prompts = [ask.messages[-1].content for ask in asks]
        self.asked += prompts
        return [Reply(json.dumps({"why": "so", "verdict": self.verdict(prompt)})) for prompt in prompts]


def prefers(word: str, label: str = ">") -> Judge:
    """Prefers the answer with `word` in it, wherever it stands."""
    return Judge(lambda p: f"A{label}B" if p.rindex(word) < p.rindex("<second_response>") else f"B{label}A")


@pytest.mark.parametrize(
    ("judge", "value", "marks"),
    [
        (prefers("OWN"), 1.0, {"games": 2, "won": 2, "wins": 2, "ties": 0, "losses": 0}),
        (prefers("OWN", ">>"), 1.0, {"games": 6, "won": 6, "wins": 2, "ties": 0, "losses": 0}),
        (prefers("BASE", ">>"), 0.0, {"games": 6, "won": 0, "wins": 0, "ties": 0, "losses": 2}),
        (Judge(lambda prompt: "A=B"), 0.5, {"games": 2, "won": 1, "wins": 0, "ties": 2, "losses": 0}),
        (Judge(lambda prompt: "A>B"), 0.5, {"games": 2, "won": 1, "wins": 1, "ties": 0, "losses": 1}),  # by place alone
    ],
)
def test_arena_plays_both_orders(judge: Judge, value: float, marks: dict[str, float]) -> None:
    ((outcome, found),) = judged_against(judge, ARENA_HARD, [pair()], SAMPLING)
    assert isinstance(outcome, Score) and outcome.value == value
    assert {name: found[name] for name in marks} == marks
    assert (found["characters"], found["baseline_characters"]) == (3, 4) and len(judge.asked) == 2


def test_arena_weighs_a_clear_verdict_three_times() -> None:
    judge = Judge(lambda p: "B>>A" if p.rindex("OWN") > p.rindex("<second_response>") else "B>A")
    ((outcome, marks),) = judged_against(judge, ARENA_HARD, [pair()], SAMPLING)
    assert isinstance(outcome, Score) and outcome.value == 0.75  # 3 of 3 points, then 0 of 1
    assert (marks["won"], marks["games"]) == (3, 4)


def test_alpaca_plays_one_game_in_an_order_of_the_problems_own() -> None:
    judge = prefers("OWN", ">>")
    found = judged_against(judge, ALPACA, [pair(seed=0), pair(seed=1)], SAMPLING)
    assert [(outcome.value, marks["games"]) for outcome, marks in found if isinstance(outcome, Score)] == [
        (1, 1),
        (1, 1),
    ]
    firsts = [prompt.rindex("OWN") < prompt.rindex("<second_response>") for prompt in judge.asked]
    assert firsts == [False, True]


@pytest.mark.parametrize("match", [ARENA_HARD, ALPACA])
def test_no_answer_loses_without_a_judge(match: Match) -> None:
    judge = prefers("OWN")
    found = judged_against(judge, match, [pair(None), pair("")], SAMPLING)
    assert [outcome for outcome, _ in found] == [Score(0.0, "no answer")] * 2 and judge.asked == []
    assert all(marks["losses"] == match.games and marks["won"] == 0 for _, marks in found)


def test_a_judge_without_a_verdict_has_failed() -> None:
    found = judged_against(Judge(lambda prompt: "both are fine"), ARENA_HARD, [pair(), pair(None)], SAMPLING)
    assert isinstance(found[0][0], Failed) and found[0][1]["games"] == 2 and "wins" not in found[0][1]
    assert found[1][0] == Score(0.0, "no answer")
