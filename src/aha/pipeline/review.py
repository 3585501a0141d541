"""Human review of what a stage collected: export, decide, import; who changed what is kept.

    review.jsonl       the conversations as they stand, each with its decision ("" while there is none)
    review_log.jsonl   one line a decision: conversation, who, when, text before and after

A row of an exported file is decided by writing `accept`, `reject` or `edit` under `decision`; with `edit` the text
under `response` replaces the old one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.errors import Stopped, UserError
from aha.pipeline.conversations import Conversation
from aha.pipeline.run_folder import write_text
from aha.tasks.rows import RowError, read_file

FILE, LOG = "review.jsonl", "review_log.jsonl"
DECISIONS = ("accept", "edit", "reject")


def reviewed(folder: Path, rows: Sequence[Conversation]) -> list[Conversation]:
    """What is left of `rows` after the review. Raises Stopped while a decision is missing."""
    file = folder / FILE
    if not file.exists():
        _write(file, [{**row.as_row(), "decision": "", "by": ""} for row in rows])
    noted = _rows(file)
    waiting = sum(not row["decision"] for row in noted)
    if waiting:
        raise Stopped(f"{waiting} of {len(noted)} conversations wait for review (aha review {folder} --export FILE)")
    return [Conversation.of_row(row) for row in noted if row["decision"] != "reject"]


def export(folder: Path, file: Path) -> int:
    """Write what waits for a decision to `file`; returns how many rows that is."""
    waiting = [row for row in _rows(_known(folder)) if not row["decision"]]
    _write(file, waiting)
    return len(waiting)


def take(folder: Path, file: Path, by: str) -> dict[str, int]:
    """Take over the decisions in `file`, made by `by`; returns how many of each. Undecided rows are passed over.

    Raises UserError, and changes nothing, where a row is unknown or its decision is none.
    """
    noted = {row["id"]: row for row in _rows(_known(folder))}
    changes = []
    for raw in read_file(file):
        row = raw.data
        if isinstance(row, RowError) or not isinstance(row, Mapping) or row.get("id") not in noted:
            raise UserError(f"{file} row {raw.number} is no conversation of {folder}; import what was exported from it")
        decision = row.get("decision", "")
        if decision and decision not in DECISIONS:
            raise UserError(f"{file} row {raw.number}: decision {decision!r} is none of {', '.join(DECISIONS)}")
        text = row.get("response") if decision == "edit" else noted[row["id"]]["response"]
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{file} row {raw.number}: an edited response needs its text under 'response'")
        if decision:
            changes.append((str(row["id"]), str(decision), text))
    with (folder / LOG).open("a", encoding="utf-8") as log:
        for name, decision, text in changes:
            line = {
                "id": name, "decision": decision, "by": by, "time": time.time(),
                "before": noted[name]["response"], "after": None if decision == "reject" else text,
            }  # fmt: skip
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
            noted[name] = {**noted[name], "decision": decision, "by": by, "response": text}
    _write(folder / FILE, list(noted.values()))
    return {decision: sum(d == decision for _, d, _ in changes) for decision in DECISIONS}


def _known(folder: Path) -> Path:
    file = folder / FILE
    if not file.is_file():
        raise UserError(f"{folder} has nothing to review; give a stage's folder of a recipe with review=true")
    if (folder / "data.jsonl").exists():
        raise UserError(f"{folder} is finished; run the recipe with --from to collect and review again")
    return file


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
