"""The rewards of a batch: columns or one value for all, None for what has no score, light to import."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from aha import rewards
from aha.errors import UserError
from aha.rewards import functions, graders
from aha.types import Abstain, Failed, Outcome, Score


def test_importing_the_rewards_is_light() -> None:
    program = (
        "import sys; from aha.rewards import math_accuracy; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'sympy', 'pydantic', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_every_function_is_exported_and_has_a_docstring() -> None:
    assert sorted(rewards.__all__) == sorted(
        name for name, value in vars(functions).items() if getattr(value, "__module__", "") == functions.__name__
        and callable(value) and not name.startswith("_") and name != "outcomes"
    )  # fmt: skip
    assert all(getattr(rewards, name).__doc__ for name in rewards.__all__)


def test_outcomes_become_numbers_or_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: dict[str, Outcome] = {"1": Score(0.5, "half"), "2": Abstain("no opinion"), "3": Failed("broken")}
    monkeypatch.setitem(graders.ROW_REWARDS, "math", lambda text, columns: made[columns["answer"]])
    with caplog.at_level(logging.WARNING, logger="aha.rewards"):
        assert rewards.math_accuracy(["a", "b", "c", "d"], answer=["1", "2", "3", "3"]) == [0.5, None, None, None]
    assert caplog.messages == ["math: 2 of 4 completions could not be graded: broken"]


def test_a_value_stands_for_a_whole_column_and_others_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(text: str, columns: Any) -> Outcome:
        return Score(float(text == columns["answer"]))

    monkeypatch.setitem(graders.ROW_REWARDS, "math", compare)
    assert rewards.math_accuracy(["x", "y"], answer="x") == [1.0, 0.0]
    assert rewards.math_accuracy([], answer=[]) == []
    with pytest.raises(UserError, match="column 'answer' has 3 values for 2 completions; give one for each"):
        rewards.math_accuracy(["x", "y"], answer=["x", "y", "z"])


def test_trainer_arguments_are_passed_over() -> None:
    more = {"prompts": ["a"], "completion_ids": [[1]], "trainer_state": object(), "log_extra": print}
    assert rewards.math_accuracy([r"\boxed{2}"], answer=["2"], **more) == [1.0]


def test_maths() -> None:
    completions = [r"so \boxed{\frac{3}{4}}", [{"role": "assistant", "content": "<answer>0.7</answer>"}], "3/4"]
    assert rewards.math_accuracy(completions, answer=["0.75", 0.75, "0.75"]) == [1.0, 0.0, 0.0]
