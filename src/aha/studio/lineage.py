"""What reads what in a run: its stages and the models that they start from, as rows with the lines between them.

    for row in rows_of(read_run("runs/r1")):
        row.name, row.reads, row.marks

A row is read from the recipe, in its order; models that the run does not make stand before the first stage that
starts from them. What a stage only measures has no line: it is told in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from aha.studio.files import part
from aha.studio.read import Run, Stage

Made = Literal["model", "data", "reward", "table"]
# "line" passes by, "begin" starts below the row, "branch" is read here and goes on, "end" is read here the last time
Shape = Literal["line", "begin", "branch", "end"]
MAKES: dict[str, Made] = {"collect": "data", "compare": "data", "reward-model": "reward", "evaluate": "table"}
MODEL, RULES = "model:", "rules:"
MOST_MODELS = 3  # that a stage measures and that are still told one by one


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of a line beside a row. Lane 0 is the row's own column; the greater, the further away from it."""

    lane: int
    shape: Shape
    made: Made  # by the row where the line begins


@dataclass(frozen=True, slots=True)
class Row:
    """A stage, or a model from outside (no `stage`, `kind` "model"). `reads` are names of other rows."""

    name: str
    kind: str
    made: Made
    reads: tuple[str, ...]
    words: str  # what it reads, in words
    stage: Stage | None = None
    above: Made | None = None  # a straight line from the row above, by what that makes
    below: Made | None = None
    marks: tuple[Mark, ...] = ()

    @property
    def sources(self) -> str:
        """What it reads, in names alone."""
        return ", ".join(short(name) for name in self.reads) or self.words.removeprefix("measures ")

    @property
    def state(self) -> str:
        """The stage's; that of a model from outside is empty, that of a stage without a folder "waiting"."""
        return self.stage.state if self.stage is not None else "waiting" if self.kind != "model" else ""


def rows_of(run: Run) -> tuple[Row, ...]:
    """All rows, from the first to the last."""
    rows: list[Row] = []
    planned = _planned(run)
    for name, config in planned.items():
        stage = next((s for s in run.stages if s.path.name.partition("-")[2] == name), None)
        row = _row(run, name, config, stage)
        for source in row.reads:
            if source not in planned and source not in {r.name for r in rows}:
                rows.append(Row(source, "model", "model", (), _outside(run, source)))
        rows.append(row)
    return _with_lines(rows)


def short(name: str) -> str:
    """A model's or a file's name without its folder: `model:/models/tiny-small` is `tiny-small`, what a stage has made
    is `01-zero/model`."""
    bare = name.removeprefix(MODEL)
    parts = PurePath(bare).parts[-2:]
    return "/".join(parts[-2 if parts[-1] == "model" else -1 :]) if parts else bare


def _planned(run: Run) -> dict[str, Mapping[str, Any]]:
    """The recipe's stages in order, then what else is in the folder."""
    found = {str(name): part(config) for name, config in part(run.recipe, "stages").items()}
    for stage in run.stages:
        found.setdefault(stage.path.name.partition("-")[2], stage.config)
    return found


def _row(run: Run, name: str, config: Mapping[str, Any], stage: Stage | None) -> Row:
    kind = str(config.get("kind") or (stage.kind if stage else ""))
    told = _told(kind, config) or {"reads": _names(part(stage.inputs, "data") if stage else None)}
    known = {*part(run.recipe, "stages"), *(s.path.name.partition("-")[2] for s in run.stages)}
    starts = {*told.get("from", []), *told.get("samples", [])}
    read = [n for verb, names in told.items() if verb != "measures" for n in names if n in known or n in starts]
    return Row(name, kind, MAKES.get(kind, "model"), tuple(dict.fromkeys(read)), _words(kind, told), stage)


def _told(kind: str, config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a stage reads, stages' names, models, files and rules, by how it reads them."""
    start = [str(config.get("start") or "base")]
    asked = {
        verb: [str(model)]
        for verb, role in (("rewritten by", "refine"), ("judged by", "judge"))
        if (model := part(config, role).get("model") or part(config, role, "endpoint").get("model"))
    }
    match kind:
        case "pretrain":
            return {"from": []}
        case "rl":
            chosen = part(config, "preferences").values()
            return {"from": start, "rewards by": _names([part(choice).get("model") for choice in chosen])}
        case "sft":
            return {"from": start, "learns": _names(config.get("data"))}
        case "collect":
            shown, added = _names(config.get("examples")), _names(config.get("also"))
            return {"samples": start, "shows": shown, "adds": added, **asked}
        case "compare":
            return {"samples": start, **asked}
        case "reward-model":
            return {"from": start, "learns": _names([config.get("data")])}
        case "evaluate":
            return {"measures": _names(config.get("models"))}
        case _:
            return {}


def _words(kind: str, told: Mapping[str, Sequence[str]]) -> str:
    """`from base, learns cold, cold-asked`."""
    if kind == "pretrain":
        return "from nothing"
    if kind == "evaluate" and len(told["measures"]) > MOST_MODELS:
        return f"measures {len(told['measures'])} models"
    return ", ".join(f"{verb} {', '.join(_called(name) for name in names)}" for verb, names in told.items() if names)


def _called(name: str) -> str:
    return f"preferences by rules of {name.removeprefix(RULES)}" if name.startswith(RULES) else short(name)


def _names(found: Any) -> list[str]:
    """The texts in a list, each once."""
    listed = found if isinstance(found, list | tuple | Mapping) else ()
    return list(dict.fromkeys(name for name in listed if isinstance(name, str) and name))


def _outside(run: Run, source: str) -> str:
    return f"the model {short(str(run.recipe.get('model', '')))}" if source == "base" else "a model from outside"


def _with_lines(rows: list[Row]) -> tuple[Row, ...]:
    """The rows with their lines: straight to the next row, over lanes to those further down."""
    place = {row.name: number for number, row in enumerate(rows)}
    readers: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        for source in row.reads:
            if place.get(source, number) < number:
                readers.setdefault(place[source], []).append(number)
    far = {s: [r for r in own if r > s + 1] for s, own in readers.items()}
    lanes = _lanes([(s, own[-1]) for s, own in far.items() if own])
    found = []
    for number, row in enumerate(rows):
        above = rows[number - 1].made if number in readers.get(number - 1, []) else None
        below = row.made if number + 1 in readers.get(number, []) else None
        marks = tuple(_marks(number, rows, far, lanes))
        found.append(Row(row.name, row.kind, row.made, row.reads, row.words, row.stage, above, below, marks))
    return tuple(found)


def _marks(number: int, rows: Sequence[Row], far: Mapping[int, list[int]], lanes: Mapping[int, int]) -> Iterator[Mark]:
    """The pieces of lines beside a row, those of the outermost lane first."""
    for source, lane in sorted(lanes.items(), key=lambda item: -item[1]):
        last = far[source][-1]
        if source <= number <= last:
            shape: Shape = "line"
            if number == source:
                shape = "begin"
            elif number in far[source]:
                shape = "end" if number == last else "branch"
            yield Mark(lane, shape, rows[source].made)


def _lanes(spans: Sequence[tuple[int, int]]) -> dict[int, int]:
    """A lane, from 1, for each line by where it begins; short lines get those next to the rows, none share a row."""
    taken: dict[int, list[tuple[int, int]]] = {}
    found = {}
    for first, last in sorted(spans, key=lambda span: (span[1] - span[0], span)):
        lane = 1
        while any(first <= end and begin <= last for begin, end in taken.get(lane, [])):
            lane += 1
        taken.setdefault(lane, []).append((first, last))
        found[first] = lane
    return found
