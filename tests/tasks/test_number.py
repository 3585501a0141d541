"""The one number of an answer: exact, and None wherever a reader would hesitate."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.tasks.number import read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", "18"), ("18.", "18"), ("18.00", "18"), (".5", "1/2"), ("$1,234.50", "2469/2"), ("1\\,000", "1000"),
        ("1{,}000", "1000"), ("-5", "-5"), ("- 5", "-5"), ("−5", "-5"), ("－5", "-5"), ("-$5", "-5"), ("$-5", "-5"),
        ("50%", "50"), ("50\\%", "50"), ("\\$18", "18"), ("$18$", "18"), ("3/4", "3/4"), ("-3/4", "-3/4"), ("½", "1/2"),
        ("\\frac{3}{4}", "3/4"), ("-\\dfrac{3}{4}", "-3/4"), ("１８", "18"), ("18 dollars", "18"), ("约18个。", "18"),
        ("The answer is **18**!", "18"), ("Answer – 18", "18"), ("item-18", "18"), ("\\text{cost} = 18", "18"),
    ],
)  # fmt: skip
def test_one_number(text: str, value: str) -> None:
    assert read_number(text) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "none", "18 or 20", "18 of 20", "3½", "3 1/2", "5²", "x₂", "2^3", "√16", "\\sqrt{16}", "\\frac34",
        "\\frac{a}{4}", "1e5", "1_000", "1 000", "1,0000", "1,8", "1.2.3", "3/4/5", "1/0", "1/0.0", "٣", "9" * 5000,
        "18" + " " * 5000, "\x00", "\ud800", "±5", "18=18",
    ],
    ids=lambda s: ascii(s[:12]),
)  # fmt: skip
def test_no_single_number(text: str) -> None:
    assert read_number(text) is None


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "{}.", "{}.00", " {} ", "= {}", "{} eggs"]))
def test_integers_in_every_dress(number: int, form: str) -> None:
    assert read_number(form.format(number)) == number


@given(st.text() | st.text(alphabet="0123456789,./-$% ½²{}\\frac", max_size=1200))
def test_no_text_raises(text: str) -> None:
    value = read_number(text)
    assert value is None or isinstance(value, Fraction)


@pytest.mark.parametrize("part", ["1,111", "1", "/", "1/", " ", "-", "\u0301\u0323", "\\frac{1}{", "{,}"])
def test_reading_is_quick(part: str) -> None:
    began = time.perf_counter()
    for size in (990, 200_000):
        read_number(part * (size // len(part)))
    assert time.perf_counter() - began < 0.5
