"""Multiple-choice exams, whose answer is a letter.

    GPQA      {"Question": "...", "Correct Answer": "...", "Incorrect Answer 1": "...", ... "Incorrect Answer 3": "..."}
              Rein et al., arXiv 2311.12022; its .csv, or the hub's configuration gpqa_diamond
    MMLU      {"question": "...", "choices": ["...", ...], "answer": 2}, or a line of six cells: question, A to D, C
              Hendrycks et al., arXiv 2009.03300
    MMLU-Pro  {"question": "...", "options": ["...", ...], "answer": "I"}; up to ten; Wang et al., arXiv 2406.01574
    C-Eval    {"question": "...", "A": "...", ... "D": "...", "answer": "C"}; its validation set, since the answers of
              its test set are not published; Huang et al., arXiv 2305.08322

GPQA gives the right answer first: the order of its options is drawn from the question, the same for every model.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aha.rewards.choice import grade_choice, read_choice
from aha.tasks.datasets import Kind, Row, load
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Outcome, Problem

LETTERS = string.ascii_uppercase
_GPQA = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_SPLITS = ("_test", "_val", "_dev")  # at the ends of files' names


def read_gpqa(raw: Raw) -> Row:
    """The options in an order of the question's own."""
    question = text_under(raw.data, "Question", "question").strip()
    options = [text_under(raw.data, name).strip() for name in _GPQA]
    order = random.Random(f"gpqa {question}").sample(range(len(options)), len(options))
    group = raw.data.get("High-level domain") or ""
    return choice_row(question, [options[place] for place in order], order.index(0), group=str(group))


def read_exam(raw: Raw, language: str = "en") -> Row:
    """Options as a list under "choices" or "options", under their letters, or as cells between question and answer."""
    data = raw.data
    if isinstance(data, Sequence) and not isinstance(data, str):
        if len(data) < 4:
            raise RowError("has fewer than four cells: question, options, answer")
        question, options, answer = data[0], list(data[1:-1]), data[-1]
    else:
        question = text_under(data, "question")
        options = _options(data)
        answer = data.get("answer_index") if data.get("answer_index") is not None else data.get("answer")
    group = data.get("subject") or data.get("category") if isinstance(data, Mapping) else None
    return choice_row(
        str(question).strip(), [str(option).strip() for option in options], _place(answer, len(options)), language,
        str(group or raw.config or _subject(raw.file)),
    )  # fmt: skip


def choice_row(question: str, options: Sequence[str], right: int, language: str = "en", group: str = "") -> Row:
    """A question with its options under it, a line each; `hidden["options"]` holds them by letter."""
    if not question:
        raise RowError("has no question")
    if not 2 <= len(options) <= len(LETTERS):
        raise RowError(f"has {len(options)} options; give 2 to {len(LETTERS)}")
    lettered = dict(zip(LETTERS, options, strict=False))
    text = "\n".join([question, "", *(f"{letter}) {option}" for letter, option in lettered.items())])
    return Row(text, LETTERS[right], language, {"options": lettered, "group": group})


def _options(data: Mapping[str, Any]) -> list[Any]:
    found = next((data[name] for name in ("choices", "options") if isinstance(data.get(name), list)), None)
    if found is None:
        found = [data[letter] for letter in LETTERS if data.get(letter) is not None]
    return found


def _place(answer: Any, count: int) -> int:
    """The place of the right option, from 0, of a number or a letter. Raises RowError."""
    text = str(answer if answer is not None else "").strip()
    place = int(text) if text.isdecimal() else LETTERS.find(text.upper()) if len(text) == 1 else -1
    if not text:
        raise RowError("has no answer; give the split whose answers are published, such as C-Eval's val")
    if not 0 <= place < count:
        raise RowError(f"has {text[:20]!r} as its answer, which is none of its {count} options")
    return place


def _subject(file: str) -> str:
    """`anatomy` for `test/anatomy_test.csv`."""
    stem = Path(file).name.partition(".")[0]
    return next((stem.removesuffix(end) for end in _SPLITS if stem.endswith(end)), "")


def grade_exam(problem: Problem, answer: str | None) -> Outcome:
    """1 where `answer` names the right option."""
    return grade_choice(answer, problem.hidden["options"], problem.reference)


def wrong_exam(problem: Problem) -> str:
    """Another option's letter."""
    return next(letter for letter in problem.hidden["options"] if letter != problem.reference)


def key_exam(problem: Problem, answer: str) -> str | None:
    """The option that is named."""
    return read_choice(answer, problem.hidden["options"])


def _exam(name: str, example: str, read: Any, config: str = "", split: str = "test") -> Kind:
    return Kind(name, example, read, grade_exam, wrong_exam, key_exam, test_only=True, config=config, split=split)


GPQA = _exam(
    "gpqa", '{"Question": "...", "Correct Answer": "...", "Incorrect Answer 1": "...", ...}', read_gpqa, "gpqa_diamond"
)
MMLU = _exam("mmlu", '{"question": "...", "choices": ["...", "..."], "answer": 1}', read_exam, "all")
MMLU_PRO = _exam("mmlu-pro", '{"question": "...", "options": ["...", "..."], "answer": "B"}', read_exam)
CEVAL = _exam(
    "ceval", '{"question": "...", "A": "...", "B": "...", "C": "...", "D": "...", "answer": "B"}',
    partial(read_exam, language="zh"), "*", "val",
)  # fmt: skip

load_gpqa = partial(load, GPQA)
load_mmlu = partial(load, MMLU)
load_mmlu_pro = partial(load, MMLU_PRO)
load_ceval = partial(load, CEVAL)
