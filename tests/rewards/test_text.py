"""Measurements of text: counted once, exact, and linear."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.text import (
    REFLECTION_EN,
    REFLECTION_ZH,
    arithmetic_right,
    claims,
    mixes_languages,
    reflection_words,
    turns_back,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Wait, that is wrong. WAIT! However, let me check: but no error.", 7),
        ("waiting, checked, butter, mistakes, await", 0),
        ("我wait一下", 1),
        ("wait2 _but_", 2),
        ("等等，等一下，不对，错了", 4),
        ("错误了", 1),
        ("等等等等", 2),
        (" ".join(REFLECTION_EN), 10),
        ("。".join(REFLECTION_ZH), 12),
        ("", 0),
    ],
)
def test_reflection_words(text: str, count: int) -> None:
    assert reflection_words(text) == count


@pytest.mark.parametrize(
    ("text", "mixed"),
    [
        ("目标是24。wait, 3*5=15", True),
        ("we need 24。目标", True),
        ("目标是24", False),
        ("we need 24", False),
        ("<think>目标是24</think><answer>3*8</answer>", False),
        ("<|im_start|>目标", False),
        ("设 x=3，求 \\sin x 和 \\(a_{max} = b\\)", False),
        ("求 $\\text{speed} = 3$ 和 $$area$$ 和 $xy$", False),
        ("他有 $10 and then $20", True),
        ("代码 `return x` 如下 ```python\nprint(1)\n``` 完", False),
        ("代码 ```python\nprint(1", False),
        ("", False),
    ],
)
def test_mixes_languages(text: str, mixed: bool) -> None:
    assert mixes_languages(text) is mixed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3*5=15, 15+7=22", [("3*5=15", True), ("15+7=22", True)]),
        ("3*5=15+7=22", [("3*5=15+7", False), ("15+7=22", True)]),
        ("7*5-13=35-13=22", [("7*5-13=35-13", True), ("35-13=22", True)]),
        ("1 + 2 + 3 = 6.", [("1 + 2 + 3 = 6", True)]),
        ("(7+5)*3-8=28", [("(7+5)*3-8=28", True)]),
        ("10-(3-2)=9", [("10-(3-2)=9", True)]),
        ("(3+4=8)", [("3+4=8", False)]),
        ("1) 3+4=7", [("3+4=7", True)]),
        ("- 3+5=8", [("3+5=8", True)]),
        ("-3+5=2", [("-3+5=2", True)]),
        ("5-8=-3", [("5-8=-3", True)]),
        ("8/3=2", [("8/3=2", False)]),
        ("**3+4=7**", [("3+4=7", True)]),
        ("3×4=12，12÷6=2", [("3×4=12", True), ("12÷6=2", True)]),
        ("3\\times 4 = 12", [("3* 4 = 12", True)]),
        ("60 x 60/100 = 36", [("60 * 60/100 = 36", True)]),
        ("so.3+4=7", [("so.3+4=7"[3:], True)]),
        ("1,000+5=1,005", [("1,000+5=1,005", True)]),
        ("再看3*4=12：", [("3*4=12", True)]),
        ("3+4=7 - next", [("3+4=7", True)]),
        ("1+1=2\n2+2=5", [("1+1=2", True), ("2+2=5", False)]),
    ],
)
def test_claims(text: str, found: list[tuple[str, bool]]) -> None:
    assert claims(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "x+3=5", "2x+3=5", "x3+4=7", "2.5*3=7", "7/2=3.5", "2^3+1=9", "2**3+1=9", "(x+3)*5=20", "3+4=7-x", "50%+3=4",
        "3/0=0", "a=3", "5=5", "22=15+7", "3+4=", "=7", "3+4=\n7", "3+4==7", "99999999999*2=3", "5²+1=26",
        "8 x 1 1/2 = 12", "2(6+12)=36", "(1)(2+3)=5", ".5*2=1", "is .5*2=1",
    ],
)  # fmt: skip
def test_what_is_no_claim(text: str) -> None:
    assert claims(text) == []


def test_arithmetic_right_counts_over_all_texts() -> None:
    assert arithmetic_right(["3*5=15, 15+7=23", "", "1+1=2"]) == (2, 3)
    assert arithmetic_right([]) == (0, 0)


NUMBERS = st.integers(0, 10**6)


@given(NUMBERS, st.sampled_from("+-*"), NUMBERS, st.integers(-1, 1), st.sampled_from(["", " "]))
def test_a_claim_is_true_where_it_is(a: int, operator: str, b: int, off: int, space: str) -> None:
    value = {"+": a + b, "-": a - b, "*": a * b}[operator] + off
    if abs(value) < 10**9:
        text = space.join([str(a), operator, str(b), "=", str(value)])
        assert claims(f"so {text}, yes") == [(text, off == 0)]


@given(st.text(alphabet="0123456789+-*/()= .,^x等\n", max_size=80))
def test_claims_never_crash_and_stand_in_the_text(text: str) -> None:
    for claim, _ in claims(text):
        assert claim in text.replace("x", "*")  # a cross between numbers is read as one


@pytest.mark.parametrize(
    "part",
    ["1+", "1=", "=", "(", "(1+", "1,111", "*", "\\(", "\\[", "$", "$$", "```", "`", "<a", "<|", "等", "1 ", " "],
)
def test_measurements_are_linear(part: str) -> None:
    text = part * (100_000 // len(part)) + "1=2"
    began = time.process_time()
    claims(text), mixes_languages(text), reflection_words(text)
    assert time.process_time() - began < 3.0


def test_turning_back_is_not_checking() -> None:
    assert turns_back("8+7=15 no. but wait, 3*5=15") and turns_back("不行。等等，3*5=15")
    assert not turns_back("3*5=15 yes! let me check, verify, 检查")
