"""What a run prints while it goes and when it has ended."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from many_stages import make_many, short_recipe
from rich.console import Console
from run_folders import make_run

from aha.commands import Watcher, show_run
from aha.types import StepMetrics


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own tests draw them."""
    monkeypatch.setattr("aha.studio.sections.panel_svg", lambda *_: "<svg></svg>")
    monkeypatch.setattr("aha.commands.curves_png", lambda *_: [])


def shown_of(folder: Path) -> str:
    file = io.StringIO()
    show_run(folder, Console(file=file, width=110))
    return file.getvalue()


def test_one_stage_is_shown_by_its_table_and_samples(tmp_path: Path) -> None:
    shown = shown_of(make_run(tmp_path / "demo"))
    assert "before training" in shown and "after training" in shown and "+49.5 points" in shown
    assert "stage " not in shown and (tmp_path / "demo/report.html").is_file()


def test_many_stages_are_shown_as_a_list(tmp_path: Path) -> None:
    shown = shown_of(make_many(tmp_path / "r1"))
    assert "kept 367 of 3,072" in shown and "samples of dev1" in shown and "before training" not in shown
    assert f"wrote 3 models, {tmp_path / 'r1'}/stages/NN-NAME/model" in shown


def test_each_stage_is_announced_and_shown_by_its_kind() -> None:
    file = io.StringIO()
    watcher = Watcher(Console(file=file, width=110), short_recipe())
    watcher.stage("evaluated", 3, 15)
    watcher.step(StepMetrics(4, {"base/requests/pass@1": 0.25}))
    watcher.close()
    lines = file.getvalue().splitlines()
    assert lines[0] == "stage 5 of 5: evaluated (evaluate)"
    assert lines[1].startswith("part 4/15  base on requests  pass@1 0.25")
