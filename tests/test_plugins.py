"""A user's own task and reward, as the README shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aha.config import override
from aha.errors import UserError
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run
from aha.plugins import load_object
from aha.tasks.table import make_task
from aha.types import Score
from tiny_models import TinyFactory

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(heading: str) -> str:
    """The Python code under a heading of the README."""
    section = README.split(f"## {heading}", 1)[1]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return match[1]


def test_the_readmes_task_and_reward_train(tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task, reward = block("Your own task"), block("Your own reward")
    assert len(task.strip().splitlines()) <= 15 and len(reward.strip().splitlines()) <= 10
    Path("parity.py").write_text(task)
    Path("concise.py").write_text(reward)
    made = make_task("parity.py:Parity")
    for split in ("train", "test"):
        problem = made.problem(split, 3)
        assert made.grade(problem, made.gold(problem)) == Score(1.0)
        assert made.grade(problem, made.wrong(problem)) == Score(0.0)
    settings = [
        f"model={tiny('qwen3')}", "task=parity.py:Parity", "rewards={accuracy: 1, format: 1, concise.py:concise: 0.5}",
        "steps=1", "rollouts.questions=2", "rollouts.group=2", "rollouts.max_tokens=6", "template=short", "threads=1",
        "evaluation.problems=2", "evaluation.samples=2",
    ]  # fmt: skip
    run(override(recipe("zero"), settings), tmp_path / "run")
    rows = pq.read_table(tmp_path / "run/stages/01-zero/rollouts/step-000001.parquet").to_pylist()
    concise = [v for row in rows for v in row["verdicts"] if v["reward"] == "concise.py:concise"]
    assert len(concise) == 4 and {v["outcome"] for v in concise} == {"abstain"}


def test_faults_are_named(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.py", tmp_path / "broken.py"
    good.write_text("class Parity: ...\n")
    broken.write_text("1 / 0\n")
    for spec, sentence in [
        (f"{tmp_path}/none.py:X", "there is no file"),
        (f"{good}:Parrity", "did you mean 'Parity'"),
        (f"{broken}:X", "ZeroDivisionError"),
    ]:
        with pytest.raises(UserError, match=sentence):
            load_object(spec)
