"""Rows of data as it is published: one reader of files, folders and hubs for every data set.

    read_splits("gsm8k/")             # {"train": [...], "test": [...]}: a folder's train.jsonl and test.jsonl
    read_splits("mine.jsonl.gz")      # {"": [...]}: one file, that belongs to no split
    read_splits("openai/gsm8k")       # a hub id, through the optional library `datasets`
    read_splits("hf://datasets/OWNER/NAME/test5.jsonl")   # one file of a hub's data set
    read_splits("a.jsonl,b.jsonl")    # several files as one

A file is JSONL (`.jsonl`, and any other ending), JSON (`.json`: a list, or an object with one under "examples"),
tab-separated text (`.tsv`, a list of fields a row) or comma-separated text (`.csv`, an object a row where the first
line names the columns, else a list of fields), each also compressed (`.gz`), or Parquet. A row that cannot be read
takes the place of its data with the reason, so that a reader can stop at the first or list them all.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.errors import UserError
from aha.tasks.hub import FILE_ON_HUB, hub_file, hub_splits

ENDINGS = (".jsonl", ".json", ".tsv", ".csv", ".parquet")
FORMS = "a .jsonl, .json, .tsv, .csv (.gz too) or .parquet file, a folder of them or a hub id"
BOM = b"\xef\xbb\xbf"
# A .csv file's first line names its columns where one of these is among them; some are published without.
COLUMNS = frozenset(("question", "problem", "prompt", "input", "instruction", "answer"))


class RowError(ValueError):
    """Why one row cannot be used: what follows the row's number in a sentence (`is not JSON (...)`)."""


class BadRow(UserError):
    """A row that cannot be used, by file, number (from 1) and reason."""

    def __init__(self, file: str, number: int, reason: str) -> None:
        super().__init__(f"{file} row {number} {reason}")
        self.file, self.number, self.reason = file, number, reason


@dataclass(frozen=True, slots=True)
class Raw:
    """One row: where it stands, counted from 1 as an editor counts lines, and what it holds or why that is unknown."""

    file: str
    number: int
    data: Any
    config: str = ""


def read_splits(source: str, config: str = "") -> dict[str, list[Raw]]:
    """The rows of `source` by split; "" where it has none. `config` is the configuration of a hub's data set, `*` all.

    Raises UserError for a source that is missing, empty or unreadable; a bad row has a RowError as its `data`.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path)
    parts = [source] if path.is_file() else [part.strip() for part in source.split(",")]
    if len(parts) > 1 or path.is_file() or source.startswith(FILE_ON_HUB):
        return {"": [row for part in parts for row in read_file(local(part))]}
    if source.startswith(("/", ".", "~")) or _ending(path) or source.count("/") > 1:
        raise UserError(f"no file {source!r}; give {FORMS}")
    return {
        split: [Raw(f"{source}[{split}]", number, row, name) for number, (name, row) in enumerate(rows, 1)]
        for split, rows in hub_splits(source, config).items()
    }


def local(source: str) -> Path:
    """The path of one file, fetched where it is a hub's. Raises UserError where there is none."""
    path = hub_file(source) if source.startswith(FILE_ON_HUB) else Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"no file {source!r}; give {FORMS}")
    return path


def text_under(data: Any, *names: str) -> str:
    """The text under the first of `names` that the row has. Raises RowError where it is missing, empty or no text."""
    if not isinstance(data, Mapping):
        raise RowError("is no JSON object")
    name = next((n for n in names if data.get(n) is not None), names[0])
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"has no text under {name!r}")
    return value


def read_file(path: Path) -> list[Raw]:
    """The rows of one file; empty lines are passed over, and counted."""
    ending = _ending(path)
    try:
        if ending == ".parquet":
            found = _parquet_rows(path)
        elif ending == ".json":
            found = list(_json_rows(path, _content(path)))
        elif ending == ".csv":
            found = list(_csv_rows(_content(path)))
        else:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                found = list(_line_rows(stream, ending == ".tsv"))
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give a whole file of rows") from error
    rows = [Raw(str(path), number, data) for number, data in found]
    if not rows:
        raise UserError(f"{path} is empty; give it rows")
    return rows


def _content(path: Path) -> bytes:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.removeprefix(BOM)


def _ending(path: Path) -> str:
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return ending if ending in ENDINGS else ""


def _parquet_rows(path: Path) -> list[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(enumerate(pq.read_table(path).to_pylist(), 1))
    except pa.ArrowException as error:
        raise UserError(f"{path} is no Parquet file ({str(error)[:200]}); give a whole one") from error


def _csv_rows(content: bytes) -> Iterator[tuple[int, Any]]:
    """Each row with the number of its first line, which may be one of several."""
    reader = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    names: list[str] | None = None
    begin = 1
    for cells in reader:
        number, begin = begin, reader.line_num + 1
        if number == 1 and {cell.strip().casefold() for cell in cells} & COLUMNS:
            names = cells
        elif names is None:
            yield number, cells
        elif len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
        elif cells:
            yield number, RowError(f"has {len(cells)} cells, and the first line names {len(names)} columns")


def _line_rows(lines: Iterable[bytes], tabs: bool) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(BOM) if number == 1 else line
        if line.strip():
            yield number, _line(line.removesuffix(b"\n").removesuffix(b"\r"), tabs)


def _line(line: bytes, tabs: bool) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return RowError(f"is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8 text")
    return text.split("\t") if tabs else _json(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return RowError(f"is not JSON ({error})")


def _json_rows(path: Path, content: bytes) -> Iterator[tuple[int, Any]]:
    """The elements of one JSON list; a file with `.json` as its ending that holds JSONL is read as that."""
    data = _line(content, tabs=False)
    if isinstance(data, RowError) and b"\n" in content.strip():
        return _line_rows(content.split(b"\n"), tabs=False)
    if isinstance(data, Mapping) and isinstance(data.get("examples"), list):
        data = data["examples"]
    if isinstance(data, RowError) or not isinstance(data, list):
        raise UserError(f"{path} is no JSON list of rows, nor an object with one under 'examples'; give it one")
    return iter(enumerate(data, 1))


def _read_folder(folder: Path) -> dict[str, list[Raw]]:
    """Its train and test file where it has one of them, else all its files together."""
    files = [path for path in sorted(folder.iterdir()) if _ending(path)]
    named = {path.name.partition(".")[0]: path for path in files if path.name.startswith(("train.", "test."))}
    if len(named) == 2:
        return {split: read_file(path) for split, path in named.items()}
    if named or not files:
        missing = folder / ("train.jsonl" if "test" in named else "test.jsonl")
        raise UserError(
            f"no file {str(missing)!r}; put train.jsonl and test.jsonl in the folder, or name one .jsonl file"
        )
    return {"": [row for path in files for row in read_file(path)]}
