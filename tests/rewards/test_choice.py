"""Multiple choice: forms that name an option, and those that name none or two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_rollouts import score

from aha.errors import UserError
from aha.rewards.choice import grade_choice, lettered, read_choice

OPTIONS = {"A": "12", "B": "13", "C": "14", "D": "A dog"}


@pytest.mark.parametrize(
    "answer",
    [
        "C", "c", "(C)", "(c)", "[C]", "C.", "c)", "C) 14", "C. 14", "c. 14", "C 14", "C, 14", "C - 14",
        "(C) 14", "C: because it is even",
        "The answer is C", "The answer is (C).", "the answer is: **C**", "The answer is C: 14", "Answer: C",
        "answer = C",
        "The correct option is C) 14", "C) 14, since 7*2=14", "Option C", "I choose C.", "So it must be (C).",
        "The correct answer is 14", "14", " 14. ", "\\text{C}", "$\\boxed{C}$", "Ｃ", "（Ｃ）", "答案是C", "答案：C。",
        "选C", "我选择 C 。",
    ],
)  # fmt: skip
def test_names_c(answer: str) -> None:
    assert read_choice(answer, OPTIONS) == "C"
    assert score(grade_choice(answer, OPTIONS, "C")) == 1.0 and score(grade_choice(answer, OPTIONS, "B")) == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        "", " ", "B or C", "C or B", "A and B", "A/B", "B C", "BC", "(A)(B)", "C) 13", "The answer is C) 13",
        "Not C", "E", "The answer is E",
        "It is not C but D", "The answer is B. No wait, C", "Vitamin C is good", "15", "A cat",
        "A dog and a cat", "All but C",
        "B is wrong", "neither", "c - d", "12 or 13", "C" * 100, "C) " * 5000, "\x00", "(", "选",
    ],
)  # fmt: skip
def test_names_none(answer: str) -> None:
    assert read_choice(answer, OPTIONS) is None
    assert score(grade_choice(answer, OPTIONS, "C")) == 0.0


def test_an_article_is_no_letter() -> None:
    assert read_choice("A dog", OPTIONS) == "D"
    assert read_choice("A quick check shows that the answer is C", OPTIONS) == "C"
    assert read_choice("I think the answer is C", [str(i) for i in range(10)]) == "C"


@pytest.mark.parametrize("count", [4, 5, 8, 10])
def test_each_of_many_options(count: int) -> None:
    options = [f"value {i}" for i in range(count)]
    for letter, text in lettered(options).items():
        for form in (letter, f"({letter})", f"The answer is {letter}.", text, f"{letter}) {text}"):
            assert read_choice(form, options) == letter


def test_options_of_the_same_text_are_told_by_letter_only() -> None:
    assert read_choice("12", ["12", "12", "13", "14"]) is None
    assert read_choice("B) 12", ["12", "12", "13", "14"]) == "B"
    assert read_choice("B", {"A": "B", "B": "A"}) == "B"


def test_no_answer_and_bad_options() -> None:
    assert score(grade_choice(None, OPTIONS, "C")) == 0.0
    for options in ({"1": "a", "2": "b"}, ["only one"], ["a"] * 27):
        with pytest.raises(UserError, match="give 2 to 26"):
            read_choice("A", options)


@given(st.text(alphabet="ABCDabc ().:-答案是选14\n", max_size=40))
def test_two_options_in_brackets_are_refused(text: str) -> None:
    assert read_choice(f"{text} (A) (B)", OPTIONS) is None
    read_choice(text, OPTIONS)
