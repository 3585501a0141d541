"""The folder: journal, ownership, settings, damage, texts that no file can hold."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aha.errors import UserError
from aha.evaluation.records import Record
from aha.evaluation.store import ROWS, Store, folder_of
from aha.types import Message, Problem


def record(sample: int, **more: Any) -> Record:
    return Record(
        task="t", problem="p", sample=sample, group="", outcome="score", why="", text=f"text {sample}", **more
    )


PROBLEM = Problem("p", "t", (Message("user", "Why?"),), "because")


def test_what_was_added_is_there_again_without_its_text(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a", {"x": 1})) as store:
        store.add(record(0, value=0.1, marks={"quality": 1 / 3}, tokens=7, language=2 / 3))
        store.add(record(0, value=0.9))  # the first one stays
        assert ("t", "p", 0) in store and ("t", "p", 1) not in store
    with closing(Store(tmp_path / "a", {"x": 1})) as store:
        found = store.get(("t", "p", 0))
        assert found is not None and found.text == "" and found.value == 0.1 and found.marks == {"quality": 1 / 3}
        store.add(record(1))
        rows = [(PROBLEM, one) for n in (1, 0) if (one := store.get(("t", "p", n))) is not None]
        store.finish([*rows, (PROBLEM, record(2))], {"finished": True}, "table")
        assert store.results() == {"finished": True}
    texts = pq.read_table(tmp_path / "a" / "samples.parquet").column("text").to_pylist()
    assert texts == ["text 1", "text 0", "text 2"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        ".lock", "results.json", "samples.parquet", "settings.json", "table.md",
    ]  # fmt: skip


def test_what_is_left_to_try_keeps_the_journal(tmp_path: Path) -> None:
    gone = Record(task="t", problem="p", sample=1, group="", outcome="unanswered", why="503")
    with closing(Store(tmp_path, {})) as store:
        store.add(record(0))
        store.finish([(PROBLEM, record(0)), (PROBLEM, gone)], {"finished": False}, "")
        assert store.results() is None
    with closing(Store(tmp_path, {})) as store:
        assert ("t", "p", 0) in store and ("t", "p", 1) not in store


def test_nothing_stays_of_one_that_nothing_came_of(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a", {})):
        assert (tmp_path / "a" / "settings.json").exists()
    assert not list(tmp_path.iterdir())


def test_one_process_at_a_time_and_one_setting(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a", {"x": 1})), pytest.raises(UserError, match="in use by another process"):
        Store(tmp_path / "a", {"x": 1})
    with closing(Store(tmp_path / "a", {"x": 1})) as store:
        store.add(record(0))
    with pytest.raises(UserError, match="other settings"):
        Store(tmp_path / "a", {"x": 2})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / "file" / "a", {})


def test_a_cut_line_is_forgotten_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    with closing(Store(tmp_path, {})) as store:
        store.add(record(0))
    journal = tmp_path / "samples.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:-9])
    with closing(Store(tmp_path, {})) as store:
        store.add(record(1))
    assert [json.loads(line)["sample"] for line in journal.read_text().splitlines()] == [0, 1]
    journal.write_bytes(b"{}\n" + whole)
    with pytest.raises(UserError, match=r"line 1 of .*samples\.jsonl is damaged"):
        Store(tmp_path, {})


def test_halves_of_characters_and_many_rows(tmp_path: Path) -> None:
    with closing(Store(tmp_path, {})) as store:
        odd = Record(task="t", problem="p", sample=0, group="", outcome="score", why="\ud83d", text="a\ud83db\0")
        store.add(odd)
        rows = [(PROBLEM, odd)] + [(PROBLEM, record(n)) for n in range(1, ROWS + 3)]
        store.finish(rows, {"finished": True, "why": ["\ud83d"]}, "| \ud83d |")
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table.num_rows == ROWS + 3 and table.column("text")[0].as_py() == "a?b\0"


def test_folders_have_names_of_their_own() -> None:
    parent = Path("runs/eval")
    names = {
        folder_of(parent, model, suite, settings).name
        for model, suite, settings in (
            ("tiny", "tiny", {}), ("tiny", "tiny", {"seed": 1}), ("./runs/a/model", "aime24", {}), ("模型", "x", {}),
            ("https://h.com/v1#big", "mine.py:suite", {}),
        )
    }  # fmt: skip
    assert len(names) == 5 and all(name.isascii() and "/" not in name and not name.startswith(".") for name in names)
    assert any(name.startswith("runs-a-model-aime24-") for name in names)
