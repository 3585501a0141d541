"""The examples in the documentation do what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from aha.rewards.sandbox import available

DOCS = Path(__file__).parent.parent / "docs"


def test_examples_of_the_rewards() -> None:
    text = (DOCS / "rewards.md").read_text(encoding="utf-8")
    missing = available()
    example = doctest.DocTestParser().get_doctest(text, {}, "rewards.md", None, 0)
    if missing is not None:
        for part in example.examples:
            if "code" in part.source or "add" in part.source:
                part.options[doctest.SKIP] = True
    shown: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    result = runner.run(example, out=shown.append)
    assert not result.failed, "".join(shown)
    assert result.attempted > 25
    if missing is not None:
        pytest.skip(f"the examples of code were not run: {missing}")
