"""What stages of one kind leave beside metrics: conversations, held-back preferences, a table of models and tasks.

    collected(stage).reasons                 # {"accuracy": 1290, "enough": 310}
    held_back(stage)
    evaluated(stage)["r1"]["countdown"]["pass@1"]

All of it may be half there: of a stage that runs, its parts so far.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.studio.files import Figures, figures, finite, lines, mapping, part, text_under
from aha.studio.read import Example, Stage

HEAD = 1 << 20  # bytes of a file of conversations that are looked through for some to show
DROPPED = "dropped/"
REFINED = "refined "  # before the reason for which a rewritten response is dropped
_REASONS = {
    "accuracy": "wrong",
    "format": "not in the format",
    "format-r1": "not in the format",
    "language": "mixes languages",
    "repetition": "repeats itself",
    "enough": "surplus",
    "not refined": "could not be rewritten",
    "contaminated": "holds a test problem",
    "failed": "its grader failed",
    "judge": "judged wrong",
    "judge failed": "its judge failed",
    "alike": "judged alike",
    "same": "twice the same",
}
HOW = {"refined": "rewritten", "original": "left as it was"}
ALL = "total"  # the name of a table's last row


@dataclass(frozen=True, slots=True)
class Collected:
    """What a stage kept and why it dropped the rest; `sampled` is kept + dropped, of a stage that compares in pairs.
    `how` counts what was rewritten. `table` has samples, turns (user
    messages) and tokens (of a response) by domain, and of all under "total"; it is there when the stage is finished.
    `reviewed` counts decisions of people, "waiting" where one is missing; empty without a review."""

    asked: int
    questions_kept: int
    kept: int
    reasons: Mapping[str, int]
    how: Mapping[str, int]
    conversations: int | None
    table: Mapping[str, Mapping[str, float | None]]
    shown: tuple[tuple[str, Example], ...]  # with the domain, the language and the length in words
    reviewed: Mapping[str, int]

    @property
    def sampled(self) -> int:
        """Samples that were drawn."""
        return self.kept + sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A preference that the reward model did not learn from. `margin` is by how much the number speaks for the right
    side: better - worse of a pair, the number of a safe response, minus the number of an unsafe one."""

    kind: str
    margin: float
    right: bool


def because(reason: str) -> str:
    """A reason for which samples are dropped, in words; that of a reward of one's own is its name."""
    if reason.startswith(REFINED):
        return f"rewritten, {because(reason.removeprefix(REFINED))}"
    return _REASONS.get(reason, reason)


def collected(stage: Stage, shown: int = 3) -> Collected:
    """What a collecting stage made, with up to `shown` conversations, of as many domains as there are."""
    sums: Counter[str] = Counter()
    for step in stage.metrics:
        sums.update({name: round(value) for name, value in step.values.items() if math.isfinite(value)})
    reasons = {name.removeprefix(DROPPED): n for name, n in sums.items() if name.startswith(DROPPED) and n > 0}
    table = {str(name): _line(line) for name, line in mapping(stage.path / "table.json").items()}
    made = stage.result.get("conversations", stage.result.get("pairs"))
    return Collected(
        asked=sums["asked"],
        questions_kept=sums["questions_kept"],
        kept=sums["kept"],
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        how={word: sums[name] for name, word in HOW.items() if sums[name]},
        conversations=made if isinstance(made, int) else None,
        table=table,
        shown=_shown(stage, shown),
        reviewed=Counter(str(row.get("decision") or "waiting") for row in lines(stage.path / "review.jsonl")),
    )


def _line(line: Any) -> dict[str, float | None]:
    found = figures(line) if isinstance(line, Mapping) else {}
    return {name: value if isinstance(value := found.get(name), float) else None for name in TABLE}


TABLE = ("samples", "turns", "tokens")  # the numbers of a line of the table


def _shown(stage: Stage, count: int) -> tuple[tuple[str, Example], ...]:
    """Kept conversations: the first of each domain, then others."""
    rows = lines(stage.path / "data.jsonl", HEAD) or [row for part in _parts(stage, 1) for row in _rows(part)]
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(text_under(row, "task"), row)
    others = [row for row in rows if not any(row is chosen for chosen in first.values())]
    chosen = [*first.values(), *others]
    return tuple(_example(row) for row in chosen[:count])


def _rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = found.get("rows")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _example(row: Mapping[str, Any]) -> tuple[str, Example]:
    messages = row.get("messages")
    asked = [m for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
    tokens = row.get("tokens")
    length = f"{tokens:,} tokens" if isinstance(tokens, int) else ""
    about = (text_under(row, "task"), text_under(row, "language"), length)
    question = text_under(asked[-1], "content") if asked else ""
    response = text_under(row, "response")
    if "chosen" in row:
        response = f"better: {text_under(row, 'chosen')}\n\nworse: {text_under(row, 'rejected')}"
    return ", ".join(word for word in about if word), Example(question, response)


def _parts(stage: Stage, most: int | None = None) -> list[dict[str, Any]]:
    """The parts that a stage which works in parts has written, in order."""
    return [mapping(file) for file in sorted((stage.path / "parts").glob("part-*.json"))[:most]]


def held_back(stage: Stage) -> tuple[HeldBack, ...]:
    """The held-back preferences of a finished reward model."""
    rows = mapping(stage.path / "held_back.json").get("rows")
    return tuple(
        HeldBack(str(row.get("kind", "")), margin, bool(row.get("right")))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, Mapping) and (margin := finite(row.get("margin"))) is not None
    )


def evaluated(stage: Stage) -> dict[str, dict[str, Figures]]:
    """Figures by model and task, of a stage that still runs as far as they were made."""
    table = mapping(stage.path / "table.json")
    if table:
        return {str(m): {str(t): figures(part(row, t)) for t in row} for m, row in table.items() if part(row)}
    models, tasks = stage.config.get("models"), stage.config.get("tasks")
    if not isinstance(models, Sequence) or not isinstance(tasks, Mapping):
        return {}
    places = [(str(model), str(task)) for model in models for task in tasks]
    found: dict[str, dict[str, Figures]] = {}
    for (model, task), made in zip(places, _parts(stage), strict=False):
        if own := figures(part(made, "figures")):
            found.setdefault(model, {})[task] = own
    return found
