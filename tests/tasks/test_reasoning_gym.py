"""reasoning-gym as a source of questions: splits, gold and wrong answers, and never its scorers."""

from __future__ import annotations

import sys

import pytest

from aha.errors import UserError
from aha.tasks import reasoning_gym
from aha.tasks.reasoning_gym import FAMILIES, ReasoningGym
from aha.tasks.splits import split_of
from aha.types import Problem, Score, Split

SPLITS: tuple[Split, ...] = ("train", "test")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    reasoning_gym._source.cache_clear()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(UserError, match="pip install reasoning-gym"):
        ReasoningGym()


library = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed: pip install reasoning-gym")


def value(task: ReasoningGym, problem: Problem, answer: str | None) -> float:
    outcome = task.grade(problem, answer)
    assert isinstance(outcome, Score)
    return outcome.value


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grader_proves_itself(family: str) -> None:
    task = ReasoningGym(families=family)
    for split in SPLITS:
        for index in range(15):
            problem = task.problem(split, index)
            assert value(task, problem, task.gold(problem)) == 1.0
            assert value(task, problem, task.wrong(problem)) == value(task, problem, None) == 0.0
            votes = [task.vote_key(problem, answer) for answer in (task.gold(problem), task.wrong(problem))]
            assert None not in votes and votes[0] != votes[1]


def questions(task: ReasoningGym, split: Split, count: int) -> list[str]:
    return [task.problem(split, index).messages[0].content for index in range(count)]


def test_splits_do_not_overlap_across_seeds() -> None:
    train = {q for seed in (0, 1, 2) for q in questions(ReasoningGym(seed=seed), "train", 100)}
    test = set(questions(ReasoningGym(), "test", 200))
    assert len(train) > 250 and len(test) > 150 and not train & test


def test_every_question_is_in_the_split_of_what_it_asks() -> None:
    for split in SPLITS:
        for question in questions(ReasoningGym(families="gcd,syllogism"), split, 60):
            assert split_of(f"reasoning-gym {' '.join(question.casefold().split())}") == split


def test_seeds_that_are_neighbours_share_no_run_of_questions() -> None:
    first, second = (set(questions(ReasoningGym("chain_sum", seed=seed), "train", 100)) for seed in (0, 1))
    assert len(first & second) < 5


def test_runs_of_different_seeds_are_measured_on_the_same_problems() -> None:
    assert questions(ReasoningGym(seed=1), "test", 20) == questions(ReasoningGym(seed=2), "test", 20)
    assert questions(ReasoningGym(seed=1), "train", 20) != questions(ReasoningGym(seed=2), "train", 20)


def test_the_same_index_is_the_same_problem() -> None:
    task = ReasoningGym()
    problems = [task.problem("train", index) for index in range(len(FAMILIES))]
    assert problems == [task.problem("train", index) for index in range(len(FAMILIES))]
    assert [problem.hidden["family"] for problem in problems] == list(FAMILIES)


def test_the_librarys_scorers_are_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> float:
        raise AssertionError("the library was asked for a score")

    task = ReasoningGym()
    for family in FAMILIES:
        monkeypatch.setattr(type(reasoning_gym._source(family)), "score_answer", refuse)
    for index in range(len(FAMILIES)):
        problem = task.problem("test", index)
        assert value(task, problem, task.gold(problem)) == 1.0


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown family 'chain_sums'.*did you mean 'chain_sum'"):
        ReasoningGym(families="gcd, chain_sums")
    assert ReasoningGym(families="gcd, lcm").chosen == ("gcd", "lcm")
