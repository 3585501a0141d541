"""The R1 form: one closed piece of thinking, then a summary; the template may have opened it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_rollouts import TASK, rollout, score

from aha.rewards.format import r1_fault
from aha.rewards.table import REWARDS
from aha.types import Score

REWARD = REWARDS["format-r1"]


@pytest.mark.parametrize(
    "text",
    ["<think>3*5</think>It is 15.", " \n<think>\na\n</think>\n\nSo.\n", "3*5</think>It is 15.", "<think>a</think>a<b"],
)
def test_well_formed(text: str) -> None:
    assert r1_fault(text) is None and score(REWARD(TASK, rollout(text))) == 1.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no thinking"),
        ("It is 15.", "no thinking"),
        ("<think>3*5=15", "never closed"),
        ("<think>a</think>", "no summary"),
        ("<think>a</think> \n", "no summary"),
        ("a</think> ", "no summary"),
        ("<think> </think>b", "no reasoning"),
        ("</think>b", "no reasoning"),
        ("Sure. <think>a</think>b", "before <think>"),
        ("<think>a<think>b</think>c", "opened twice"),
        ("<think>a</think><think>b</think>c", "not there once"),
        ("<think>a</think>b<think>", "opened twice"),
        ("a</think>b</think>c", "not there once"),
        ("a</think><think>b", "not there once"),
        ("</think><think>a</think>b", "not there once"),
        ("<THINK>a</THINK>b", "no thinking"),
    ],
)
def test_malformed(text: str, why: str) -> None:
    outcome = REWARD(TASK, rollout(text))
    assert score(outcome) == 0.0 and isinstance(outcome, Score)
    assert why in outcome.why or text == "a</think><think>b"


def test_a_tag_that_the_template_forced_is_not_written_again() -> None:
    assert score(REWARD(TASK, rollout("a</think>b", prefilled=True))) == 1.0
    assert score(REWARD(TASK, rollout("<think>a</think>b", prefilled=True))) == 0.0


def test_a_cut_off_response_scores_0() -> None:
    assert score(REWARD(TASK, rollout("<think>a</think>b", stop="length"))) == 0.0


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n"]), max_size=8))
def test_what_passes_has_the_form(parts: list[str]) -> None:
    text = "".join(parts)
    if r1_fault(text) is None:
        reasoning, summary = text.split("</think>")
        assert summary.strip() and text.count("<think>") <= 1
        assert reasoning.strip().removeprefix("<think>").strip() and "<think>" not in summary
