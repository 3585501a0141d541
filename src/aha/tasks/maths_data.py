"""Questions with a number or a mathematical expression as answer.

    GSM8K    {"question": "...", "answer": "... #### 18"}; Cobbe et al., arXiv 2110.14168
    MGSM     question, tab, number, in eleven languages; Shi et al., arXiv 2210.03057
    MATH     any rows with a question and an answer in LaTeX, or a solution with the answer in its last box
    MATH-500 {"problem": "...", "answer": "\\\\frac{14}{3}"}; Lightman et al., arXiv 2305.20050
    AIME     {"problem": "...", "answer": "073"}, a whole number from 0 to 999

Numbers are compared as exact fractions, expressions by `aha.rewards.maths`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from aha.rewards.maths import grade, quantity, readable
from aha.rewards.maths.exact import Undefined, exact
from aha.rewards.maths.extract import final_answer
from aha.rewards.maths.normalise import Unreadable, tokens
from aha.tasks.datasets import Kind, Row, language_of, load
from aha.tasks.number import read_number
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Outcome, Problem, Score

MGSM_LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
_LANGUAGE = re.compile(rf"mgsm[-_]({'|'.join(MGSM_LANGUAGES)})(?![a-z])")


def grade_number(problem: Problem, answer: str | None) -> Outcome:
    """1 where the one number in `answer` equals the reference exactly."""
    if answer is None:
        return Score(0.0, "no answer")
    found = read_number(answer)
    if found is None:
        return Score(0.0, f"not one number: {answer[:60]!r}")
    return Score(float(found == _reference(problem)), f"{found}, expected {problem.reference}")


def next_number(problem: Problem) -> str:
    """The reference and 1: a wrong answer."""
    return str(_reference(problem) + 1)


def number_key(problem: Problem, answer: str) -> str | None:
    """The number that `answer` gives: equal numbers vote together."""
    found = read_number(answer)
    return None if found is None else str(found)


def _reference(problem: Problem) -> Fraction:
    number = read_number(problem.reference)
    assert number is not None, "references are checked when they are read"
    return number


def _number(text: str) -> str:
    """`$1,800.` as a plain number; what is no number stays what it is."""
    return text.strip().replace(",", "").replace("$", "").removesuffix(".")


def read_gsm8k(raw: Raw) -> Row:
    """The reference is the number after the last `####`."""
    question, answer = text_under(raw.data, "question"), text_under(raw.data, "answer")
    solution, mark, number = answer.rpartition("####")
    number = _number(number)
    if not mark or read_number(number) is None:
        raise RowError("has an answer that does not end in '#### NUMBER'")
    question = question.strip()
    return Row(question, number, language_of(question), {"solution": solution.strip()})


def read_mgsm(raw: Raw) -> Row:
    """Two fields, or an object with the number under "answer_number" or "answer"; the language is its file's."""
    data = raw.data
    if isinstance(data, list):
        if len(data) != 2:
            raise RowError(f"has {len(data)} fields between tabs, not 2")
        question, answer = data
    else:
        question, answer = _asked(data), _given(data, "answer_number", "answer")
    number = _number(answer)
    if not question.strip():
        raise RowError("has no question")
    if read_number(number) is None:
        raise RowError(f"has {answer[:60]!r} as its answer, which is no number")
    dataset = data.get("dataset", "") if isinstance(data, Mapping) else ""
    named = _LANGUAGE.search(f"mgsm_{raw.config} {raw.file} {dataset}")
    language = named[1] if named else language_of(question)
    return Row(question.strip(), number, language, {"group": language})


def read_maths(raw: Raw) -> Row:
    """The answer stands under "answer", else in the last box of the "solution"."""
    question = _asked(raw.data).strip()
    if isinstance(raw.data, Mapping) and raw.data.get("answer") is None and raw.data.get("solution") is not None:
        answer = final_answer(text_under(raw.data, "solution"))
        if answer is None:
            raise RowError("has a solution without a finished \\boxed{}")
    else:
        answer = _given(raw.data, "answer").rpartition("####")[2].strip()
    reason = readable(answer)
    if reason is not None:
        raise RowError(f"has an answer that cannot be graded ({reason})")
    hidden = {"solution": raw.data["solution"]} if isinstance(raw.data.get("solution"), str) else {}
    level = re.search(r"[1-9]", str(raw.data.get("level", "")))
    return Row(question, answer, language_of(question), {**hidden, **({"group": f"level {level[0]}"} if level else {})})


def read_aime(raw: Raw) -> Row:
    """The columns' names in capitals or not, as they are published."""
    data = {str(name).casefold(): value for name, value in raw.data.items()} if isinstance(raw.data, Mapping) else None
    question, answer = text_under(data, "problem", "question").strip(), _given(data, "answer").strip()
    if not re.fullmatch(r"[0-9]{1,3}", answer):
        raise RowError(f"has {answer[:60]!r} as its answer, which is no whole number from 0 to 999")
    return Row(question, str(int(answer)))


def _asked(data: Any) -> str:
    """The question, also where it is the only message of a conversation."""
    messages = data.get("messages") if isinstance(data, Mapping) else None
    if isinstance(messages, list) and messages:
        return text_under(messages[0], "content")
    return text_under(data, "question", "problem", "prompt")


def _given(data: Any, *names: str) -> str:
    """The answer as text, also where it is a number of JSON's."""
    value = next((data[n] for n in names if data.get(n) is not None), None) if isinstance(data, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return text_under(data, *names)


def grade_expression(problem: Problem, answer: str | None) -> Outcome:
    """1 where `answer` means the same as the reference, by the matcher that the reference calls for."""
    return grade(answer, problem.reference)


def near_miss(problem: Problem) -> str:
    """The reference with its first digit or lone capital changed, or with 1 added where it has none: a wrong answer."""
    place = re.search(r"[0-9]", problem.reference) or re.search(r"(?<![A-Za-z])[A-J](?![A-Za-z])", problem.reference)
    if place is None:
        return problem.reference + " + 1"
    other = "8" if place[0] == "9" else "I" if place[0] == "J" else chr(ord(place[0]) + 1)
    return problem.reference[: place.start()] + other + problem.reference[place.end() :]


def expression_key(problem: Problem, answer: str) -> str | None:
    """Rational numbers vote by value, whatever their form and unit, other answers by their canonical tokens."""
    try:
        found = tokens(answer)
    except Unreadable:
        return None
    try:
        value = exact(quantity.read(found, letter_units=True).value)
    except (Unreadable, Undefined, RecursionError):
        value = None
    return str(value) if value is not None else " ".join(found) or None


GSM8K = Kind(
    "gsm8k", '{"question": "...", "answer": "... #### 18"}', read_gsm8k, grade_number, next_number, number_key,
    config="main",
)  # fmt: skip
MGSM = Kind(
    "mgsm", "QUESTION<tab>18", read_mgsm, grade_number, next_number, number_key, test_only=True, config="en",
)  # fmt: skip
MATH = Kind(
    "math", '{"question": "...", "answer": "\\\\frac{3}{4}"}', read_maths, grade_expression, near_miss, expression_key,
)  # fmt: skip
MATH500 = replace(MATH, name="math500", test_only=True)
AIME = replace(MATH500, name="aime", example='{"problem": "...", "answer": "073"}', read=read_aime)

load_gsm8k = partial(load, GSM8K)
load_mgsm = partial(load, MGSM)
load_math = partial(load, MATH)
load_math500 = partial(load, MATH500)
load_aime = partial(load, AIME)
