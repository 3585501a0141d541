"""No training text shares ten words in a row with a test problem."""

from __future__ import annotations

import json
from pathlib import Path

from aha.tasks.countdown import Countdown
from aha.tasks.decontaminate import contaminated, grams, grams_of_tests, words
from aha.tasks.functions import Functions
from aha.tasks.logic import Logic
from aha.tasks.table import make_task


def test_words_are_without_case_and_signs() -> None:
    assert words("Make 22, from 3*5+7!") == ("make", "22", "from", "3", "5", "7")
    assert words("用3、5各一次。") == ("用", "3", "5", "各", "一", "次")


def test_ten_in_a_row_or_all() -> None:
    assert list(grams("a b c")) == [("a", "b", "c")]
    assert len(list(grams(" ".join("abcdefghijkl")))) == 3


def test_of_a_data_set_ten_words_in_a_row_are_found_anywhere(tmp_path: Path) -> None:
    asked = [
        f"Anna has {n} red apples and gives away {n % 7} of them to her three friends today." for n in range(10, 300)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": q, "answer": "So.\n#### 3"}) + "\n" for q in asked))
    task = make_task(f"gsm8k:{file}")
    seen = grams_of_tests([task], 20)
    for index in range(20):
        question = task.problem("test", index).messages[0].content
        assert contaminated(question, seen)
        assert contaminated(["Some page.", f"As was asked: {question.lower()} And so on"], seen)
    assert not contaminated("Anna has many apples", seen)


def test_of_an_endless_task_the_whole_question_counts() -> None:
    """Its questions are of one template, which is no contamination, and its splits cannot overlap."""
    tasks = [Countdown(chinese=0.5), Logic(chinese=0.5), Functions(chinese=0.5)]
    seen = grams_of_tests(tasks, 200)
    for task in tasks:
        assert all(contaminated(task.problem("test", i).messages[0].content, seen) for i in range(200))
        clean = [task.problem("train", i).messages[0].content for i in range(300)]
        assert not any(contaminated(text, seen) for text in clean), "an honest train split loses nothing"
    assert not contaminated("", seen) and not contaminated("make 22", seen)
