"""Verdicts: the triples, the kinds, the conventions, and what is a failure and what a wrong answer."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.rewards.maths import grade, grade_many, readable
from aha.rewards.maths.matchers import KINDS, MATCHERS, read_gold
from aha.types import Failed, Outcome, Score

TRIPLES = [json.loads(line) for line in (Path(__file__).parent / "triples.jsonl").read_text().splitlines()]


def right(outcome: Outcome) -> bool:
    assert isinstance(outcome, Score), outcome
    return outcome.value == 1


def test_triples() -> None:
    outcomes = grade_many([(t["answer"], t["gold"]) for t in TRIPLES])
    wrong = [(t, o) for t, o in zip(TRIPLES, outcomes, strict=True) if right(o) != t["right"]]
    assert len(TRIPLES) >= 250
    assert len(wrong) <= 0.01 * len(TRIPLES), wrong
    assert not any("longer than" in o.why and "2 s" in o.why for o in outcomes if isinstance(o, Score))
    by_category = Counter(t["category"] for t in TRIPLES)
    assert Counter(t["category"] for t, _ in wrong) <= Counter({c: max(1, n // 20) for c, n in by_category.items()})


def test_triples_hold_both_verdicts_once() -> None:
    assert len({(t["gold"], t["answer"]) for t in TRIPLES}) == len(TRIPLES)
    assert 0.3 < sum(t["right"] for t in TRIPLES) / len(TRIPLES) < 0.7


def test_every_gold_equals_itself() -> None:
    golds = sorted({t["gold"] for t in TRIPLES})
    assert [g for g, o in zip(golds, grade_many([(g, g) for g in golds]), strict=True) if not right(o)] == []
    assert [g for g in golds if readable(g) is not None] == []


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("C", "choice"), (r"\text{(C)}", "choice"), ("C) 14", "choice"), ("c", "expression"), ("K", "expression"),
        (r"\text{Evelyn}", "text"), ("ABC", "text"), ("no solution", "text"), (r"\emptyset", "text"),
        ("42", "number"), (r"3\sqrt{13}", "number"), (r"90^\circ", "number"), (r"\$18.90", "number"), ("i", "number"),
        ("52_8", "base"), (r"4210_{5}", "base"), ("x_2", "expression"),
        ("1,-2", "set"), (r"\{1,2\}", "set"), (r"1 \pm \sqrt{19}", "set"), ("58,500", "number"),
        ("(1,2),(3,4)", "set"),
        ("(3,4]", "interval"), ("[1,2]", "interval"), (r"(2,\infty)", "interval"), (r"x \in [-2,7]", "interval"),
        (r"x \ge 3", "interval"), (r"(0,9) \cup (9,36)", "interval"), ("(2,4)", "tuple"), ("(6,1,-1)", "tuple"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "matrix"), ("x=5", "equation"), ("y = 2x + 3", "equation"),
        ("2x + 3y < 6", "equation"), ("p - q", "expression"), (r"\cot x", "expression"), ("2k", "expression"),
    ],
)  # fmt: skip
def test_the_gold_decides_the_kind(gold: str, kind: str) -> None:
    assert read_gold(gold, "auto").kind == kind
    outcome = grade(gold, gold)
    assert right(outcome)
    assert isinstance(outcome, Score) and outcome.why.startswith(kind + ": ")


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "verdict"),
    [
        ("100,200", "100,200", "set", True), ("200,100", "100,200", "set", True), ("200,100", "100,200", "auto", False),
        ("C", "C", "text", True), ("(C)", "C", "choice", True), ("2<x<4", "(2,4)", "interval", True),
        ("[2,4]", "(2,4)", "interval", False), ("(2,4)", "(2,4)", "tuple", True), ("BA", "AB", "expression", True),
        ("BA", "AB", "auto", False), ("5", "5", "number", True), ("101", "101_2", "base", True),
        ("11 apples", "11 apples", "text", True), ("11", "11 apples", "text", False), ("11", "11 apples", "auto", True),
    ],
)  # fmt: skip
def test_a_kind_that_is_given(answer: str, gold: str, kind: str, verdict: bool) -> None:
    assert right(grade(answer, gold, kind)) == verdict


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("50%", "50", True), ("50%", "0.5", True), ("0.5", r"50\%", True), ("50", r"50\%", True), ("50", "0.5", False),
        ("0.5", "50", False), ("90°", "90", True), (r"\frac{\pi}{2}", r"90^\circ", True), ("90 radians", "90°", False),
        ("12 cm", "12", True), ("12", "12 cm", True), ("12 m", "12 cm", False), ("12 edges", "12 sides", True),
        ("15 cm", r"15\text{ cm}^2", False), ("3 hrs", "3 hours", True), ("3x", "3", False), ("3 s", "3s", True),
        ("5 million", "5000000", True), ("3 dozen", "36", True), (r"\log 100", r"2\ln 10", True),
        (r"\frac{x}{x}", "x/x", True), (r"\sqrt{x^2}", "x", False), ("2x=10", "x=5", True), ("x^2=25", "x=5", False),
        ("-2x-3y > -6", "2x+3y<6", True), ("2x+3y>6", "2x+3y<6", False), ("4x+6y<12", "2x+3y<6", True),
        ("5=x", "5", True), ("5=6", "5", False), ("e=5", "5", True),
        (r"2+3=5\approx 5.01", "5", True), (r"x\approx 5.01", "5", False), (r"\frac13\approx 0.33", "0.33", False),
    ],
)  # fmt: skip
def test_conventions(answer: str, gold: str, verdict: bool) -> None:
    assert right(grade(answer, gold)) == verdict


def test_no_answer_is_wrong() -> None:
    assert grade(None, "5") == Score(0.0, "no answer")
    assert not right(grade("", "5"))


@pytest.mark.parametrize("gold", ["", " ", r"\frac{1}{", "5/0", "0^0", "((", r"\unknown{3}", "5 5", "\x00", "9" * 5000])
def test_a_gold_that_cannot_be_read_is_a_failure(gold: str) -> None:
    reason = readable(gold)
    assert reason is not None and "cannot be read" in reason
    for answer in (gold, "5", None):
        outcome = grade(answer, gold)
        assert isinstance(outcome, Failed) and "cannot be read" in outcome.reason


def test_a_gold_that_is_not_of_its_kind_is_a_failure() -> None:
    for gold, kind in (("5", "choice"), ("5", "base"), ("5", "matrix"), ("x", "number"), ("5", "equation")):
        assert readable(gold, kind) is not None
        assert isinstance(grade(gold, gold, kind), Failed)


def test_an_unknown_kind_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="'numbr'; did you mean 'number'"):
        grade("5", "5", "numbr")
    assert set(KINDS) == {"auto", *MATCHERS}


def test_many_keep_their_order() -> None:
    pairs = [(str(n) if n % 3 else rf"\sqrt{{{n * n + 1}}}", rf"\sqrt{{{n * n}}}") for n in range(1, 60)]
    assert [right(o) for o in grade_many(pairs)] == [bool(n % 3) for n in range(1, 60)]
    assert grade_many([]) == []


def test_from_many_threads() -> None:
    found: list[bool] = []

    def ask(n: int) -> None:
        found.append(right(grade(rf"{n}\sqrt{{2}}", rf"\sqrt{{{2 * n * n}}}")))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 12


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_a_fraction_in_every_spelling(above: int, below: int) -> None:
    gold = rf"\frac{{{above}}}{{{below}}}"
    sign, size = ("-" if above < 0 else ""), abs(above)
    for answer in (f"{above}/{below}", rf"{sign}\dfrac{{{size}}}{{{below}}}", rf"\frac{{{-above}}}{{-{below}}}"):
        assert right(grade(answer, gold))
    assert not right(grade(f"{above + 1}/{below}", gold))
    assert right(grade(f"{size:,}", f"{size}"))


@settings(deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True))
def test_sets_have_no_order_and_tuples_have_one(numbers: list[int]) -> None:
    swapped = numbers[::-1]
    written, other = ", ".join(map(str, numbers)), ", ".join(map(str, swapped))
    assert right(grade(rf"\{{{other}\}}", written))
    assert not right(grade(f"({other})", f"({written})"))
    assert not right(grade(", ".join(map(str, numbers[1:])), written))
