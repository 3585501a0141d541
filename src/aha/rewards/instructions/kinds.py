"""The table of instructions: what each id checks, and what its arguments must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aha.rewards.instructions.checks as checks
import aha.rewards.instructions.layout as layout
from aha.rewards.instructions.measure import Finding
from aha.rewards.language import WRITING, code_of

RELATIONS = ("at least", "less than")


@dataclass(frozen=True, slots=True)
class Argument:
    """What an argument must be, in words, and whether a value is that."""

    what: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of instruction: the check and its keyword arguments, all of them needed."""

    check: Callable[..., Finding]
    arguments: Mapping[str, Argument] = field(default_factory=dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))


COUNT = Argument("a whole number from 0", lambda value: type(value) is int and value >= 0)
PLACE = Argument("a whole number from 1", lambda value: type(value) is int and value >= 1)
TEXT = Argument("a text", _is_text)
TEXTS = Argument("a list of texts", _are_texts)
LETTER = Argument("one character", lambda value: isinstance(value, str) and len(value.strip()) == 1)
RELATION = Argument("'at least' or 'less than'", lambda value: value in RELATIONS)
LANGUAGE = Argument("an ISO 639 code", lambda value: isinstance(value, str) and code_of(value) in WRITING)

KINDS: dict[str, Kind] = {  # Zhou et al., arXiv 2311.07911, table 1
    "keywords:existence": Kind(checks.keywords, {"keywords": TEXTS}),
    "keywords:frequency": Kind(
        checks.keyword_frequency, {"keyword": TEXT, "relation": RELATION, "frequency": COUNT}
    ),
    "keywords:forbidden_words": Kind(checks.forbidden_words, {"forbidden_words": TEXTS}),
    "keywords:letter_frequency": Kind(
        checks.letter_frequency, {"letter": LETTER, "let_relation": RELATION, "let_frequency": COUNT}
    ),
    "language:response_language": Kind(checks.response_language, {"language": LANGUAGE}),
    "length_constraints:number_sentences": Kind(
        checks.number_sentences, {"relation": RELATION, "num_sentences": COUNT}
    ),
    "length_constraints:number_paragraphs": Kind(checks.number_paragraphs, {"num_paragraphs": PLACE}),
    "length_constraints:number_words": Kind(checks.number_words, {"relation": RELATION, "num_words": COUNT}),
    "length_constraints:nth_paragraph_first_word": Kind(
        checks.nth_paragraph_first_word, {"num_paragraphs": PLACE, "nth_paragraph": PLACE, "first_word": TEXT}
    ),
    "detectable_content:number_placeholders": Kind(layout.placeholders, {"num_placeholders": COUNT}),
    "detectable_content:postscript": Kind(layout.postscript, {"postscript_marker": TEXT}),
    "detectable_format:number_bullet_lists": Kind(layout.bullets, {"num_bullets": COUNT}),
    "detectable_format:constrained_response": Kind(layout.constrained),
    "detectable_format:number_highlighted_sections": Kind(layout.highlights, {"num_highlights": COUNT}),
    "detectable_format:multiple_sections": Kind(layout.sections, {"section_spliter": TEXT, "num_sections": COUNT}),
    "detectable_format:json_format": Kind(layout.json_format),
    "detectable_format:title": Kind(layout.title),
    "combination:two_responses": Kind(layout.two_responses),
    "combination:repeat_prompt": Kind(layout.repeat_prompt, {"prompt_to_repeat": TEXT}),
    "startend:end_checker": Kind(layout.end_phrase, {"end_phrase": TEXT}),
    "startend:quotation": Kind(layout.quotation),
    "change_case:capital_word_frequency": Kind(
        checks.capital_word_frequency, {"capital_relation": RELATION, "capital_frequency": COUNT}
    ),
    "change_case:english_capital": Kind(checks.english_capital),
    "change_case:english_lowercase": Kind(checks.english_lowercase),
    "punctuation:no_comma": Kind(checks.no_comma),
}
