from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.errors import UserError
from aha.studio.read import read_run

MakeRun = Callable[..., Path]


def test_a_finished_run(run_folder: MakeRun) -> None:
    run = read_run(run_folder())
    assert (run.name, run.state, run.info["seed"]) == ("demo", "finished", 0)
    (stage,) = run.stages
    assert (stage.name, stage.number, stage.last_step, stage.planned_steps, stage.kind) == ("zero", 1, 60, 60, "rl")
    assert stage.evaluation["after"]["pass@1"] == 0.638
    assert stage.samples["after"][0].turned_back and stage.samples["after"][0].why == {"accuracy": "(9-4)*7 = 35"}
    assert len(stage.series("pass@1")[0]) == 60
    assert stage.series("eval/pass@1")[0] == [10, 20, 30, 40, 50]
    assert stage.series("no such metric") == ([], [])


def test_the_kind_of_a_stage_that_does_not_say_it(run_folder: MakeRun, add_supervised: Callable[[Path], None]) -> None:
    folder = run_folder()
    add_supervised(folder)
    (folder / "recipe.yaml").unlink()
    assert [stage.kind for stage in read_run(folder).stages] == ["rl", "sft"]


def test_a_stopped_run_says_so_until_it_goes_on(run_folder: MakeRun) -> None:
    run = read_run(run_folder("stopped", steps=3))
    assert (run.state, run.stages[0].state) == ("stopped", "stopped")


def test_a_live_run_ends_in_half_a_line(run_folder: MakeRun) -> None:
    run = read_run(run_folder("running", steps=23))
    assert run.state == "running"
    assert run.stages[0].last_step == 23
    assert set(run.stages[0].evaluation) == {"before"}


def test_a_failed_run_says_why(run_folder: MakeRun) -> None:
    run = read_run(run_folder("failed", steps=30))
    assert run.state == "failed"
    assert "numerics gate" in (run.stages[0].reason or "")


def test_a_run_with_stages_to_come_is_not_finished(run_folder: MakeRun) -> None:
    folder = run_folder()
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(text + "  later:\n    kind: rl\n", encoding="utf-8")
    assert read_run(folder).state == "running"


@pytest.mark.parametrize("name", ["stage.json", "metrics.jsonl", "evaluation.json", "samples.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[1]", "null", '{"before": 3, "step": true}\n', "\ufffe\x00"])
def test_any_file_may_be_missing_or_broken(run_folder: MakeRun, name: str, content: str | None) -> None:
    folder = run_folder()
    file = folder / "stages" / "01-zero" / name
    file.unlink() if content is None else file.write_text(content, encoding="utf-8")
    assert read_run(folder).stages[0].number == 1


def test_only_a_recipe_is_a_run_that_starts(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: [unclosed", encoding="utf-8")
    run = read_run(tmp_path)
    assert (run.state, run.stages, run.name) == ("starting", (), tmp_path.name)


def test_a_step_written_twice_counts_once_and_null_is_absent(run_folder: MakeRun) -> None:
    folder = run_folder("running", steps=3)
    file = folder / "stages" / "01-zero" / "metrics.jsonl"
    rows = [{"step": 2, "pass@1": 0.1, "kl": None}, {"step": 1, "pass@1": 0.2}, {"step": 2, "pass@1": 0.3}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stage = read_run(folder).stages[0]
    assert stage.series("pass@1") == ([1, 2], [0.2, 0.3])
    assert all("kl" not in m.values for m in stage.metrics)


def test_what_is_no_run_folder_is_one_sentence_with_the_remedy(run_folder: MakeRun, tmp_path: Path) -> None:
    folder = run_folder()
    with pytest.raises(UserError, match=r"does not exist.*aha run.*demo"):
        read_run(tmp_path / "none")
    with pytest.raises(UserError, match=r"not a run folder.*recipe.yaml.*such as.*demo"):
        read_run(folder.parent)
