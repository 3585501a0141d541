"""What of a response is judged: the summary alone, boxes and tags in it, letters of multiple choice."""

from __future__ import annotations

import pytest

from aha.evaluation.summary import judged
from aha.models.templates import parse
from aha.types import Completion, Message, Problem, Rollout

OPTIONS = {"A": "12", "B": "13", "C": "14", "D": "15"}


def answer(text: str, *, choice: bool = False, prefilled: bool = False, **how: bool) -> str | None:
    problem = Problem("p", "t", (Message("user", "?"),), "", hidden={"options": OPTIONS} if choice else {})
    rollout = Rollout(problem, (), Completion((), (), "stop", 0), text, parse(text, prefilled=prefilled))
    return judged(rollout, **how).parsed.answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"<think>\boxed{3}</think>It is \boxed{4}.", "4"),
        (r"<think>\boxed{3}</think>It is three.", None),  # the thinking's answer is none
        (r"<think>\boxed{3}", None),
        (r"I think that \boxed{3}", "3"),  # a model that does not think
        (r"<think>a</think>\boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"<think>a</think>\boxed{1}, no: \boxed{2", None),
        ("<think>a</think> <answer>3*4</answer>", "3*4"),
        ("<answer>3*4</answer>", "3*4"),
        ("<think>a</think><answer></answer>", None),
        (r"<think>a</think>b</think>\boxed{5}", "5"),
        ("", None),
    ],
)
def test_answers_stand_in_the_summary(text: str, expected: str | None) -> None:
    assert answer(text) == expected


def test_a_template_may_have_opened_the_thinking() -> None:
    assert answer(r"so \boxed{3}", prefilled=True) is None
    assert answer(r"so \boxed{3}</think>\boxed{4}", prefilled=True) == "4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: B", "B"),
        ("<think>Answer: A</think>The rule decides.\n\n**Answer:** B", "B"),
        ("**Answer: (B)**\n", "(B)**"),  # `read_choice` knows the marks
        ("Answer:\n\nB) 13", "B) 13"),
        ("Answer: A\nNo, wait.\nAnswer: B.", "B."),
        (r"Answer: \boxed{B}", "B"),
        (r"Answer: A. No: \boxed{B}", "B"),
        (r"\boxed{A}? Answer: B", "B"),
        ("最后\n答案：B", "B"),
        ("答案是: B", "B"),
        ("<answer>B</answer>", "B"),
        ("I would say B.", None),
        ("<think>Answer: B", None),
        ("Answer: ", None),
    ],
)
def test_letters(text: str, expected: str | None) -> None:
    assert answer(text, choice=True) == expected


def test_other_questions_need_a_box() -> None:
    assert answer("Answer: 13") is None and answer("Answer: 13", choice=True) == "13"


def test_an_answer_out_of_its_tags() -> None:
    for text, found in (
        ("<think>3*4</think> 12\n", "12"), ("12", "12"), ("<think>3*4", None), ("<think>3*4</think>", None),
        (r"<think>a</think>so \boxed{12}", "12"), (r"<think>a</think>so \boxed{12", None),
    ):  # fmt: skip
        assert answer(text, bare=True) == found and answer(text, bare=True, whole=True) == found
    assert answer("<think>3*4</think> 12") is None


def test_of_the_whole_response_the_last_answer_counts() -> None:
    assert answer(r"<think>\boxed{3}</think>done", whole=True) == "3"
