"""The instructions about words, letters, counts and language: each says whether a response follows it, and how.

The response is not blank and is untrusted; arguments have been checked. Where the paper leaves room, the published
evaluation's reading is taken (a keyword counts inside a longer word, a forbidden word only as a whole), so that results
can be compared with others'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aha.rewards.instructions.measure import Finding, compare, count_text, exactly, paragraphs, sentences, words
from aha.rewards.language import WRITING, code_of, detector, language_share, writing_of
from aha.rewards.prose import prose

LANGUAGE_SHARE = 0.8  # of the words; names and terms in another script are allowed the rest
_ONE_LANGUAGE = frozenset(("chinese", "bengali", "hebrew", "ethiopic"))  # the others of these scripts are hardly met
_CAPITAL = re.compile(r"(?<![\w'’])[^\W\d_](?:[\w'’-]*\w)?")
_DIVIDER = "***"
_COMMAS = ",，،、"


def keywords(response: str, *, keywords: Sequence[str]) -> Finding:
    missing = [word for word in keywords if not count_text(response, word)]
    return Finding(not missing, f"missing: {', '.join(missing)}" if missing else "all keywords are there")


def keyword_frequency(response: str, *, keyword: str, relation: str, frequency: int) -> Finding:
    return compare(count_text(response, keyword), relation, frequency, f"times {keyword!r}")


def forbidden_words(response: str, *, forbidden_words: Sequence[str]) -> Finding:
    present = [w for w in forbidden_words if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", response, re.IGNORECASE)]
    return Finding(not present, f"present: {', '.join(present)}" if present else "no forbidden word")


def letter_frequency(response: str, *, letter: str, let_relation: str, let_frequency: int) -> Finding:
    return compare(count_text(response, letter), let_relation, let_frequency, f"times {letter!r}")


def response_language(response: str, *, language: str) -> Finding:
    """By script; where other languages are written in it too, also by a detector of the whole text.

    Raises UserError where the detector is needed and missing.
    """
    writing = writing_of(language)
    found = language_share(response, language)
    if found is None:
        return Finding(False, "no words")
    if found.share < LANGUAGE_SHARE or writing in _ONE_LANGUAGE or list(WRITING.values()).count(writing) == 1:
        return Finding(found.share >= LANGUAGE_SHARE, f"{found.share:.0%} of the words are in {language!r}")
    told = detector(language)(prose(response))
    return Finding(told == code_of(language), f"told to be in {told!r}, asked for {language!r}")


def number_sentences(response: str, *, relation: str, num_sentences: int) -> Finding:
    return compare(len(sentences(response)), relation, num_sentences, "sentences")


def number_words(response: str, *, relation: str, num_words: int) -> Finding:
    return compare(len(words(response)), relation, num_words, "words")


def number_paragraphs(response: str, *, num_paragraphs: int) -> Finding:
    """Paragraphs between dividers `***`; a divider may also stand first or last."""
    parts = [part.strip() for part in response.strip().split(_DIVIDER)]
    inner = parts[1:-1] if len(parts) > 2 else []
    if not all(inner):
        return Finding(False, "two dividers with nothing between them")
    return exactly(len([part for part in parts if part]), num_paragraphs, "paragraphs between ***")


def nth_paragraph_first_word(response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> Finding:
    parts = paragraphs(response)
    if len(parts) != num_paragraphs or nth_paragraph > len(parts):
        return exactly(len(parts), num_paragraphs, "paragraphs between blank lines")
    first = re.search(r"\w[\w'’-]*", parts[nth_paragraph - 1])
    found = re.sub(r"['’]s$", "", first[0]) if first else ""
    return Finding(
        first_word.casefold() in (found.casefold(), (first[0] if first else "").casefold()),
        f"paragraph {nth_paragraph} begins with {found!r}, asked for {first_word!r}",
    )


def english_capital(response: str) -> Finding:
    lower = next((word for word in words(response) if word != word.upper()), None)
    return _cased(response, f"{lower!r} has small letters" if lower else None)


def english_lowercase(response: str) -> Finding:
    upper = next((word for word in words(response) if word != word.lower()), None)
    return _cased(response, f"{upper!r} has capital letters" if upper else None)


def _cased(response: str, fault: str | None) -> Finding:
    """English is told by its script: whether a text in capitals is English is no question for a detector."""
    found = language_share(response, "en")
    if fault is None and (found is None or found.share < LANGUAGE_SHARE):
        fault = "not in English"
    return Finding(fault is None, fault or "all letters are of the case")


def capital_word_frequency(response: str, *, capital_relation: str, capital_frequency: int) -> Finding:
    """Words of capital letters alone; `I` and `A` are such words, as in the published evaluation."""
    count = sum(1 for word in _CAPITAL.findall(response) if word.isupper())
    return compare(count, capital_relation, capital_frequency, "words in capitals")


def no_comma(response: str) -> Finding:
    count = sum(response.count(comma) for comma in _COMMAS)
    return Finding(count == 0, f"{count} commas")
