"""The run folder: what a run writes and all that its readers read.

    recipe.yaml  run.json  events.jsonl
    stages/NN-NAME/ stage.json metrics.jsonl evaluation.json samples.json rollouts/ checkpoints/ model/

Files that must be whole are written aside and renamed. One process at a time owns a folder; others of the same run only
read it: with `writes=False` nothing is changed by anything that would.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from aha.choices import what_counts
from aha.config import Recipe, validate
from aha.errors import UserError
from aha.types import StepMetrics

MAY_CHANGE = ("sharding", "launcher", "workers")  # sections that decide where things are made, and not what


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    aside = path.with_name(f".{path.name}.writing")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def in_use(path: Path) -> bool:
    """Whether a process runs the recipe of this folder now."""
    try:
        with (path / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class RunFolder:
    """One run's folder, owned by this process until it is closed."""

    def __init__(self, path: Path, recipe: Recipe, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._lock: TextIO | None = None
        if writes:
            self._own(recipe)

    def _own(self, recipe: Recipe) -> None:
        path = self.path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder with --out") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{path} is in use by another process; wait for it or choose another --out") from error
        self._claim(recipe)

    def _claim(self, recipe: Recipe) -> None:
        """Write the recipe, or hold it against the one that the folder is of."""
        file = self.path / "recipe.yaml"
        data = recipe.model_dump(mode="json")
        if file.exists():
            old = yaml.safe_load(file.read_text(encoding="utf-8"))
            difference = _first_difference(_decisive(_as_now(old)), _decisive(data))
            if difference:
                raise UserError(
                    f"{self.path} holds another run ({difference}); choose another folder with --out, or remove it"
                )
            return
        others = [p.name for p in self.path.iterdir() if p.name != ".lock"]
        if others:
            raise UserError(f"{self.path} holds other files ({others[0]}); choose a new folder with --out")
        write_text(file, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the run."""
        if not self.writes:
            return
        write_text(self.path / name, json.dumps(data, indent=1, ensure_ascii=False) + "\n")

    def event(self, what: str, **details: Any) -> None:
        """Append to events.jsonl."""
        if not self.writes:
            return
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), "event": what, **details}, ensure_ascii=False) + "\n")

    def stage(self, number: int, name: str) -> StageFolder:
        """The folder of stage `name`, counted from 1."""
        return StageFolder(self.path / "stages" / f"{number:02d}-{name}", name, writes=self.writes)

    def close(self) -> None:
        """Give the folder free."""
        if self._lock is not None:
            self._lock.close()


class StageFolder:
    """One stage's files."""

    def __init__(self, path: Path, name: str, *, writes: bool = True) -> None:
        self.path, self.name, self.writes = path, name, writes
        if writes:
            path.mkdir(parents=True, exist_ok=True)

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the stage, empty where there is none yet."""
        file = self.path / name
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the stage."""
        if not self.writes:
            return
        (self.path / name).parent.mkdir(exist_ok=True)
        write_text(self.path / name, json.dumps(data, indent=1, ensure_ascii=False) + "\n")

    def set_aside(self) -> Path:
        """Begin an empty folder; what was there is kept beside it."""
        number = 1
        while (kept := self.path.with_name(f"{self.path.name}.replaced-{number}")).exists():
            number += 1
        self.path.rename(kept)
        self.path.mkdir()
        return kept

    def evaluation(self) -> dict[str, Any]:
        """The evaluations made so far: "before", "after"."""
        return self.read_json("evaluation.json")

    def state(self) -> dict[str, Any]:
        """stage.json."""
        return self.read_json("stage.json")

    def set_state(self, **fields: Any) -> None:
        """Change fields of stage.json."""
        self.write_json("stage.json", {**self.state(), **fields})

    def append(self, metrics: StepMetrics) -> None:
        """One line of metrics.jsonl."""
        if not self.writes:
            return
        line = {"step": metrics.step, "time": time.time(), **metrics.values}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def steps(self) -> int:
        """Lines of metrics.jsonl."""
        file = self.path / "metrics.jsonl"
        return len(_whole_lines(file)) if file.exists() else 0

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: a resumed run writes it again."""
        if not self.writes:
            return
        file = self.path / "metrics.jsonl"
        if file.exists():
            write_text(file, "".join(line for line in _whole_lines(file) if json.loads(line)["step"] <= step))
        for stored in self.rollouts.glob("step-*.parquet"):
            if int(stored.stem.removeprefix("step-")) > step:
                stored.unlink()


def _whole_lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _as_now(recipe: Any) -> Any:
    """A recipe as it was written, with the fields that it does not have at their defaults."""
    try:
        return validate(recipe).model_dump(mode="json")
    except UserError:
        return recipe


def _decisive(recipe: Any) -> Any:
    """What of a recipe may not change in the middle of a run."""
    counts = what_counts(recipe)
    return {k: v for k, v in counts.items() if k not in MAY_CHANGE} if isinstance(counts, dict) else counts


def _first_difference(old: Any, new: Any, where: str = "") -> str | None:
    """The first key on which two plain configurations differ, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(k for k in old if k not in new)]:
            found = _first_difference(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
            if found:
                return found
        return None
    return None if old == new else f"its {where} is {old!r}, not {new!r}"
