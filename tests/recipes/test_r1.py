"""The whole pipeline at the smallest size: every stage runs, reads what it should, and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from aha.config import CollectStage
from aha.pipeline.recipes.r1 import r1
from aha.pipeline.run import run
from shrink import shrunk
from small_runs import KillAt, Killed, steady, weights
from tiny_models import TinyFactory


def stage(out: Path, name: str) -> Path:
    return next((out / "stages").glob(f"*-{name}"))


def test_every_stage_runs_and_resumes(tiny: TinyFactory, tmp_path: Path) -> None:
    recipe = shrunk(r1(), str(tiny("qwen3", max_position_embeddings=512)))
    result = run(recipe, tmp_path / "run")
    for name in recipe.stages:
        assert json.loads((stage(tmp_path / "run", name) / "stage.json").read_text())["state"] == "finished", name
    assert set(result) == set(recipe.stages["evaluated"].models)  # type: ignore[union-attr]
    table = (stage(tmp_path / "run", "evaluated") / "table.md").read_text()
    assert table.splitlines()[0] == "|  | " + " | ".join(result) + " |" and "logic, pass@1" in table
    helpful = json.loads((stage(tmp_path / "run", "helpful") / "model/reward.json").read_text())
    assert helpful["reads"] == "summary" and helpful["spread"] > 0
    broken = 0
    for step in (1, 2) * (len(recipe.stages) + 1):
        try:
            run(recipe, tmp_path / "broken", KillAt(step))
        except Killed:
            broken += 1
    assert run(recipe, tmp_path / "broken") == result and broken > len(recipe.stages) // 2
    for name, made in recipe.stages.items():
        one, two = stage(tmp_path / "run", name), stage(tmp_path / "broken", name)
        assert steady(one / "metrics.jsonl") == steady(two / "metrics.jsonl"), name
        if isinstance(made, CollectStage):
            assert (one / "data.jsonl").read_bytes() == (two / "data.jsonl").read_bytes(), name
        elif made.kind != "evaluate":
            left, right = weights(one / "model"), weights(two / "model")
            assert all(torch.equal(left[key], right[key]) for key in left), name


def test_preferences_count_in_the_last_steps_only(tiny: TinyFactory, tmp_path: Path) -> None:
    recipe = shrunk(r1(), str(tiny("qwen3", max_position_embeddings=512)))
    last = recipe.stages["r1"]
    halves = {name: choice.model_copy(update={"last_share": 0.5}) for name, choice in last.preferences.items()}
    only = {name: recipe.stages[name] for name in ("helpful", "safety")}
    only = {name: made.model_copy(update={"start": "base"}) for name, made in only.items()}
    alone = last.model_copy(update={"start": "base", "preferences": halves, "task": {"requests": 1.0}})
    run(recipe.model_copy(update={"stages": {**only, "r1": alone}}), tmp_path / "run")
    first, second = steady(stage(tmp_path / "run", "r1") / "metrics.jsonl")
    assert not {"reward/helpful", "reward/safety"} & set(first)
    assert {"reward/helpful", "reward/safety"} & set(second) and "reward/accuracy" not in second
    for name in {"reward/helpful", "reward/safety"} & set(second):
        assert 0 <= second[name] <= 1


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ("dev1", {"start": "dev2"}, "'dev1' starts from 'dev2'"),
        ("dev1", {"start": "cold"}, "'dev1' starts from 'cold', which is no model"),
        ("dev1", {"data": ("zero",)}, "'dev1' reads 'zero'"),
        ("dev3", {"start": "helpful"}, "'dev3' starts from 'helpful'"),
    ],
)
def test_stages_read_what_comes_before_them(where: str, value: dict[str, object], sentence: str) -> None:
    from aha.config import validate
    from aha.errors import UserError

    data = r1().model_dump()
    data["stages"][where] |= value
    with pytest.raises(UserError, match=sentence):
        validate(data)
