"""Answers that were paid for are kept in a file, a line each as soon as it came, and never asked for again.

    answers = Answers(folder / "judge.answers.jsonl")
    answers.add(key, reply, usage);  key in answers;  answers[key]
    answers.usage                    # of all lines: what has been spent, failures among it

A key is a digest of the request. A line that was cut off when the process died is forgotten.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from aha.engines.spending import Usage
from aha.errors import UserError
from aha.types import Failed, Reply

COSTS = [field.name for field in fields(Usage)]


class Answers:
    """The file, with the place of each answer in memory. Threads may share it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()
        self.usage = Usage()
        end = self._read() if file.exists() else 0
        self._stream = file.open("ab+")
        self._stream.truncate(end)

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._places

    def __getitem__(self, key: str) -> Reply:
        with self._lock:
            self._stream.seek(self._places[key])
            row = json.loads(self._stream.readline())
        return Reply(row["text"], row["thinking"], row["stop_reason"], row.get("tokens"), row.get("thinking_tokens"))

    def add(self, key: str, outcome: Reply | Failed, usage: Usage) -> None:
        """Write down what came of a request. A failure is written for what it cost alone: it may be asked again."""
        what = asdict(outcome) if isinstance(outcome, Reply) else {"failed": outcome.reason}
        line = json.dumps({"key": key, **what, **asdict(usage)}, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            place = self._stream.seek(0, 2)
            self._stream.write(line)
            self._stream.flush()
            self.usage += usage
            if isinstance(outcome, Reply):
                self._places[key] = place

    def close(self) -> None:
        """Give the file free."""
        self._stream.close()

    def _read(self) -> int:
        """Note what the file holds; returns where its last whole line ends."""
        place = 0
        with self.file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row: dict[str, Any] = json.loads(line)
                    self.usage += Usage(**{name: row[name] for name in COSTS})
                except (ValueError, LookupError, TypeError) as error:
                    raise UserError(
                        f"line {number} of {self.file} is damaged; remove it to ask for it again"
                    ) from error
                if "failed" not in row:
                    self._places[row["key"]] = place
                place += len(line)
        return place
