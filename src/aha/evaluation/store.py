"""The folder of an evaluation: every sample as soon as it is graded, so that a killed one goes on where it was.

    runs/eval/MODEL-SUITE-DIGEST/
      settings.json     all that decides the figures: model, data, sampling, judge; the folder's name has its digest
      samples.jsonl     while it runs: a line a sample
      samples.parquet   at the end: a row a sample, in the order of the data
      results.json      the figures of each task      table.md      the same to read
      run.json          when, where and how long

The same settings are the same folder; one process at a time owns it. What was settled before is never made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aha.errors import UserError
from aha.evaluation.records import Record
from aha.types import Problem

Key = tuple[str, str, int]  # task, problem, sample
ROWS = 1000  # of a row group
NAME = 40  # characters of a model's name in the folder's
SCHEMA = pa.schema(
    [
        ("task", pa.string()), ("problem", pa.string()), ("sample", pa.int32()), ("group", pa.string()),
        ("question", pa.string()), ("reference", pa.string()), ("outcome", pa.string()), ("value", pa.float64()),
        ("why", pa.string()), ("answer", pa.string()), ("vote", pa.string()), ("stop_reason", pa.string()),
        ("tokens", pa.int32()), ("thinking_tokens", pa.int32()), ("well_formed", pa.bool_()), ("r1_form", pa.bool_()),
        ("language", pa.float64()), ("reflection_words", pa.int32()), ("mixed_language", pa.bool_()),
        ("claims", pa.int32()), ("claims_right", pa.int32()), ("marks", pa.map_(pa.string(), pa.float64())),
        ("text", pa.string()),
    ]
)  # fmt: skip


def folder_of(parent: Path, model: str, suite: str, settings: Mapping[str, Any]) -> Path:
    """Where the evaluation with these settings stands.

    >>> folder_of(Path("runs/eval"), "./runs/demo/model", "tiny", {}).name
    'runs-demo-model-tiny-44136fa355'
    """
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-.")[-NAME:].strip("-.") or "model"
    label = re.sub(r"[^A-Za-z0-9.]+", "-", suite).strip("-.")[-NAME:]
    return parent / f"{slug}-{label}-{digest(settings)[:10]}"


def digest(value: Any) -> str:
    """Of anything that JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Store:
    """The folder, owned until it is closed. Threads may share it."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = path, dict(settings)
        self._lock = threading.Lock()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._owned = (path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder with --out") from error
        try:
            fcntl.flock(self._owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._owned.close()
            raise UserError(f"{path} is in use by another process; wait for it or choose another --out") from error
        self._claim()
        self._places: dict[Key, int] = {}
        self._records: dict[Key, Record] = {}
        self._journal = (path / "samples.jsonl").open("ab+")
        self._journal.truncate(self._read())

    def _claim(self) -> None:
        file = self.path / "settings.json"
        if not file.exists():
            self.write_json("settings.json", self.settings)
        elif json.loads(file.read_text(encoding="utf-8")) != self.settings:
            raise UserError(f"{self.path} holds an evaluation with other settings; choose another folder with --out")

    def __contains__(self, key: Key) -> bool:
        return key in self._records

    def add(self, record: Record) -> None:
        """Keep a settled sample."""
        line = json.dumps(asdict(record)).encode() + b"\n"
        key = (record.task, record.problem, record.sample)
        with self._lock:
            if key in self._records:
                return
            self._places[key] = self._journal.seek(0, 2)
            self._journal.write(line)
            self._journal.flush()
            self._records[key] = replace(record, text="")

    def get(self, key: Key) -> Record | None:
        """A settled sample, without its text."""
        return self._records.get(key)

    def finish(self, rows: Iterable[tuple[Problem, Record]], results: Mapping[str, Any], table: str) -> None:
        """Write all samples, settled or not, and what came of them. The journal goes where nothing is left to try."""
        settled = True
        aside = self.path / ".samples.writing"
        with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
            for part in _batches(rows):
                settled &= all(record.settled for _, record in part)
                found = [_row(problem, self._whole(record)) for problem, record in part]
                writer.write_table(pa.Table.from_pylist(found, schema=SCHEMA))
        os.replace(aside, self.path / "samples.parquet")
        self.write_text("table.md", table)
        self.write_json("results.json", results)
        if settled:
            (self.path / "samples.jsonl").unlink()

    def results(self) -> dict[str, Any] | None:
        """What `finish` wrote, where nothing was left to try."""
        file = self.path / "results.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        return dict(found) if found and found["finished"] else None

    def write_json(self, name: str, data: Any) -> None:
        self.write_text(name, json.dumps(data, indent=1, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """A file of the folder, whole or not at all."""
        aside = self.path / f".{name}.writing"
        with aside.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.path / name)

    def close(self) -> None:
        """Give the folder free; one that nothing came of goes."""
        self._journal.close()
        if not self._records or self.results() is not None:
            (self.path / "samples.jsonl").unlink(missing_ok=True)
        if {path.name for path in self.path.iterdir()} == {".lock", "settings.json"}:
            shutil.rmtree(self.path)
        self._owned.close()

    def _read(self) -> int:
        """Note what the journal holds; returns where its last whole line ends: a process may have died in a line."""
        place = 0
        self._journal.seek(0)
        for number, line in enumerate(self._journal, 1):
            if not line.endswith(b"\n"):
                break
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise UserError(f"line {number} of {self._journal.name} is damaged; remove that line") from error
            key = (record.task, record.problem, record.sample)
            self._places[key], self._records[key] = place, replace(record, text="")
            place += len(line)
        return place

    def _whole(self, record: Record) -> Record:
        """A record with its text."""
        place = self._places.get((record.task, record.problem, record.sample))
        if place is None:
            return record
        with self._lock:
            self._journal.seek(place)
            return Record(**json.loads(self._journal.readline()))


def _batches(rows: Iterable[tuple[Problem, Record]]) -> Iterator[list[tuple[Problem, Record]]]:
    part: list[tuple[Problem, Record]] = []
    for row in rows:
        part.append(row)
        if len(part) == ROWS:
            yield part
            part = []
    if part:
        yield part


def _row(problem: Problem, record: Record) -> dict[str, Any]:
    asked = {"question": problem.messages[-1].content, "reference": problem.reference}
    values = {**asdict(record), **asked, "marks": list(record.marks.items())}
    # JSON can say halves of characters, a file of text cannot hold them.
    return {n: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for n, v in values.items()}
