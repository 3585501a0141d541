from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aha.studio.lineage import Row, rows_of, short
from aha.studio.read import Run, read_run

MakeRun = Callable[..., Path]


def run_of(stages: dict[str, Any], tmp_path: Path = Path("/nowhere")) -> Run:
    return Run(tmp_path, {"name": "x", "model": "/models/base-7b", "stages": stages}, "", {}, (), ())


def by_name(rows: tuple[Row, ...]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_the_whole_pipeline(many_folder: MakeRun) -> None:
    rows = rows_of(read_run(many_folder(whole=True)))
    names = [row.name for row in rows]
    assert names[:5] == ["base", "zero", "cold", "cold-asked", "dev1"]
    assert names.index("model:tiny-small") == names.index("distilled") - 1, "before the first that starts from it"
    found = by_name(rows)
    assert found["dev1"].reads == ("base", "cold", "cold-asked") and found["dev1"].sources == "base, cold, cold-asked"
    assert found["dev1"].words == "from base, learns cold, cold-asked"
    assert found["r1"].words == "from dev3, rewards by helpful, safety"
    assert found["helpful"].words == "from dev3, learns preferences by rules of requests"
    assert (found["evaluated"].reads, found["evaluated"].words) == ((), "measures 8 models")
    assert found["evaluated"].sources == "8 models"
    assert {row.made for row in rows} == {"model", "data", "reward", "table"}
    assert found["base"].words == "the model tiny" and found["base"].stage is None and found["base"].state == ""


def test_lines_to_the_next_row_are_straight_and_others_take_lanes() -> None:
    stages = {"zero": {"kind": "rl"}, "cold": {"kind": "collect", "start": "zero"},
              "dev1": {"kind": "sft", "data": ["cold"]}}  # fmt: skip
    base, zero, cold, dev1 = rows_of(run_of(stages))
    assert [(mark.lane, mark.shape) for mark in base.marks] == [(1, "begin")]
    assert [(mark.lane, mark.shape) for mark in zero.marks] == [(1, "line")]
    assert [(mark.lane, mark.shape) for mark in dev1.marks] == [(1, "end")]
    assert (zero.above, cold.above, dev1.above) == ("model", "model", "data") and cold.below == "data"
    assert base.words == "the model base-7b"


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=9))
def test_every_line_has_a_beginning_and_ends_where_it_is_read(reads: list[list[int]]) -> None:
    stages = {
        f"s{n}": {"kind": "sft", "start": f"s{min(own, default=n)}" if min(own, default=n) < n else "base",
                  "data": [f"s{k}" for k in own if k < n]}
        for n, own in enumerate(reads)
    }  # fmt: skip
    rows = rows_of(run_of(stages))
    place = {row.name: number for number, row in enumerate(rows)}
    for number, row in enumerate(rows):
        lanes = [mark.lane for mark in row.marks]
        assert len(lanes) == len(set(lanes)) and lanes == sorted(lanes, reverse=True), "a lane is one line's"
        read = {place[source] for source in row.reads}
        assert (row.above is not None) == (number - 1 in read)
        far = sum(mark.shape in ("branch", "end") for mark in row.marks)
        assert far == len([p for p in read if p < number - 1])
        begins = sum(mark.shape == "begin" for mark in row.marks)
        later = [other for other in rows[number + 2 :] if row.name in other.reads]
        assert begins == bool(later)


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("pretrain", {}, "from nothing"),
        ("sft", {"start": "model:/m/tiny-small", "data": ["/d/traces.jsonl"]}, "from tiny-small, learns traces.jsonl"),
        ("collect", {"judge": {"endpoint": {"model": "big", "url": "u"}}}, "samples base, judged by big"),
        ("collect", {"refine": {"model": "model:/m/big"}}, "samples base, rewritten by big"),
        ("collect", {"also": ["a.jsonl"], "examples": ["b.jsonl"]}, "samples base, shows b.jsonl, adds a.jsonl"),
        ("evaluate", {"models": ["base", "model:x"]}, "measures base, x"),
        ("rl", {"preferences": {"helpful": {"model": "/m/rm"}, "odd": 3}}, "from base, rewards by rm"),
        ("unheard-of", {"start": 7}, ""),
        ("sft", {"data": "not a list", "start": None}, "from base"),
    ],
)  # fmt: skip
def test_what_a_stage_reads_in_words(kind: str, config: dict[str, Any], words: str) -> None:
    rows = rows_of(run_of({"one": {"kind": kind, **config}}))
    assert rows[-1].words == words


def test_a_run_without_a_recipe_shows_its_folders(many_folder: MakeRun) -> None:
    folder = many_folder()
    (folder / "recipe.yaml").unlink()
    rows = by_name(rows_of(read_run(folder)))
    assert rows["dev1"].kind == "sft" and rows["dev1"].words == "from base"
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"stages": ["no", "mapping"]}))
    assert len(rows_of(read_run(folder))) == len(rows)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("model:tiny", "tiny"), ("model:/a/b/c", "c"), ("Qwen/Qwen2.5-7B", "Qwen2.5-7B"), ("zero", "zero"), ("/", "/"),
     ("/r/01-zero/model", "01-zero/model"), ("", "")],
)  # fmt: skip
def test_names(name: str, shown: str) -> None:
    assert short(name) == shown
