"""Refiners by rule rewrite a response that passed into one that reads well: first person, one language, a summary.

    refined = refiner("rules")(rollout)      # the new text, or None where it cannot be made

The paper has a larger model do this (`rewriting.py`), and people look at the result (v2, B.3.2). `rules` is what stands
in for it where there is no larger model: it rewrites the tiny family's responses by fixed rules, and knows only their
phrases.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from aha.errors import UserError, nearest
from aha.models.tiny.web.author import PHRASES
from aha.rewards.prose import prose
from aha.tasks.expression import evaluate
from aha.types import Rollout

Refiner = Callable[[Rollout], str | None]

OTHER = {"en": "zh", "zh": "en"}
FOREIGN = {"en": re.compile(r"[\u3400-\u9fff]"), "zh": re.compile(r"[A-Za-z]{2,}")}
_SPACES = re.compile(" {2,}")
_WE = re.compile(r"(?<![a-z])we (?=need|want|have)")


def by_rules(rollout: Rollout) -> str | None:
    """The question's language throughout, "i" in place of "we", and a summary: the answer with what it comes to.

    None where nothing was thought, no answer given, or words of the other language are left.
    """
    reasoning, answer = rollout.parsed.reasoning.strip(), rollout.parsed.answer
    language = rollout.problem.language
    if not reasoning or answer is None or language not in OTHER:
        return None
    for pattern, own in _translations(language):
        reasoning = pattern.sub(own, reasoning)
    if FOREIGN[language].search(prose(reasoning)):
        return None
    reasoning = _SPACES.sub(" ", _WE.sub("i ", reasoning)).strip()
    return f"<think> {reasoning}</think><answer>{_summary(answer)}</answer>"


@functools.cache
def _translations(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Each phrase of the other language, the longest first, with one of the same meaning; a number stays what it is."""
    pairs = {
        other.strip(): phrases[language][place % len(phrases[language])]
        for phrases in PHRASES
        for place, other in enumerate(phrases[OTHER[language]])
        if other.strip()
    }
    longest_first = sorted(pairs, key=len, reverse=True)
    return tuple(
        (re.compile(f" *{re.escape(other)} *".replace("TARGET", "([0-9]+)")), pairs[other].replace("TARGET", r"\1"))
        for other in longest_first
    )


def _summary(answer: str) -> str:
    result = evaluate(answer)
    return f"{answer}={result.value}" if result is not None and result.operators else answer


REFINERS: dict[str, Refiner] = {"rules": by_rules}


def refiner(name: str) -> Refiner:
    """The refiner `name`; with no name what passed stays as it is. Raises UserError for an unknown one."""
    if not name:
        return lambda rollout: rollout.text
    if name not in REFINERS:
        raise UserError(f"unknown refiner {name!r}{nearest(name, REFINERS)}")
    return REFINERS[name]
