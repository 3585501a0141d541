"""The final answer: last finished box or tag, braces balanced, nothing earlier recovered."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.maths.extract import final_answer

CASES = [
    ("no answer here", None),
    ("", None),
    (r"so \boxed{42}.", "42"),
    (r"\fbox{7}", "7"),
    (r"First \boxed{3}, no wait ... \boxed{5}", "5"),
    (r"\boxed{3} and then \boxed{", None),
    (r"\boxed{3} and then \boxed{4", None),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{\{1}", r"\{1"),  # an escaped brace is text
    (r"\boxed{1\\}", r"1\\"),  # two backslashes and a brace that closes
    (r"\boxed {9}", "9"),
    (r"\boxed{\boxed{2}}", "2"),
    (r"\boxed{}", ""),
    (r"\boxedx{3}", None),
    (r"\boxed 3", None),
    ("<answer>42</answer>", "42"),
    ("<answer> 4 2 </answer>", "4 2"),
    ("<answer>1</answer> <answer>2</answer>", "2"),
    ("<answer>1</answer> <answer>2", None),
    (r"<answer>It is \boxed{8}, surely.</answer>", "8"),
    (r"<answer>\boxed{8}, no, \boxed{9}</answer>", "9"),
    (r"\boxed{1} <answer>2</answer>", "2"),
    (r"<answer>2</answer> \boxed{1}", "1"),
    (r"<answer>\boxed{8</answer>", None),
    (r"<answer>5 <answer>6</answer>", "6"),
    ("</answer>", None),
    ("} } { \\boxed{1} }", "1"),
    (r"\boxed{3 or <answer>5</answer>", "5"),  # the last one that was begun has an end
    (r"\boxed{3 or \boxed{4}", "4"),
    (r"<answer>It is \boxed{8}", "8"),
    (r"\boxed{3}, so \boxed", None),
    (r"\boxed{3}, which \boxed means", "3"),
    (r"\\boxed{3}", None),  # a line break and the word boxed
]


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_hand_computed_cases(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@settings(deadline=None)
@given(st.text(alphabet="ab{}\\ <>/0123", max_size=60))
def test_balanced_content_comes_back(content: str) -> None:
    clean = content.replace("\\", "").replace("{", "").replace("}", "").replace("<", "").strip()
    assert final_answer(rf"x \boxed{{{clean}}} y") == clean
    assert final_answer(rf"\boxed{{{{{clean}}}}}") == f"{{{clean}}}"
    assert final_answer(rf"\boxed{{1}} \boxed{{{clean}") is None


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    found = final_answer(text)
    assert found is None or found in text


@pytest.mark.parametrize("part", [r"\boxed{", "<answer>", "{", "}", "\\", r"\boxed ", r"\boxed{}", "</answer>"])
def test_time_grows_with_the_length(part: str) -> None:
    text = part * (200_000 // len(part))
    begin = time.process_time()
    final_answer(text)
    assert time.process_time() - begin < 2
