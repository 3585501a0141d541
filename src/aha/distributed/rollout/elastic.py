"""How many workers are wanted: the recipe says it, and a small file of the run folder may change it while the run goes.

    ask_for(folder, {"rollout": 3})                 # aha workers RUN --rollout 3
    Wanted(folder, {"rollout": 1, "reward": 0})()   # {"rollout": 3, "reward": 0}
    present(folder)                                 # ["rollout-0", "rollout-1"]

The file lives as long as the process that runs the recipe.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from aha.distributed.rollout.books import BOOKS, read
from aha.distributed.rollout.channel import Kind

FILE = "workers.json"
LEAST: dict[Kind, int] = {"rollout": 1, "reward": 0}


class Wanted:
    """The numbers of workers by kind."""

    def __init__(self, folder: Path, counts: Mapping[Kind, int]) -> None:
        self._file, self._counts = folder / FILE, dict(counts)
        self._seen: tuple[int, int] | None = None

    def __call__(self) -> dict[Kind, int]:
        """As they are now. What the file says stays until it says something else."""
        with contextlib.suppress(OSError, ValueError, TypeError):  # what cannot be read changes nothing
            status = self._file.stat()
            seen = status.st_mtime_ns, status.st_ino
            if seen != self._seen:
                self._seen = seen
                said = json.loads(self._file.read_text(encoding="utf-8"))
                self._counts |= {kind: max(least, int(said[kind])) for kind, least in LEAST.items() if kind in said}
        return self._counts


def ask_for(folder: Path, counts: Mapping[Kind, int]) -> None:
    """Ask the run in `folder` for other numbers of workers; kinds that are not named stay as they are."""
    file = folder / FILE
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    aside = file.with_name(f".{FILE}.writing")
    aside.write_text(json.dumps({**before, **counts}) + "\n", encoding="utf-8")
    os.replace(aside, file)


def forget_wanted(folder: Path) -> None:
    """The recipe's numbers count again."""
    (folder / FILE).unlink(missing_ok=True)


def present(folder: Path) -> list[str] | None:
    """The workers that a run has, by the books of its newest stage that has any; None where none has."""
    files = sorted(folder.glob(f"stages/*/{BOOKS}"), key=lambda file: file.stat().st_mtime)
    if not files:
        return None
    found: dict[str, None] = {}
    for line in read(files[-1]):
        match line["event"]:
            case "opened":
                found.clear()
            case "joined":
                found[line["worker"]] = None
            case "left" | "died":
                found.pop(line["worker"], None)
    return list(found)
