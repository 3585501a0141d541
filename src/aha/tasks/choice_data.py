"""Multiple choice and short answers: BIG-Bench Hard (Suzgun et al., arXiv 2210.09261).

    {"examples": [{"input": "...\\nOptions:\\n(A) 12/11/1937\\n(B) 12/25/1937", "target": "(B)"}, ...]}

A target that is one of the lettered options is graded as a choice, a whole number by its value, all else as text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from pathlib import Path

from aha.rewards.choice import grade_choice, read_choice
from aha.tasks.datasets import Kind, Row, load
from aha.tasks.maths_data import grade_number, next_number
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Outcome, Problem, Score

_OPTION = re.compile(r"^[ \t]*\(([A-Z])\)[ \t]*(.*)$", re.MULTILINE)
_LETTER = re.compile(r"\(?([A-Z])\)?")
_TEXT = re.compile(r"\\(?:text|mathrm)\{([^{}]*)\}")
_OPPOSITES = {"true": "False", "false": "True", "yes": "No", "no": "Yes", "valid": "invalid", "invalid": "valid"}


def read_bbh(raw: Raw) -> Row:
    """`hidden["options"]` holds the texts by letter where the answer is one of lettered options, else nothing."""
    question, target = text_under(raw.data, "input").strip(), text_under(raw.data, "target").strip()
    options = dict(_OPTION.findall(question.partition("Options:")[2]))
    group = raw.config or Path(raw.file).name.partition(".")[0]
    letter = _LETTER.fullmatch(target)
    if letter is None or not options:
        return Row(question, target, hidden={"options": {}, "group": group})
    if letter[1] not in options:
        raise RowError(f"has {target!r} as its target, which is none of its options ({', '.join(options)})")
    return Row(question, letter[1], hidden={"options": options, "group": group})


def grade_bbh(problem: Problem, answer: str | None) -> Outcome:
    """1 for the right option, number or text."""
    if answer is None:
        return Score(0.0, "no answer")
    options = problem.hidden["options"]
    if options:
        return grade_choice(answer, options, problem.reference)
    if _is_number(problem):
        return grade_number(problem, answer)
    right = plain_text(answer) == plain_text(problem.reference)
    return Score(float(right), f"{answer[:60]!r}, expected {problem.reference[:60]!r}, compared as text")


def wrong_bbh(problem: Problem) -> str:
    """Another option, the opposite, the next number, or the words in another order."""
    options, reference = problem.hidden["options"], problem.reference
    if options:
        return next((f"({letter})" for letter in options if letter != reference), f"not {reference}")
    if _is_number(problem):
        return next_number(problem)
    words = reference.split()
    backwards = " ".join(reversed(words))
    return _OPPOSITES.get(reference.lower()) or (backwards if backwards != " ".join(words) else reference + " not")


def key_bbh(problem: Problem, answer: str) -> str | None:
    """The chosen option, or the answer's plain text."""
    options = problem.hidden["options"]
    return read_choice(answer, options) if options else plain_text(answer) or None


def plain_text(text: str) -> str:
    """`text` without case, width of characters, commas, marks around it, `\\text{}` and repeated white space."""
    plain = unicodedata.normalize("NFKC", _TEXT.sub(r"\1", text[:10_000])).casefold().replace(",", " ")
    return " ".join(plain.split()).strip("*`'\" .")


def _is_number(problem: Problem) -> bool:
    return bool(re.fullmatch(r"-?[0-9]{1,30}", problem.reference))


BBH = Kind("bbh", '{"input": "...", "target": "(A)"}', read_bbh, grade_bbh, wrong_bbh, key_bbh, test_only=True)
load_bbh = partial(load, BBH)
