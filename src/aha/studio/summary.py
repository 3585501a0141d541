"""A stage's main result in one line, and how long it took: what the list of a run's stages shows.

result(stage)          # "pass@1 22.4 → 95.5 %, 37 → 112 tokens"
seconds(run)[3]        # of stage number 3
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from aha.studio.figures import DASH, number, show
from aha.studio.files import finite, measured
from aha.studio.made import because, collected, evaluated
from aha.studio.read import Run, Stage
from aha.studio.standing import MEAN, standing

MOST_REASONS = 2  # that are told in the line


def result(stage: Stage) -> str:
    """What came of it, or has so far; why it stopped, where it did."""
    if stage.state in ("failed", "stopped") and stage.reason:
        return stage.reason
    if stage.kind in ("collect", "compare"):
        return _collect(stage)
    if stage.kind == "evaluate":
        return _evaluate(stage)
    parts = [_loss(stage)] if stage.kind != "rl" else []
    if stage.kind == "reward-model":
        parts.insert(0, _agreement(stage))
    else:
        parts += [_right(stage), _length(stage)]
    return ", ".join(part for part in parts if part) or DASH


def seconds(run: Run) -> dict[int, float]:
    """How long each stage was at work, by number: its steps, and what came before and after them, without the time
    in which nothing ran. What a broken run did after its last step is not counted, nor what was done again."""
    moments: list[tuple[float, int]] = [(when, 0) for when in _times(run, "start")]
    for stage in run.stages:
        steps = [t for t in stage.times if t is not None]
        ends = [t for t in _times(run, "stage finished", stage.path.name.partition("-")[2]) if steps and t >= steps[-1]]
        moments += [(t, stage.number) for t in (*steps, *ends[:1])]
    spent: dict[int, float] = {}
    last: float | None = None
    for when, owner in sorted(moments):
        if owner and last is not None:
            spent[owner] = spent.get(owner, 0.0) + when - last
        last = when
    return spent


def _times(run: Run, what: str, stage: str | None = None) -> list[float]:
    """When something happened, in unix seconds."""
    events = [event for event in run.events if (event.get("event"), event.get("stage")) == (what, stage)]
    return [when for event in events if (when := finite(event.get("time"))) is not None]


def _collect(stage: Stage) -> str:
    found = collected(stage, 0)
    if not found.sampled:
        return DASH
    text = f"kept {found.kept:,} of {found.sampled:,} ({_percent(found.kept / found.sampled, 0)})"
    if found.conversations is not None and found.conversations != found.kept:
        text += f", {found.conversations:,} in all"
    told = dropped(found.reasons, MOST_REASONS)
    return f"{text}; dropped: {told}" if told else text


def dropped(reasons: Mapping[str, float], most: int) -> str:
    """Why samples were dropped, the commonest reasons first: `wrong 1,387, surplus 1,018, others 300`."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    told = [f"{because(reason)} {count:,.0f}" for reason, count in ordered[:most]]
    rest = sum(count for _, count in ordered[most:])
    return ", ".join([*told, *([f"others {rest:,.0f}"] if rest else [])])


def _evaluate(stage: Stage) -> str:
    table = standing(evaluated(stage))
    if table is None:
        return DASH
    done = f"{len(table.models)} models on {table.tasks} tasks"
    column = next((c for c in table.columns if c.name == MEAN), table.columns[0])
    best = [m for m, cell in zip(table.models, column.cells, strict=True) if cell.best]
    if not best:
        return done
    value = next(cell for m, cell in zip(table.models, column.cells, strict=True) if m == best[0])
    return f"{done}; best {column.label}: {best[0]}, {value.text} %"


def _agreement(stage: Stage) -> str:
    after = stage.evaluation.get("after", {})
    agreement, asked = measured(after, "agreement"), measured(after, "asked")
    if agreement is not None:
        return f"agrees with {_percent(agreement)} of {asked or 0:,.0f} held back"
    last = stage.series("agreement")[1][-1:]
    return f"agreement while it learns {_percent(last[0])}" if last else ""


def _percent(share: float, places: int = 1) -> str:
    return f"{100 * share:.{places}f} %"


def _loss(stage: Stage) -> str:
    values = [v for v in stage.series("loss")[1] if math.isfinite(v)]
    return f"loss {number(values[0])} → {number(values[-1])}" if values else ""


def _right(stage: Stage) -> str:
    before, after = (measured(stage.evaluation.get(when, {}), "pass@1") for when in ("before", "after"))
    if before is not None and after is not None:
        return f"pass@1 {100 * before:.1f} → {show(after, 'share')}"
    if after is not None:
        return f"pass@1 {show(after, 'share')}"
    last = [v for v in stage.series("pass@1")[1] if math.isfinite(v)][-1:]
    if last:
        return f"pass@1 {show(last[0], 'share')} in {stage.unit} {stage.last_step}"
    return f"pass@1 {show(before, 'share')} before" if before is not None else ""


def _length(stage: Stage) -> str:
    before, after = (measured(stage.evaluation.get(when, {}), "mean_length") for when in ("before", "after"))
    if before is None or after is None:
        return ""
    return f"{show(before, 'tokens')} → {show(after, 'tokens')} tokens"
