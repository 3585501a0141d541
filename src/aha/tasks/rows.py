"""Rows of data as it is published: one reader of files, folders and hubs for every data set.

    read_splits("gsm8k/")             # {"train": [...], "test": [...]}: a folder's train.jsonl and test.jsonl
    read_splits("mine.jsonl.gz")      # {"": [...]}: one file, that belongs to no split
    read_splits("openai/gsm8k")       # a hub id, through the optional library `datasets`

A file is JSONL (`.jsonl`, and any other ending), JSON (`.json`: a list, or an object with one under "examples"), or
tab-separated text (`.tsv`, a list of fields a row), each also compressed (`.gz`). A row that cannot be read takes the
place of its data with the reason, so that a reader can stop at the first or list them all.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.errors import UserError

ENDINGS = (".jsonl", ".json", ".tsv")
FORMS = "a .jsonl, .json or .tsv file (.gz too), a folder of them or a hub id"


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
    """The rows of `source` by split; "" where it has none. `config` is the configuration of a hub's data set.

    Raises UserError for a source that is missing, empty or unreadable; a bad row has a RowError as its `data`.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return {"": read_file(path)}
    if path.is_dir():
        return _read_folder(path)
    if source.startswith(("/", ".", "~")) or _ending(path) or source.count("/") > 1:
        raise UserError(f"no file {source!r}; give {FORMS}")
    return _read_hub(source, config)


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
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); give a whole file of rows") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    found = _json_rows(path, content) if ending == ".json" else _line_rows(content, ending == ".tsv")
    rows = [Raw(str(path), number, data) for number, data in found]
    if not rows:
        raise UserError(f"{path} is empty; give it rows")
    return rows


def _ending(path: Path) -> str:
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return ending if ending in ENDINGS else ""


def _line_rows(content: bytes, tabs: bool) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield number, _line(line.removesuffix(b"\r"), tabs)


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
        return _line_rows(content, tabs=False)
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


def _read_hub(source: str, config: str) -> dict[str, list[Raw]]:
    """Every split of a hub data set."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{source!r} is no file, and a hub id needs the library 'datasets': pip install datasets, or give a file"
        ) from error
    try:
        loaded = datasets.load_dataset(source, config or None)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"data set {source!r} cannot be loaded ({reason}); give a hub id or a .jsonl file") from error
    return {
        split: [Raw(f"{source}[{split}]", number, row, config) for number, row in enumerate(rows, 1)]
        for split, rows in loaded.items()
    }
