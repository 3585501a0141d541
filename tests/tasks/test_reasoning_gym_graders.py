"""The readers of reasoning-gym's answers, by hand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.tasks.reasoning_gym_graders import GRADERS


@pytest.mark.parametrize(
    ("grader", "gold", "right", "wrong"),
    [
        ("number", "3037", ["3037", "3,037", " 3037.0 ", "x = 3037", "The sum is 3037."], ["3038",
        "3037 or 3038", "", "-3037"]),
        ("number", "-4", ["-4", "−4"], ["4", "- 4 4"]),
        ("decimal", "2.98141124210", ["2.98141124210", "2.9814112421", "2.98141124209999"], ["2.9814",
        "2.98141124310", "2"]),
        ("decimal", "0.000012", ["0.000012", "0.0000120000000000001"], ["0.000013", "0", "0.00001200001"]),
        ("decimal", "0", ["0", "0.000", "-0"], ["0.0001"]),
        (
            "fraction", "$\\frac{131}{319}$", ["131/319", "131 / 319", "\\frac{131}{319}",
            "$\\dfrac{131}{319}$", "**131/319**"],
            ["262/638", "0.41", "131", "131/0", "319/131", "\\frac{131}{319} or 1"],
        ),
        ("fraction", "-3/1", ["-3", "-3/1"], ["3", "-6/2"]),
        ("digits", "3a0", ["3a0", "3A0", "`3a0`", "03a0", "3a0_13", "3a0_{13}"], ["3a", "3a0 x", "930"]),
        ("digits", "11", ["11", "0b11", "0011"], ["0b12", ""]),
        ("word", "gnisucxe", ["gnisucxe", "Gnisucxe", '"gnisucxe".'], ["excusing", "gnisucxe gnisucxe", ""]),
        ("word", "TO THIS WORK MR", ["TO THIS WORK MR", "to this  work mr."], ["TO THIS WORK", "TOTHISWORKMR"]),
        ("list", "and, the, Verne", ["and, the, Verne", "and,the,Verne", "[and, the, Verne]",
        "['and', 'the', 'Verne']"],
         ["and, the, verne", "the, and, Verne", "and the Verne", "and, the", "and, the, Verne,"]),
        ("yes_no", "Yes", ["Yes", "yes.", "**YES**", "Yes, it follows. Yes."], ["No", "yes or no",
        "yesterday", "", "true"]),
        ("duration", "67 days, 01:04:00", ["67 days, 01:04:00", "67 days 1:04:00"], ["67 days", "01:04:00",
        "66 days, 25:04:01"]),
        ("duration", "01:45:29.840", ["01:45:29.840", "1:45:29.84"], ["01:45:29", "01:45:29.841", "1 day"]),
        ("duration", "03:30", ["03:30", "3:30", "03:30:00"], ["03:31", "330", ""]),
    ],
)  # fmt: skip
def test_answers(grader: str, gold: str, right: list[str], wrong: list[str]) -> None:
    key = GRADERS[grader].key
    assert key(gold) is not None
    assert [key(answer) for answer in right] == [key(gold)] * len(right)
    assert key(gold) not in [key(answer) for answer in wrong]


HOSTILE = [
    "", " ", "9" * 10_000, "9**9**9", "__import__('os')", "\x00", "\ud800", "½", "(" * 10_000, "yes " * 10_000,
    "a" * 100_000, "1:" * 50_000, ",," * 50_000, "-" * 100_000, "1 day, " * 10_000, "ﷺ" * 2000, "0." + "0" * 900 + "1",
]  # fmt: skip


@pytest.mark.parametrize("grader", GRADERS)
def test_hostile_answers_are_read_quickly(grader: str) -> None:
    began = time.process_time()
    for answer in HOSTILE:
        GRADERS[grader].key(answer)
    assert time.process_time() - began < 2.0


@given(st.text(max_size=60))
def test_any_text_is_read(answer: str) -> None:
    for grader in GRADERS.values():
        assert grader.key(answer) != ""
