from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import page_of

from aha.errors import UserError
from aha.studio.read import read_run
from aha.studio.report import report, write_report

MakeRun = Callable[..., Path]


def test_the_report_of_a_finished_run(run_folder: MakeRun) -> None:
    page = page_of(run_folder())
    expected = ("demo", "finished", "63.8 ± 2.4 %", "+49.5 points", "64 problems × 16 samples", "turned back", "grpo")
    for words in (*expected, "Where the time went", "Step 60, the last one", "The resolved recipe", "i5-1135G7"):
        assert words in page.text, words
    assert page.elements.count("svg") == 6


def test_it_is_one_file_that_asks_for_nothing(run_folder: MakeRun) -> None:
    page = page_of(run_folder())
    assert not {"script", "link", "img", "iframe", "object", "form", "image"} & set(page.elements)
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_text_of_a_model_is_shown_and_never_obeyed(run_folder: MakeRun) -> None:
    folder = run_folder()
    html = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in html and "\x1b" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; 15+7=22" in html
    assert "given were [3, 5, 7] &lt;b&gt;" in html
    assert "目标是20。" in html and '<mark class="think">等等</mark>' in html


def test_names_from_files_are_escaped(run_folder: MakeRun) -> None:
    folder = run_folder()
    (folder / "recipe.yaml").write_text("name: '<img src=x>'\nmodel: '\"><script>'\n", encoding="utf-8")
    stage = folder / "stages" / "01-zero"
    evil = {"name": '"><script>', "state": "failed", "reason": "<script>", "planned_steps": 60}
    (stage / "stage.json").write_text(json.dumps(evil), encoding="utf-8")
    lines = '{"step": 1, "pass@1": 0.5, "<script>/<script>": 1}\n'
    (stage / "metrics.jsonl").write_text(lines, encoding="utf-8")
    page = page_of(folder)
    assert not {"script", "img"} & set(page.elements)


def test_a_failed_run_says_why_and_how_to_go_on(run_folder: MakeRun) -> None:
    page = page_of(run_folder("failed", steps=30))
    assert "RunFailed: step 31" in page.text and "goes on from the last checkpoint" in page.text
    assert "30 of 60 steps" in page.text


def test_a_live_run_is_called_silent_only_when_it_is(run_folder: MakeRun) -> None:
    run = read_run(run_folder("running", steps=23))
    written = run.stages[0].written
    assert written is not None
    assert "Nothing was written" not in report(run, written + 20)
    assert "Nothing was written for 1:00:00" in report(run, written + 3600)


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_hardly_begun_runs_have_a_report_too(run_folder: MakeRun, left: int) -> None:
    folder = run_folder("running", steps=2)
    stage = folder / "stages" / "01-zero"
    for name in ["stage.json", "metrics.jsonl", "evaluation.json", "samples.json"][left:]:
        (stage / name).unlink()
    (folder / "run.json").unlink()
    assert "demo" in page_of(folder).text


def test_a_supervised_stage_has_its_section(run_folder: MakeRun, add_supervised: Callable[[Path], None]) -> None:
    folder = run_folder()
    add_supervised(folder)
    page = page_of(folder)
    assert "Stage 2: distil" in page.text and "200 of 400 steps" in page.text and "Loss" in page.text


def test_samples_of_one_side_only(run_folder: MakeRun) -> None:
    assert "none stored" not in page_of(run_folder("running", steps=3)).text


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
