"""Prompts that no rule can check: which reward model each is for, and no score but for silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha.errors import UserError
from aha.tasks.checking import check
from aha.tasks.table import make_task
from aha.types import Abstain, Score


def test_a_prompt_names_its_reward_model(tmp_path: Path) -> None:
    rows = [{"prompt": f"Write {n}."} for n in range(30)] + [{"prompt": "如何？", "preference": "safety"}]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = make_task(f"prompts:{file}")
    problems = [task.problem(split, i) for split in ("train", "test") for i in range(task.size(split) or 0)]
    assert len(problems) == 31
    assert sorted({(p.hidden["preference"], p.language) for p in problems}) == [("helpful", "en"), ("safety", "zh")]
    assert isinstance(task.grade(problems[0], "anything"), Abstain)
    assert task.grade(problems[0], None) == Score(0.0, "no answer")
    report = check(f"prompts:{file}")
    assert report["faults"] == [] and report["without_gold"] == 31


def test_a_reference_is_for_judges_alone(tmp_path: Path) -> None:
    rows = [{"prompt": f"Name city {n}.", "reference": "Paris"} for n in range(30)]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = make_task(f"prompts:{file}")
    assert {task.problem("train", i).reference for i in range(task.size("train") or 0)} == {"Paris"}
    assert isinstance(task.grade(task.problem("train", 0), "Lyon"), Abstain)
    file.write_text('{"prompt": "a", "reference": 3}\n')
    with pytest.raises(UserError, match="row 1 has the reference 3; write it as a text"):
        make_task(f"prompts:{file}")


def test_an_unknown_preference_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "preference": "nice"}\n')
    with pytest.raises(UserError, match="row 1 has the preference 'nice'"):
        make_task(f"prompts:{tmp_path / 'p.jsonl'}")
