from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aha.studio.panels import panels_of, row_of, smooth
from aha.studio.plots import VARIABLES, curves_png, panel_svg
from aha.studio.read import read_run

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_picture_of_every_kind_of_run(
    run_folder: MakeRun, tmp_path: Path, add_supervised: Callable[[Path], None]
) -> None:
    folder = run_folder("running", steps=12)
    add_supervised(folder)
    (path,) = curves_png(read_run(folder), tmp_path / "out")
    assert path.name == "curves.png" and path.read_bytes().startswith(b"\x89PNG")


def test_a_row_of_panels_for_each_training_stage(
    many_folder: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = read_run(many_folder(whole=True))
    rows = {stage.name: [panel.title for panel in row_of(stage, 4)] for stage in run.stages}
    assert rows["dev1"] == ["Loss", "Right answers and format", "Learning rate", "Gradient norm"]
    assert rows["r1"][-1] == "Other rewards" and rows["zero"][-1] == "Reward" and rows["helpful"][1] == "Agreement"
    assert rows["cold"] == rows["evaluated"] == []
    others = panels_of(next(stage for stage in run.stages if stage.name == "r1"))[-1]
    assert [curve.label for curve in others.curves] == ["language", "helpful", "safety"]
    drawn: list[int] = []
    monkeypatch.setattr("aha.studio.plots._panels", lambda axes, stage, panels: drawn.append(len(panels)))
    monkeypatch.setattr("aha.studio.plots.MOST_ROWS", 5)
    curves_png(run, tmp_path)
    assert drawn == [4] * 5, "no more stages than a picture has room for"


def test_evaluations_of_stages_that_sample_nothing_are_dots(many_folder: MakeRun) -> None:
    stage = next(stage for stage in read_run(many_folder()).stages if stage.name == "dev1")
    panel = next(panel for panel in panels_of(stage) if panel.title == "Right answers and format")
    assert [curve.steps for curve in panel.curves] == [(), ()]
    assert [dot[0] for dot in panel.curves[0].dots] == [0, 48]
    assert "pass@1 from 14 % to 64 % in evaluations" in panel_svg(panel, 48, "s4p2")
    assert next(p for p in panels_of(stage) if p.title == "Learning rate").curves[0].smoothed[0] == pytest.approx(2e-4)


def test_nothing_measured_makes_no_picture(run_folder: MakeRun, tmp_path: Path) -> None:
    assert curves_png(read_run(run_folder("running", steps=0)), tmp_path) == []


@pytest.mark.parametrize("line", [{"pass@1": 0.0}, {"pass@1": 1.0, "kl": 0.0, "loss": float("nan")}, {"loss": -1.0}])
def test_one_step_and_odd_values(run_folder: MakeRun, tmp_path: Path, line: dict[str, float]) -> None:
    folder = run_folder("running", steps=0)
    file = folder / "stages" / "01-zero" / "metrics.jsonl"
    file.write_text(json.dumps({"step": 1, **line}) + "\n", encoding="utf-8")
    assert curves_png(read_run(folder), tmp_path)


def test_names_in_other_scripts_and_dollars_do_not_warn(run_folder: MakeRun, tmp_path: Path) -> None:
    folder = run_folder("running", steps=2)
    (folder / "recipe.yaml").write_text("name: 倒数 $x^{$\nmodel: 模型\n", encoding="utf-8")
    assert curves_png(read_run(folder), tmp_path)


def test_dots_are_evaluations_and_a_curve_keeps_what_was_measured(run_folder: MakeRun) -> None:
    panels = {panel.title: panel for panel in panels_of(read_run(run_folder()).stages[0])}
    right = panels["Right answers and format"].curves[0]
    assert [step for step, _, _ in right.dots] == [0, 10, 20, 30, 40, 50, 60]
    assert right.dots[0][1:] == (0.143, 0.0098)
    assert len(right.values) == 60


def test_svg_takes_its_colours_from_the_page(run_folder: MakeRun) -> None:
    panel = panels_of(read_run(run_folder()).stages[0])[0]
    svg = panel_svg(panel, 60, "s1p0")
    ElementTree.fromstring(svg)
    assert not [colour for colour in VARIABLES if colour in svg]
    assert "var(--curve-1)" in svg and 'aria-label="Right answers and format' in svg
    assert "<script" not in svg and "<image" not in svg


def test_smoothing_keeps_the_mean_level_and_ends() -> None:
    assert smooth([]) == []
    assert smooth([3.0]) == [3.0]
    rising = smooth([float(i) for i in range(90)])
    assert rising[45] == pytest.approx(45.0)
