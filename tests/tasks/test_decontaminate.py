"""No training text shares ten words in a row with a test problem."""

from __future__ import annotations

from aha.tasks.countdown import Countdown
from aha.tasks.decontaminate import contaminated, grams, grams_of_tests, words


def test_words_are_without_case_and_signs() -> None:
    assert words("Make 22, from 3*5+7!") == ("make", "22", "from", "3", "5", "7")
    assert words("用3、5各一次。") == ("用", "3", "5", "各", "一", "次")


def test_ten_in_a_row_or_all() -> None:
    assert list(grams("a b c")) == [("a", "b", "c")]
    assert len(list(grams(" ".join("abcdefghijkl")))) == 3


def test_what_is_a_test_problem_is_found_wherever_it_stands() -> None:
    task = Countdown()
    seen = grams_of_tests([task], 50)
    for index in range(50):
        question = task.problem("test", index).messages[0].content
        assert contaminated(question, seen)
        assert contaminated(["Some page.", f"As was asked: {question.lower()} and so on"], seen)
    clean = [task.problem("train", index).messages[0].content for index in range(200)]
    assert not any(contaminated(text, seen) for text in clean), "an honest train split loses nothing"
    assert not contaminated("", seen) and not contaminated("make 22", seen)
