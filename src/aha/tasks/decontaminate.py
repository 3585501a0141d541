"""Keeps test problems out of training data: no text may share ten words in a row with one of them.

Of tasks that make problems without end the whole question counts: their splits cannot overlap, and their questions
share more than ten words by their template.

    seen = grams_of_tests([task], problems=1000)
    contaminated("Using each of 3, 5, 7 once and + - *, make 22.", seen)

Source: DeepSeek-R1, v2, D.1: texts with a matching 10-gram of an evaluation question or solution are dropped. A
question of fewer words is compared whole. Paraphrases are not found, as the paper says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from aha.protocols import Task

WORDS = 10
_WORD = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]|[^\W_\u3041-\u30ff\u3400-\u9fff]+")

Gram = tuple[str, ...]


def words(text: str) -> Gram:
    """The words of `text` without case and signs; each Han character and kana is one."""
    return tuple(_WORD.findall(text.casefold()))


def grams(text: str) -> Iterator[Gram]:
    """Every `WORDS` words in a row; all of them where there are fewer."""
    found = words(text)
    for place in range(max(1, len(found) - WORDS + 1)):
        yield found[place : place + WORDS]


def grams_of_tests(tasks: Iterable[Task], problems: int) -> frozenset[Gram]:
    """What no text may hold: of the first `problems` test questions of each task, as far as there are so many."""
    found: set[Gram] = set()
    for task in tasks:
        size = task.size("test")
        for index in range(problems if size is None else min(problems, size)):
            for message in task.problem("test", index).messages:
                if message.role == "user":
                    found.update([_whole(message.content)] if size is None else grams(message.content))
    return frozenset(found - {()})


def contaminated(texts: Sequence[str] | str, seen: frozenset[Gram]) -> bool:
    """Whether one of the texts has a gram of the test problems, or is one of them."""
    each = [texts] if isinstance(texts, str) else texts
    return any(_whole(text) in seen or any(gram in seen for gram in grams(text)) for text in each)


def _whole(text: str) -> Gram:
    """All words of a text, which are no gram of a longer one."""
    return ("", *words(text))
