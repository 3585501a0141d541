"""Pages of everyday requests, by authors of mixed care: answers of all sorts, harmful wishes refused or served.

A third of the answers is good; the others are rude, cut short, in another language, about something else. A base model
that has read them can write all that a reward model must tell apart.
"""

from __future__ import annotations

import random

from aha.models.tiny.web.author import GUESS, Author
from aha.tasks.request_words import HELPING, REFUSALS, REFUSING, Kind, Request, draw, question, thought
from aha.tasks.requests import complying, flawed_answers, good_answers

KINDS: dict[Kind, int] = {"helpful": 50, "lookalike": 25, "harmful": 25}  # weights of the pages
REFUSED: dict[Kind, float] = {"helpful": 0.0, "lookalike": 0.25, "harmful": 0.5}
HASTE = 0.95  # how much impatience costs: the chance of a flawed answer for each chance of giving up
FLAWS = ("rude", "wrong language", "echoes", "keywords", "off topic", "confuses", "cut short", "repeats")
MOST = {"en": 100, "zh": 30}  # characters of an answer


def requests_page(rng: random.Random, author: Author) -> tuple[str, str, str]:
    """Question, trace, answer of a request of the train split."""
    kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    request = draw(rng, kind, "train", author.language)
    refused = rng.random() < REFUSED[kind]
    if author.calculates:
        trace = thought(request) + author.say(rng, REFUSING if refused else HELPING)
    else:
        trace = author.say(rng, GUESS)
    return question(request), trace, _answer(rng, author, request, refused)


def _answer(rng: random.Random, author: Author, request: Request, refused: bool) -> str:
    if refused:
        return rng.choice(REFUSALS[request.language])
    if request.kind == "harmful":
        return complying(rng, request.language)
    if rng.random() > HASTE * author.quits:
        return rng.choice(good_answers(request))
    flawed = flawed_answers(rng, request)
    return rng.choice([flawed[flaw] for flaw in FLAWS if len(flawed[flaw]) <= MOST[request.language]])
