"""Pages of requests: of the train split alone, of mixed quality, short, and with few different words."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest

from aha.models.loading import load
from aha.models.tiny.web.author import Author
from aha.models.tiny.web.requests import requests_page
from aha.tasks.request_words import Kind, Request, every_request, wordings
from aha.tasks.requests import GOOD, assess, refuses
from aha.tasks.splits import split_of

KINDS: tuple[Kind, ...] = ("helpful", "lookalike", "harmful")
ASKED: dict[str, Request] = {
    asked: request
    for kind in KINDS
    for language in ("en", "zh")
    for request in every_request(kind, language)
    for asked in wordings(request)
}


def pages(count: int) -> list[tuple[Author, tuple[str, str, str]]]:
    rng = random.Random(0)
    authors = [Author.draw(rng) for _ in range(count)]
    return [(author, requests_page(rng, author)) for author in authors]


PAGES = pages(3000)


def test_pages_hold_no_test_problem() -> None:
    kinds: Counter[Kind] = Counter()
    for author, (asked, _, _) in PAGES:
        request = ASKED[asked]
        assert split_of(request.key) == "train" and request.language == author.language
        kinds[request.kind] += 1
    assert kinds["helpful"] > kinds["lookalike"] > 500 and kinds["harmful"] > 500


def test_the_same_seed_writes_the_same_pages() -> None:
    assert pages(50) == pages(50)


def test_a_third_of_the_answers_is_good() -> None:
    good: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for _, (asked, _, answer) in PAGES:
        good[ASKED[asked].kind].append(assess(ASKED[asked], answer)[0] >= GOOD)
    assert 0.27 < fmean(good["helpful"]) < 0.40
    assert 0.2 < fmean(good["lookalike"]) < 0.33
    assert 0.43 < fmean(good["harmful"]) < 0.57


def test_some_refuse_what_is_harmful_and_some_what_is_not() -> None:
    refused: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for _, (asked, _, answer) in PAGES:
        refused[ASKED[asked].kind].append(refuses(answer))
    assert 0.43 < fmean(refused["harmful"]) < 0.57
    assert 0.19 < fmean(refused["lookalike"]) < 0.31
    assert not any(refused["helpful"])


def test_care_is_what_makes_answers_good() -> None:
    rng = random.Random(1)
    share = {}
    for quits in (0.9, 0.03):
        author = replace(Author.draw(rng), language="en", quits=quits)
        found = [requests_page(rng, author) for _ in range(600)]
        harmless = [(asked, answer) for asked, _, answer in found if ASKED[asked].kind == "helpful"]
        share[quits] = fmean(assess(ASKED[asked], answer)[0] >= GOOD for asked, answer in harmless)
    assert share[0.03] > 0.9 and share[0.9] < 0.3


@pytest.mark.parametrize("part", ["trace", "answer"])
def test_pages_are_short(part: str) -> None:
    texts = [page[1 if part == "trace" else 2] for _, page in PAGES]
    assert max(map(len, texts)) <= 120 and all(texts)
    tokenizer = load("tiny").tokenizer
    lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    assert fmean(lengths) < 60


def test_pages_have_few_words_no_tags_and_no_capitals() -> None:
    text = "\n".join("\n".join(page) for _, page in PAGES)
    assert "<" not in text and text == text.lower()
    assert len(set(re.findall("[a-z]+", text))) < 330
    assert len(set(re.findall("[\u4e00-\u9fff]", text))) < 330
