from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.studio.made import because, collected, evaluated, held_back
from aha.studio.read import Stage, read_run

MakeRun = Callable[..., Path]


def stage_of(folder: Path, name: str) -> Stage:
    return next(stage for stage in read_run(folder).stages if stage.name == name)


def test_what_was_collected(many_folder: MakeRun) -> None:
    stage = stage_of(many_folder(), "cold")
    found = collected(stage)
    rows = [step.values for step in stage.metrics]
    assert found.sampled == 768 * 4 == found.kept + sum(found.reasons.values()) and found.asked == 768
    assert found.reasons["accuracy"] == sum(row["dropped/accuracy"] for row in rows)
    assert list(found.reasons.values()) == sorted(found.reasons.values(), reverse=True)
    assert found.table["requests"] == {"samples": 200.0, "turns": 1.25, "tokens": None}
    assert [about.split(",")[0] for about, _ in found.shown] == ["countdown", "logic", "requests"], "a domain each"
    assert found.conversations == found.kept + 200 and found.reviewed == {} and found.how == {}


def test_of_a_stage_that_runs_what_is_there(many_folder: MakeRun) -> None:
    found = collected(stage_of(many_folder(broken="cold", state="running"), "cold"))
    assert found.asked == 384 and found.table == {} and found.conversations is None
    assert len(found.shown) == 3, "from its first part"


def test_decisions_of_people_are_counted(many_folder: MakeRun) -> None:
    found = collected(stage_of(many_folder(broken="cold", state="stopped", review=True), "cold"))
    assert found.reviewed == {"accept": 20, "edit": 5, "reject": 3, "waiting": 12}


def test_pairs_that_were_compared(many_folder: MakeRun) -> None:
    folder = many_folder() / "stages" / "02-cold"
    row = {"messages": [{"role": "user", "content": "q"}], "task": "t", "chosen": "yes", "rejected": "no"}
    (folder / "data.jsonl").write_text(json.dumps(row) + "\n")
    ((_, example),) = collected(stage_of(folder.parent.parent, "cold")).shown
    assert (example.question, example.response) == ("q", "better: yes\n\nworse: no")


def test_reasons_in_words() -> None:
    assert because("accuracy") == "wrong" and because("mine.py:concise") == "mine.py:concise"
    assert because("refined language") == "rewritten, mixes languages"


def test_held_back(many_folder: MakeRun) -> None:
    stage = stage_of(many_folder(whole=True), "safety")
    found = held_back(stage)
    assert len(found) == 500 and {one.kind for one in found} == {"safe", "unsafe"}
    assert sum(one.right for one in found) / 500 == stage.evaluation["after"]["agreement"]


def test_evaluated_from_the_table_or_from_the_parts(many_folder: MakeRun) -> None:
    folder = many_folder()
    whole = evaluated(stage_of(folder, "evaluated"))
    assert next(iter(whole)) == "base" and whole["dev1"]["requests"]["mark/refuses the harmful"] == 0.9
    (folder / "stages/05-evaluated/table.json").unlink()
    assert evaluated(stage_of(folder, "evaluated")) == whole
    (folder / "stages/05-evaluated/parts/part-00002.json").write_text('{"figures": {"pass')
    broken = evaluated(stage_of(folder, "evaluated"))
    assert "logic" not in broken["base"] and broken["zero"] == whole["zero"], "the others keep their places"


@pytest.mark.parametrize(
    "content", [None, "", "{", "[1]", "null", '{"rows": 3}', '{"rows": [3, {"margin": "x"}]}', "\x00"]
)
@pytest.mark.parametrize(
    "file",
    ["02-cold/table.json", "02-cold/data.jsonl", "02-cold/metrics.jsonl", "04-helpful/held_back.json",
     "05-evaluated/table.json", "05-evaluated/parts/part-00001.json", "02-cold/parts/part-00001.json"],
)  # fmt: skip
def test_any_file_may_be_missing_or_broken(many_folder: MakeRun, file: str, content: str | None) -> None:
    folder = many_folder(broken="" if "01.json" not in file else "evaluated", state="running")
    path = folder / "stages" / file
    if path.exists():
        path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    for stage in read_run(folder).stages:
        collected(stage), held_back(stage), evaluated(stage)
