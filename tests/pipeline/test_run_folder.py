"""The run folder: one owner, one recipe, whole files, and rewinding to a checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from aha.choices import EndpointChoice, SpeakerChoice
from aha.config import CollectStage, Recipe, override
from aha.errors import UserError
from aha.pipeline.recipes import recipe
from aha.pipeline.run_folder import RunFolder
from aha.types import StepMetrics


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run", recipe("zero"))
    with pytest.raises(UserError, match="in use by another process"):
        RunFolder(tmp_path / "run", recipe("zero"))
    first.close()
    RunFolder(tmp_path / "run", recipe("zero")).close()


def test_another_recipe_is_refused_and_named(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", recipe("zero")).close()
    changed = override(recipe("zero"), ["optimiser.lr=1e-3"])
    with pytest.raises(UserError, match=r"stages\.zero\.optimiser\.lr is 3e-06, not 0\.001"):
        RunFolder(tmp_path / "run", changed)
    RunFolder(tmp_path / "run", recipe("zero")).close()


def test_fields_that_came_later_and_ways_to_an_endpoint_are_no_other_recipe(tmp_path: Path) -> None:
    def collecting(url: str, model: str, **more: Any) -> Recipe:
        choice = SpeakerChoice(endpoint=EndpointChoice(url=url, model=model, **more))
        return Recipe(name="r", stages={"gather": CollectStage(judge=choice)})

    RunFolder(tmp_path / "run", collecting("http://one/v1", "m")).close()
    file = tmp_path / "run" / "recipe.yaml"
    written = yaml.safe_load(file.read_text())
    del written["stages"]["gather"]["unrefined"], written["stuck_after_s"]
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    RunFolder(tmp_path / "run", collecting("http://one/v1", "m")).close()
    priced = {"dollars_a_million_out": 2.0, "most_dollars": 5.0, "key": "KEY", "concurrency": 3, "timeout_s": 3}
    RunFolder(tmp_path / "run", collecting("http://two:8000/v1", "m", **priced)).close()
    with pytest.raises(UserError, match=r"its stages\.gather\.judge\.endpoint\.model is 'm', not 'n'"):
        RunFolder(tmp_path / "run", collecting("http://one/v1", "n"))
    with pytest.raises(UserError, match=r"endpoint\.extra\.top_k is None, not 3"):
        RunFolder(tmp_path / "run", collecting("http://one/v1", "m", extra={"top_k": 3}))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds other files \(thesis\.tex\)"):
        RunFolder(tmp_path, recipe("zero"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder with --out"):
        RunFolder(tmp_path / "file" / "run", recipe("zero"))


def test_rewind_forgets_what_came_after(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", recipe("zero"))
    stage = folder.stage(1, "zero")
    for step in (1, 2, 3):
        stage.append(StepMetrics(step, {"loss": float(step)}))
        stage.rollouts.mkdir(exist_ok=True)
        (stage.rollouts / f"step-{step:06d}.parquet").write_text("")
    metrics = stage.path / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"step": 4, "lo')  # a process was killed here
    stage.rewind(2)
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [1, 2]
    assert sorted(os.listdir(stage.rollouts)) == ["step-000001.parquet", "step-000002.parquet"]
    folder.close()


def test_stage_state_accumulates(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", recipe("zero"))
    stage = folder.stage(3, "zero")
    assert stage.path.name == "03-zero" and stage.state() == {}
    stage.set_state(state="running", planned_steps=5)
    stage.set_state(state="finished")
    assert stage.state() == {"state": "finished", "planned_steps": 5}
    folder.close()
