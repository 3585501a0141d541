"""The "web" that the tiny base models are pretrained on: reasoning documents of mixed quality, in English and Chinese.

    document(rng) -> str               # one page, `<|endoftext|>` not included

No page is made to score under a reward. Authors search for a solution by trying and checking; most lose patience after
a few tries and guess, some never calculate, a few are thorough. Some turn back aloud ("wait", 「等等」), some change
language in mid-sentence, and only part of them write in the tag format. Every calculation is right, as on a web page
written with a calculator; what differs is how far its author goes. No page holds a test problem of any task.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from aha.models.tiny.web.author import SO, Author
from aha.models.tiny.web.functions import functions_page
from aha.models.tiny.web.logic import logic_drill, logic_page
from aha.models.tiny.web.numbers import arithmetic_page, countdown_page, drill, hopeless_page
from aha.models.tiny.web.requests import requests_page

# An author's question, trace and answer.
PAGES: dict[str, Callable[[random.Random, Author], tuple[str, str, str]]] = {
    "countdown": countdown_page,
    "arithmetic": arithmetic_page,
    "hopeless": hopeless_page,
    "logic": logic_page,
    "functions": functions_page,
    "requests": requests_page,
}
# Pages of single steps, with neither question nor author.
DRILLS: dict[str, Callable[[random.Random], str]] = {"drill": drill, "logic-drill": logic_drill}
# Shares of the pages. Problems without a solution alone come to the end of a search: without them a policy that has
# missed a solution goes round again until it is cut off.
NUMBERS: dict[str, float] = {"drill": 0.22, "countdown": 0.62, "arithmetic": 0.10, "hopeless": 0.06}


def document(rng: random.Random, shares: Mapping[str, float] = NUMBERS) -> str:
    """One page of the web."""
    kind = rng.choices(list(shares), weights=list(shares.values()))[0]
    if kind in DRILLS:
        return DRILLS[kind](rng)
    author = Author.draw(rng)
    question, trace, answer = PAGES[kind](rng, author)
    return lay_out(rng, author, question, trace, answer)


def lay_out(rng: random.Random, author: Author, question: str, trace: str, answer: str) -> str:
    """Put a page together: two in three are conversations, and two in three of those keep the tag format."""
    spoken = trace + author.say(rng, SO) + answer
    if rng.random() < 0.25:
        heads = {"en": ("Question:", "Solution:"), "zh": ("问题：", "解：")}[author.language]
        return f"{heads[0]} {question}\n{heads[1]}{spoken}"
    head = f"User: {question}\nAssistant:"
    style = rng.random()
    if style < 0.66:
        return f"{head}<think>{trace}</think><answer>{answer}</answer>"
    if style < 0.80:
        return f"{head}{spoken}"
    if style < 0.88:
        return f"{head}<think>{trace}<answer>{answer}</answer>"
    if style < 0.94:
        return f"{head}<think>{trace}</think>{answer}"
    return f"{head}<answer>{answer}</answer>"
