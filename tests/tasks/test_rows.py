"""The one reader: every form of file and hub, rows that cannot be read in their places, sources that do not exist."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aha.errors import UserError
from aha.tasks.rows import RowError, read_file, read_splits

ROWS = [{"a": 1}, {"a": "二"}, {"a": None}]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("x.txt", "\r\n".join(json.dumps(row) for row in ROWS) + "\r\n"),
        ("x.json", json.dumps(ROWS, indent=1)),
        ("x.json", json.dumps({"canary": "...", "examples": ROWS})),
        ("x.json", "\n".join(json.dumps(row) for row in ROWS)),
    ],
)
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str, text: str, packed: bool) -> None:
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert [row.data for row in read_file(path)] == ROWS
    assert [row.number for row in read_file(path)] == [1, 2, 3]
    assert read_splits(str(path)) == {"": read_file(path)}


def test_tab_separated_fields_keep_their_quotes(tmp_path: Path) -> None:
    (tmp_path / "mgsm_es.tsv").write_text('la tienda "Todo"\t250\n\n¿cuántos?\t1,000\r\n', encoding="utf-8")
    rows = read_file(tmp_path / "mgsm_es.tsv")
    assert [(r.number, r.data) for r in rows] == [(1, ['la tienda "Todo"', "250"]), (3, ["¿cuántos?", "1,000"])]


def test_comma_separated_cells_with_and_without_names(tmp_path: Path) -> None:
    (tmp_path / "named.csv").write_bytes(b'\xef\xbb\xbfid,Question\r\n1,"a, ""b""\nc"\r\n2\r\n\r\n3,d\r\n')
    rows = read_file(tmp_path / "named.csv")
    assert [row.number for row in rows] == [2, 4, 6] and isinstance(rows[1].data, RowError)
    assert [rows[0].data, rows[2].data] == [{"id": "1", "Question": 'a, "b"\nc'}, {"id": "3", "Question": "d"}]
    (tmp_path / "bare.csv").write_text('What is it?,a,"b, c",B\n', encoding="utf-8")
    assert [row.data for row in read_file(tmp_path / "bare.csv")] == [["What is it?", "a", "b, c", "B"]]


def test_parquet(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "options": ["a", "b"], "answer": None}, {"question": "R?", "options": [], "answer": 1}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert [(row.number, row.data) for row in read_file(tmp_path / "x.parquet")] == [(1, rows[0]), (2, rows[1])]


def test_several_files_are_one(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "c,d.jsonl"):
        (tmp_path / name).write_text(f'"{name}"\n', encoding="utf-8")
    found = read_splits(f"{tmp_path}/a.jsonl, {tmp_path}/b.jsonl")
    assert {split: [row.data for row in rows] for split, rows in found.items()} == {"": ["a.jsonl", "b.jsonl"]}
    assert [row.data for row in read_splits(f"{tmp_path}/c,d.jsonl")[""]] == ["c,d.jsonl"]
    with pytest.raises(UserError, match=r"no file 'e\.jsonl'"):
        read_splits(f"{tmp_path}/a.jsonl,e.jsonl")


def test_a_folder_is_its_splits_or_all_its_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.json", "README.md", "LICENSE"):
        (tmp_path / name).write_text("[1]", encoding="utf-8")
    assert [Path(row.file).name for row in read_splits(str(tmp_path))[""]] == ["a.json", "b.jsonl"]
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b"2"))
    (tmp_path / "test.json").write_text("[3]", encoding="utf-8")
    found = read_splits(str(tmp_path))
    assert {split: [row.data for row in rows] for split, rows in found.items()} == {"train": [2], "test": [3]}


def test_bad_rows_keep_their_places(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n\xff\n[[[\n' + b"[" * 200_000 + b"\n5\n" + b"9" * 5000)
    rows = read_file(tmp_path / "x.jsonl")
    assert [isinstance(row.data, RowError) for row in rows] == [False, True, True, True, False, True]
    assert "not UTF-8" in str(rows[1].data) and "not JSON" in str(rows[2].data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"\n \n", "is empty; give it rows"),
        ("x.json", b'{"rows": []}', "is no JSON list of rows"),
        ("x.json", b'{"a": ', "is no JSON list of rows"),
        ("x.json", b"[]", "is empty; give it rows"),
        ("x.jsonl.gz", b"plain", "cannot be read"),
        ("x.jsonl.gz", gzip.compress(b"{}" * 1000)[:-9], "cannot be read"),
        ("x.csv", b'question\n"open', "cannot be read"),
        ("x.csv", b"question\n\xff\n", "cannot be read"),
        ("x.parquet", b"PAR1", "is no Parquet file"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_file(tmp_path / name)


@pytest.mark.parametrize("source", ["/no/such", "./x", "~/nothing", "x.json", "x.tsv.gz", "a/b/c"])
def test_sources_that_do_not_exist(source: str) -> None:
    with pytest.raises(UserError, match=r"no file .*; give a \.jsonl"):
        read_splits(source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(content=st.binary(), name=st.sampled_from(["x.jsonl", "x.json", "x.tsv", "x.csv", "x.jsonl.gz"]))
def test_any_bytes_give_rows_or_one_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    try:
        rows = read_file(tmp_path / name)
    except UserError as error:
        assert str(tmp_path) in str(error) and ";" in str(error)
    else:
        assert rows and [row.number for row in rows] == sorted({row.number for row in rows})
