"""What is prose, and what a user reads."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_rollouts import rollout

from aha.rewards.prose import final_text, prose


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("He paid $10 and then $20 for it.", "He paid $10 and then $20 for it."),
        ("He paid $10 or $20.", "He paid $10 or $20."),
        ("I paid $10, solve $x+y$ now.", "I paid $10, solve now."),
        ("有$10和$20。", "有$10和$20。"),
        ("由 $x^2=9$ 得 `x` 为 3", "由 得 为 3"),
        ("so $ \\frac{a}{b} $ it is", "so it is"),
        ("the $\\text{average speed}$ is", "the is"),
        ("cost $5. We compute \\frac{1}{2} of it and get $3", "cost $5. We compute {1}{2} of it and get $3"),
        ("a \\(x\\) b \\[y = \\text{speed}\\] c $$area$$ d", "a b c d"),
        ("a \\begin{align*} speed &= 3 \\end{align*} b", "a b"),
        ("<think>we</think> go <|im_end|>", "we go"),
        ("see https://a.b/c?d=e now", "see now"),
        ("a ```python\nprint(1)\n``` b ```\nopen", "a b"),
        ("留大于5的: [i for i in s if i>5][:3]。", "留大于5的: 。"),
        ("sum([i*2 for i in s]), sorted(s)[::-1], s.count('a')", "( ), (s)[::-1], s. ('a')"),
        ("[look for it in town] and count (them), a summer(s)", "[look for it in town] and count (them), a summer(s)"),
        ("", ""),
    ],
)
def test_prose(text: str, kept: str) -> None:
    assert prose(text).split() == kept.split()


@given(st.text(alphabet="a $\\()[]`<>|é等\n{}", max_size=60))
def test_prose_takes_letters_away_only(text: str) -> None:
    rest = iter(text)
    assert all(char in rest for char in prose(text) if char.isalpha())


PARTS = [
    "$", "$a", "a$ ", "$$", "\\(", "\\[", "\\begin{a}", "```", "`", "<a", "<|", "http://", "\\a{", "[a for a in ",
    "max(",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_prose_is_linear(part: str) -> None:
    began = time.process_time()
    prose(part * (100_000 // len(part)))
    assert time.process_time() - began < 2.0


def test_final_text() -> None:
    assert final_text(rollout("<think>a</think> b ")) == "b"
    assert final_text(rollout("<think>a</think><answer>b</answer>")) == "b"
    assert final_text(rollout("a</think>b", prefilled=True)) == "b"
    assert final_text(rollout("plain")) == "plain"
    assert final_text(rollout("<think>a")) is None
    assert final_text(rollout("a", prefilled=True)) is None
