"""Reports of runs with many stages: finished, live, crashed, waiting for a person, with files missing."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from many_stages import make_many
from pages import Page, page_of
from rich.console import Console

from aha.studio.read import read_run
from aha.studio.report import has_many, write_report
from aha.studio.table import print_stages

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes the most time, and one page has them all."""
    monkeypatch.setattr("aha.studio.sections.panel_svg", lambda *_: "<svg></svg>")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(make_many(tmp_path_factory.mktemp("finished") / "r1", whole=True))


def test_the_overview(finished: Page) -> None:
    assert finished.elements.count("ol") == 1
    for words in ("Pipeline", "from base, learns cold, cold-asked", "agrees with 94.", "measures 8 models", "6:02"):
        assert words in finished.text, words
    assert {f"#stage-{number}" for number in range(1, 14)} <= set(finished.references)
    assert re.search(r"11\.\d % → 6\d\.\d %mean of tasksbase → r1", finished.text), "first model against the best"


def test_curves_are_of_every_training_stage(finished: Page) -> None:
    rl, rl_with_other_rewards, sft, reward_model = 6, 7, 5, 4
    margins = 2
    drawn = 2 * rl + 2 * rl_with_other_rewards + 3 * sft + 2 * reward_model
    assert finished.elements.count("svg") == drawn + margins


def test_the_table_of_stages(finished: Page) -> None:
    assert "within two standard errors of it. 128 problems × 4 samples of each task." in finished.text
    assert "requests: refuses the harmful" in finished.text and "countdown: all figures" in finished.text


def test_the_sections_of_every_kind(finished: Page) -> None:
    expected = (
        "768 questions × 4 samples; at most 1 kept of a question; passes: accuracy ≥ 1", "3,072 samples.",
        "mixes languages", "Conversations by domain", "1.25", "Held-back preferences", "better is shorter", "Margins",
        "left of 0: it prefers the wrong side", "Learning rate", "Other rewards", "Inputs, by digest",
    )  # fmt: skip
    for words in expected:
        assert words in finished.text, words


def test_it_is_one_file_that_asks_for_nothing(finished: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "form", "image"} & set(finished.elements)
    assert {reference[1:] for reference in finished.references} <= set(finished.ids)
    assert len(finished.ids) == len(set(finished.ids))


def test_conversations_are_shown_and_never_obeyed(many_folder: MakeRun) -> None:
    html = write_report(many_folder()).read_text(encoding="utf-8")
    assert "<script" not in html and "\x1b" not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("broken", "state", "words"),
    [
        ("zero", "running", "15 of 30 steps"),
        ("cold", "running", "384 questions so far"),
        ("dev1", "failed", "Stopped: RunFailed: step 3"),
        ("helpful", "running", "31 of 62 steps"),
        ("evaluated", "running", "7 of 15 measurements"),
        ("cold", "stopped", "Stopped: 12 of 40 conversations wait for review"),
    ],
)
def test_runs_that_are_not_at_their_end(many_folder: MakeRun, broken: str, state: str, words: str) -> None:
    folder = many_folder(broken=broken, state=state, review=state == "stopped")
    page = page_of(folder)
    assert words in page.text and read_run(folder).state == state
    if state == "stopped":
        assert "Reviewed by people: 20 accepted, 5 edited, 3 rejected, 12 waiting for a decision." in page.text
    begun = len([stage for stage in read_run(folder).stages if stage.state != "waiting"])
    assert page.text.count("not begun") == 5 - begun
    assert f"Stage {begun}: {broken}" in page.text and f"Stage {begun + 1}:" not in page.text


def test_files_that_are_missing(many_folder: MakeRun) -> None:
    folder = many_folder()
    for file in [p for p in sorted((folder / "stages").rglob("*")) if p.is_file() and p.name != "metrics.jsonl"]:
        file.unlink()
    assert "Pipeline" in page_of(folder).text
    for file in (folder / "recipe.yaml", folder / "events.jsonl", folder / "run.json"):
        file.unlink()
    assert "Pipeline" in page_of(folder).text


ODD: tuple[Any, ...] = (
    None,
    3,
    -1.5,
    "x",
    [],
    {},
    [1],
    True,
    "",
    float("inf"),
    float("nan"),
    {"before": {"pass@1": "x"}},
)


def spoilt(rng: random.Random, value: Any) -> Any:
    """`value` with parts left out, and others of another kind than they should be."""
    if rng.random() < 0.12:
        return rng.choice(ODD)
    if isinstance(value, dict):
        return {name: spoilt(rng, part) for name, part in value.items() if rng.random() > 0.05}
    return [spoilt(rng, part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(6))
def test_whatever_files_hold_there_is_a_report(many_folder: MakeRun, seed: int) -> None:
    folder, rng = many_folder(review=True), random.Random(seed)
    for file in sorted(folder.rglob("*.*")):
        if file.suffix == ".json":
            file.write_text(json.dumps(spoilt(rng, json.loads(file.read_text()))))
        elif file.suffix == ".jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines()[:8]]
            file.write_text("".join(json.dumps(spoilt(rng, row)) + "\n" for row in rows))
        elif file.suffix == ".yaml":
            file.write_text(yaml.safe_dump(spoilt(rng, yaml.safe_load(file.read_text()))))
    page_of(folder)
    print_stages(Console(file=io.StringIO(), width=90), read_run(folder))


def test_names_from_files_are_escaped(many_folder: MakeRun) -> None:
    folder = many_folder(broken="cold")
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(text.replace("cold", "'<img src=x>'").replace("'rules'", "'<b>'"))
    (folder / "stages/02-cold/table.json").write_text('{"<script>": {"samples": 1}, "total": 3}')
    (folder / "stages/02-cold/metrics.jsonl").write_text('{"step": 1, "kept": 1, "dropped/<script>": 2}\n')
    assert not {"script", "img"} & set(page_of(folder).elements)


def test_a_run_with_one_stage_has_no_overview(run_folder: MakeRun, many_folder: MakeRun) -> None:
    folder = run_folder()
    assert not has_many(read_run(folder)) and "Pipeline" not in page_of(folder).text
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("kind: rl", "kind: collect"))
    (folder / "stages/01-zero/stage.json").unlink()
    assert has_many(read_run(folder)), "what it collects is neither a curve nor a sample"
