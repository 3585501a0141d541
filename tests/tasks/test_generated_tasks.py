"""Countdown and arithmetic: splits that cannot overlap, graders that prove themselves, votes over classes."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.models.tiny import web
from aha.tasks import arithmetic, countdown
from aha.tasks.arithmetic import Arithmetic
from aha.tasks.countdown import Countdown, key_of, solutions
from aha.tasks.expression import evaluate
from aha.tasks.splits import split_of
from aha.types import Problem, Score, Split

Generated = Countdown | Arithmetic
TASKS: list[Generated] = [
    Countdown(), Countdown(seed=7, chinese=1.0), Countdown(numbers=4, chinese=0.5), Arithmetic(),
    Arithmetic(seed=7, chinese=1.0), Arithmetic(steps=2),
]  # fmt: skip
SPLITS: tuple[Split, ...] = ("train", "test")
COUNTDOWN_ASKED = re.compile(r"(?:Using each of|用)([0-9, 、]+)(?: once|各一次)[^0-9]*?(?:make |得到)([0-9]+)")
ARITHMETIC_ASKED = re.compile(r"(?:Compute |计算)([-+*/()0-9]+)[.。]")


def key(text: str) -> str:
    """The split key of a question, read back out of its words."""
    if found := COUNTDOWN_ASKED.search(text):
        return key_of(tuple(map(int, re.findall("[0-9]+", found[1]))), int(found[2]))
    found = ARITHMETIC_ASKED.search(text)
    assert found, text
    return f"arithmetic {found[1]}"


def value(task: Generated, problem: Problem, answer: str | None) -> float:
    outcome = task.grade(problem, answer)
    assert isinstance(outcome, Score)
    return outcome.value


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_every_question_is_in_the_split_of_what_it_asks(task: Generated) -> None:
    for split in SPLITS:
        for index in range(200):
            assert split_of(key(task.problem(split, index).messages[0].content)) == split


def test_splits_do_not_overlap_across_seeds_and_languages() -> None:
    for kind in (Countdown, Arithmetic):
        asked: dict[Split, set[str]] = {
            split: {
                key(kind(seed=seed, chinese=chinese).problem(split, i).messages[0].content)
                for seed, chinese in ((0, 0.0), (0, 1.0), (1, 0.5))
                for i in range(150)
            }
            for split in SPLITS
        }
        assert len(asked["test"]) > 50 and not asked["train"] & asked["test"]


@given(st.permutations([3, 5, 7, 11]), st.integers(1, 99))
def test_the_order_of_numbers_does_not_change_the_split(numbers: list[int], target: int) -> None:
    assert split_of(key_of(tuple(numbers), target)) == split_of(key_of((3, 5, 7, 11), target))


def test_both_languages_ask_the_same() -> None:
    assert len({key(countdown.question((3, 5, 7), 22, language)) for language in ("en", "zh")}) == 1
    assert len({key(arithmetic.question("(7+5)*3-8", language)) for language in ("en", "zh")}) == 1


def test_no_page_of_the_web_holds_a_test_problem() -> None:
    rng, asked, hopeless = random.Random(0), 0, 0
    for _ in range(1500):
        page = web.document(rng)
        for found in (*COUNTDOWN_ASKED.finditer(page), *ARITHMETIC_ASKED.finditer(page)):
            asked += 1
            if found.re is COUNTDOWN_ASKED:
                numbers, target = map(int, re.findall("[0-9]+", found[1])), int(found[2])
                if target not in countdown.solutions(tuple(numbers)):
                    hopeless += 1  # the task never asks what has no solution: such a problem is in neither split
                    continue
            assert split_of(key(found[0])) == "train", page
    assert asked - hopeless > 900 and hopeless > 30


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_grader_proves_itself(task: Generated) -> None:
    for split in SPLITS:
        for index in range(100):
            problem = task.problem(split, index)
            assert value(task, problem, task.gold(problem)) == 1.0
            assert value(task, problem, task.wrong(problem)) == 0.0
            assert value(task, problem, None) == 0.0


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_same_index_is_the_same_problem(task: Generated) -> None:
    assert [task.problem("train", i) for i in range(20)] == [task.problem("train", i) for i in range(20)]
    assert len({task.problem("train", i).messages for i in range(20)}) > 15


HOSTILE = [
    "", " ", "9**9**9", "9" * 10_000, "__import__('os').system('x')", "(" * 10_000 + "1" + ")" * 10_000, "1/0", "٣+٤",
    "1_0", "0x10", "lambda: 1", "-" * 10_000 + "1", "1" + "+1" * 10_000, "\x00", "\ud800", "½", "5!", "True", "'a'*9",
    "a" + "\u0301" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda s: ascii(s[:12]))
def test_hostile_answers_score_0(answer: str) -> None:
    for task in TASKS:
        problem = task.problem("test", 0)
        assert value(task, problem, answer) == 0.0
        task.vote_key(problem, answer)


@given(st.text(max_size=300))
def test_grading_and_voting_never_crash(answer: str) -> None:
    for task in (TASKS[0], TASKS[3]):
        problem = task.problem("test", 0)
        score = value(task, problem, answer)
        assert score in (0.0, 1.0) and (score == 0.0 or task.vote_key(problem, answer) is not None)


COUNTDOWN = Problem("p", "countdown", (), "3*5+7", hidden={"numbers": (3, 5, 7), "target": 22, "operators": "+-*"})


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("3*5+7", 1), ("7+5*3", 1), (" (3 × 5) + 7 ", 1), ("3*5+7=22", 1), ("３*５+７", 1), ("3*5+7=23", 0), ("22", 0),
        ("3*5", 0), ("3*5+7+0", 0), ("3*5+7*1", 0), ("3+5+7", 0), ("35-7-3", 0), ("5*3+7 or 22", 0), ("7+(3*5", 0),
    ],
)  # fmt: skip
def test_countdown_uses_each_number_once(answer: str, score: int) -> None:
    assert value(Countdown(), COUNTDOWN, answer) == score


def test_countdown_votes() -> None:
    vote = Countdown().vote_key
    right = {vote(COUNTDOWN, a) for a in ("3*5+7", "7+5*3", "(3*5)+7=22")}
    assert len(right) == 1 and None not in right
    assert vote(COUNTDOWN, "3+5+7") == vote(COUNTDOWN, "7+3+5") not in right
    assert vote(COUNTDOWN, "22") not in right
    assert vote(COUNTDOWN, "not sure") is None


def test_arithmetic_votes() -> None:
    task = Arithmetic()
    problem = task.problem("test", 0)
    assert task.vote_key(problem, " 07 ") == task.vote_key(problem, "7") == "7"
    assert task.vote_key(problem, "seven") is None and task.vote_key(problem, "٧") is None


@given(st.lists(st.integers(1, 16), min_size=3, max_size=3, unique=True))
def test_solutions_reach_their_targets(numbers: list[int]) -> None:
    for target, text in solutions(tuple(numbers)).items():
        result = evaluate(text)
        assert result is not None and result.value == target and sorted(result.numbers) == sorted(numbers)
