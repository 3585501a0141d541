"""IFEval's instructions: each kind follows and breaks, in the strict and the loose reading, and never hangs."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instruction_examples import BREAK, FOLLOW, ROWS, TEXTS, name_of

from aha.errors import UserError
from aha.rewards.instructions import KINDS, check, grade, instruction_all, instruction_share, unusable
from aha.rewards.instructions.measure import paragraphs, sentences, words
from aha.types import Abstain, Outcome, Rollout, Score

NO_DETECTOR = {"zh", "ja", "ko", "th", "bn", "pa", "gu", "ta", "te", "kn"}  # their scripts tell
LIGHT = [row for row in ROWS if row["kwargs"].get("language", "zh") == "zh"]


def follows(text: str, name: str, loose: bool = False, **kwargs: Any) -> bool:
    return check(text, {"id": name, "kwargs": kwargs}, loose=loose).followed


def needs_detector(row: dict[str, Any]) -> bool:
    return row["kwargs"].get("language", "zh") not in NO_DETECTOR


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_each_kind(row: dict[str, Any]) -> None:
    if needs_detector(row):
        pytest.importorskip("py3langid", reason="py3langid is not installed: pip install py3langid")
    followed, broken = FOLLOW[row["id"]](**row["kwargs"]), BREAK[row["id"]](**row["kwargs"])
    assert check(followed, row).followed, check(followed, row)
    assert check(followed, row, loose=True).followed
    assert not check(broken, row).followed, check(broken, row)
    assert not check(" \n", row).followed


def test_all_25_kinds_are_there() -> None:
    assert len(KINDS) == 25 and set(KINDS) == set(FOLLOW) == set(BREAK) == {row["id"] for row in ROWS}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three? Four", 4), ("Dr. A. Smith paid 3.50 to Mr. Li.", 1), ("Well... maybe. So… No!", 3),
        ("1. Buy milk\n2. Go home.", 1),
        ("He said \"go.\" She went.", 2), ("Use e.g. flour, etc. and salt.", 1), ("At 5 p.m. We left.", 2),
        ("你好。再见！", 2),
        ("यह है। वह है।", 2), ("hello. this is. so", 3), ("***\n---", 0), ("", 0), ("A title\n\nA text.", 1),
        ("What?! No way.", 2), ("x.y.z", 1),
    ],
)  # fmt: skip
def test_sentences(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_words_and_paragraphs() -> None:
    assert words("don't stop, café 3.5") == ["don", "t", "stop", "café", "3", "5"]
    assert words("我有3个apples") == ["我", "有", "3", "个", "apples"]
    assert len(words("रोटी काफी हैं")) == 3
    assert paragraphs("a\nb\n\n \n c\n") == ["a\nb", " c"]


@pytest.mark.parametrize(
    ("text", "name", "kwargs", "followed"),
    [
        ("The Loaves", "keywords:frequency", {"keyword": "loaf", "relation": "at least", "frequency": 1}, False),
        ("loafing LOAF", "keywords:frequency", {"keyword": "loaf", "relation": "at least", "frequency": 2}, True),
        ("a renamed file", "keywords:forbidden_words", {"forbidden_words": ["name", "rename"]}, True),
        ("***\na\n***\nb\n***", "length_constraints:number_paragraphs", {"num_paragraphs": 2}, True),
        ("a\n***\n***\nb", "length_constraints:number_paragraphs", {"num_paragraphs": 2}, False),
        ("a\n\nb", "length_constraints:number_paragraphs", {"num_paragraphs": 2}, False),
        ("See you. p.s. bring bread", "detectable_content:postscript", {"postscript_marker": "P.S."}, True),
        ("P. P. S. bread", "detectable_content:postscript", {"postscript_marker": "P.P.S"}, True),
        ("P.P.S. bread", "detectable_content:postscript", {"postscript_marker": "P.S."}, False),
        ("apps. bread", "detectable_content:postscript", {"postscript_marker": "P.S."}, False),
        ("**a\nb**", "detectable_format:number_highlighted_sections", {"num_highlights": 1}, False),
        ("* a\n* b *c*", "detectable_format:number_highlighted_sections", {"num_highlights": 2}, False),
        ("***a*** **b** *c*", "detectable_format:number_highlighted_sections", {"num_highlights": 3}, True),
        ("- a\n-b\n* c\n**d**", "detectable_format:number_bullet_lists", {"num_bullets": 2}, True),
        ("section 1", "detectable_format:multiple_sections", {"section_spliter": "Section",
        "num_sections": 1}, False),
        ("42", "detectable_format:json_format", {}, False),
        ('"{}"', "detectable_format:json_format", {}, False),
        ("[" * 10_000, "detectable_format:json_format", {}, False),
        ("<< >>", "detectable_format:title", {}, False),
        ("<<a\nb>>", "detectable_format:title", {}, False),
        ("a ****** b ****** c", "combination:two_responses", {}, False),
        ("****** a ****** b", "combination:two_responses", {}, True),
        ("write  A\npoem. x", "combination:repeat_prompt", {"prompt_to_repeat": "Write a poem."}, True),
        ('He said "that is all you NEED!"', "startend:end_checker", {"end_phrase": "That is all you need!"}, True),
        ("“so”", "startend:quotation", {}, True),
        ('"', "startend:quotation", {}, False),
        ("一个，两个", "punctuation:no_comma", {}, False),
        ("I AM A MAN", "change_case:capital_word_frequency",
         {"capital_relation": "less than", "capital_frequency": 4}, False),
        ("ВСЁ", "change_case:english_capital", {}, False),
        ("123", "change_case:english_capital", {}, False),
        ("Weekend's here", "length_constraints:nth_paragraph_first_word",
         {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "weekend"}, True),
        ("Weekends", "length_constraints:nth_paragraph_first_word",
         {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "weekend"}, False),
    ],
)  # fmt: skip
def test_by_hand(text: str, name: str, kwargs: dict[str, Any], followed: bool) -> None:
    assert follows(text, name, **kwargs) is followed


def test_the_loose_reading() -> None:
    quoted = 'Sure, here it is:\n"a text"\nHope it helps'
    assert not follows(quoted, "startend:quotation") and follows(quoted, "startend:quotation", loose=True)
    assert follows('**"a text"**', "startend:quotation", loose=True)
    assert not follows('x "a text"', "startend:quotation", loose=True)
    assert follows("Sure, here:\nno comma", "punctuation:no_comma", loose=True)
    assert not follows("a, b\nc, d\ne, f", "punctuation:no_comma", loose=True)


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ([{"id": "punctuation:no_coma", "kwargs": {}}], "did you mean 'punctuation:no_comma'"),
        ([{"id": "startend:quotation", "kwargs": {"n": 1}}], "unknown argument 'n'"),
        ([{"id": "keywords:existence", "kwargs": {}}], "argument 'keywords'"),
        ([{"id": "keywords:existence", "kwargs": {"keywords": "abc"}}], "give a list of texts"),
        ([{"id": "length_constraints:number_words", "kwargs": {"relation": "about", "num_words": 3}}],
         "'at least' or 'less than'"),
        ([{"id": "length_constraints:number_words", "kwargs": {"relation": "at least", "num_words": "3"}}],
         "a whole number"),
        ([{"id": "keywords:letter_frequency", "kwargs": {"letter": "ab", "let_relation": "at least",
        "let_frequency": 1}}],
         "one character"),
        ([{"id": "language:response_language", "kwargs": {"language": "xx"}}], "ISO 639"),
        ([{"kwargs": {}}], "an instruction is"),
        (["punctuation:no_comma"], "an instruction is"),
        ("punctuation:no_comma", "instructions are str"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_named(instructions: Any, message: str) -> None:
    assert message in (unusable(instructions) or "")
    with pytest.raises(UserError):
        grade("a text", instructions)


def test_arguments_of_a_table_of_rows() -> None:
    row = {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 2.0, "keywords": None}}
    assert unusable([row]) is None and check("* a\n* b", row).followed
    assert unusable([{"id": "punctuation:no_comma", "kwargs": None}]) is None


TWO = [
    {"id": "punctuation:no_comma", "kwargs": {}},
    {"id": "length_constraints:number_words", "kwargs": {"relation": "less than", "num_words": 4}},
]


def value(outcome: Outcome) -> float:
    assert isinstance(outcome, Score), outcome
    return outcome.value


def test_grade() -> None:
    assert value(grade("a b", TWO)) == 1.0 and value(grade("a, b", TWO)) == 0.5
    assert value(grade("a, b c d", TWO)) == 0.0 and value(grade("a, b", TWO, scoring="all")) == 0.0
    outcome = grade("a, b", TWO)
    assert isinstance(outcome, Score) and outcome.why == "1 of 2 followed; not punctuation:no_comma: 1 commas"
    assert isinstance(grade("a", []), Abstain)


def rollout(text: str, stop: Any = "stop", instructions: Any = TWO) -> Rollout:
    from aha.models.templates import parse
    from aha.types import Completion, Problem

    problem = Problem("p", "t", (), "", hidden={"instructions": instructions})
    return Rollout(problem, (1,), Completion((2,), (-0.5,), stop, 0), text, parse(text))


def test_the_rewards_read_what_follows_the_thinking() -> None:
    task: Any = None
    text = "<think>well, one, two, three</think>a b"
    assert value(instruction_share(task, rollout(text))) == value(instruction_all(task, rollout(text))) == 1.0
    assert value(instruction_share(task, rollout("<think>so</think>a, b"))) == 0.5
    assert value(instruction_all(task, rollout("<think>so</think>a, b"))) == 0.0
    assert value(instruction_share(task, rollout("<think>a b"))) == 0.0
    assert value(instruction_share(task, rollout(text, "length"))) == 0.0
    assert isinstance(instruction_share(task, rollout(text, instructions=[])), Abstain)


def test_a_language_that_its_script_does_not_tell_needs_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    from aha.rewards import language

    language._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(UserError, match="pip install py3langid"):
        follows(TEXTS["de"], "language:response_language", language="de")
    for code in NO_DETECTOR:
        assert follows(TEXTS[code], "language:response_language", language=code)


@given(st.text(alphabet=" \n*[]<>\"'-#.,aAéP.S1等", max_size=80))
def test_any_response_is_checked(text: str) -> None:
    for row in LIGHT:
        found = check(text, row)
        assert isinstance(found.followed, bool) and (not found.followed or check(text, row, loose=True).followed)


PARTS = ["a. ", "[", "*", "* ", "<<", "P.S. ", "P.", "\n", "\n***", "1. ", "é", "等", " ", "'", "[a", ">>", "e.g. "]


@pytest.mark.parametrize("part", PARTS)
def test_time_is_linear(part: str) -> None:
    text = part * (20_000 // len(part))
    for row in LIGHT:
        began = time.process_time()
        check(text, row)
        assert time.process_time() - began < 2.0, row
