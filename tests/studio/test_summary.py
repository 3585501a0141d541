from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from aha.studio.read import Run, read_run
from aha.studio.summary import dropped, result, seconds

MakeRun = Callable[..., Path]


def results(folder: Path) -> dict[str, str]:
    return {stage.name: result(stage) for stage in read_run(folder).stages}


def test_a_line_for_every_kind(many_folder: MakeRun) -> None:
    found = results(many_folder(whole=True))
    assert found["zero"] == "pass@1 14.3 → 63.8 %, 47 → 139 tokens"
    assert found["dev1"].startswith("loss 1.") and found["dev1"].endswith(", pass@1 14.3 → 63.8 %, 47 → 139 tokens")
    assert found["cold"].startswith("kept 367 of 3,072 (12 %), 567 in all; dropped: wrong 1,387, surplus ")
    assert found["helpful"].startswith("agrees with 94.") and "% of 500 held back, loss 0.7" in found["helpful"]
    assert found["evaluated"].startswith("8 models on 5 tasks; best mean of tasks: r1, ")


def test_lines_of_stages_that_run_stopped_or_wait(many_folder: MakeRun, tmp_path: Path) -> None:
    found = results(many_folder(broken="helpful", state="running"))
    assert found["helpful"].startswith("agreement while it learns ") and found["evaluated"] == "–"
    (tmp_path / "r1").rename(tmp_path / "other")
    found = results(many_folder(broken="cold", state="failed"))
    assert found["cold"].startswith("RunFailed: step 3") and found["dev1"] == "–"
    (tmp_path / "r1").rename(tmp_path / "third")
    assert results(many_folder(broken="zero", state="running"))["zero"].endswith("in step 15")


def test_the_commonest_reasons() -> None:
    assert dropped({"format": 1.0, "accuracy": 1500.0, "own": 3.0, "enough": 2.0}, 2) == "wrong 1,500, own 3, others 3"
    assert dropped({}, 2) == ""


def run_with(folder: Path, stages: dict[str, list[float]], events: list[tuple[float, str, str]]) -> Run:
    """A run whose stages have metrics at these times, and these events: time, what, stage."""
    for number, (name, times) in enumerate(stages.items(), 1):
        path = folder / "stages" / f"{number:02d}-{name}"
        path.mkdir(parents=True)
        lines = [json.dumps({"step": i, "time": t, "loss": 1.0}) for i, t in enumerate(times, 1)]
        (path / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    rows = [{"time": t, "event": what, **({"stage": stage} if stage else {})} for t, what, stage in events]
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_run(folder)


def test_time_at_work_leaves_out_when_nothing_ran(tmp_path: Path) -> None:
    """Loading before the first step and saving after the last one belong to a stage; a night between runs does not."""
    run = run_with(
        tmp_path,
        {"a": [110.0, 120.0], "b": [150.0, 1010.0, 1020.0]},
        [(100.0, "start", ""), (125.0, "stage finished", "a"), (1000.0, "start", ""), (1000.1, "stage finished", "a"),
         (1030.0, "stage finished", "b")],
    )  # fmt: skip
    assert seconds(run) == {1: 25.0, 2: 25.0 + 30.0}


def test_time_of_a_stage_made_again_is_that_of_the_last_time(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, {"a": [510.0, 520.0]},
        [(100.0, "start", ""), (200.0, "stage finished", "a"), (500.0, "start", ""), (530.0, "stage finished", "a")],
    )  # fmt: skip
    assert seconds(run) == {1: 30.0}


def test_without_events_the_steps_say_it(tmp_path: Path) -> None:
    assert seconds(run_with(tmp_path, {"a": [10.0, 14.0], "b": []}, [])) == {1: 4.0}
