"""Write a run's report: one HTML file that opens anywhere, for live, finished and crashed runs.

write_report("runs/demo")   # Path("runs/demo/report.html")
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aha.studio import sections
from aha.studio.figures import duration
from aha.studio.page import page
from aha.studio.read import Run, Stage, read_run
from aha.studio.sections import text

SILENT = 300  # seconds without a write after which a running stage is said to be silent


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into a run folder. Raises UserError where it is none."""
    run = read_run(folder)
    path = run.path / "report.html"
    aside = path.with_name(".report.html.writing")
    aside.write_text(report(run, time.time()), encoding="utf-8")
    os.replace(aside, path)
    return path


def report(run: Run, now: float) -> str:
    """The report as HTML; `now` (unix seconds) is when it was made."""
    parts = [_head(run, now)]
    parts += [_stage(run, stage, now) for stage in run.stages]
    if run.recipe_text:
        parts.append(f"<details><summary>The resolved recipe</summary><pre>{text(run.recipe_text)}</pre></details>")
    made = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts.append(
        f"<footer>Made {made} from <code>{text(run.path)}</code>; "
        f"<code>aha report {text(run.path)}</code> makes it again.</footer>"
    )
    return page(f"{run.name}: aha run, {run.state}", "\n".join(parts))


def _head(run: Run, now: float) -> str:
    """Title, state, what was run, and the figures to see first."""
    about = f"<p>{text(run.recipe['about'])}</p>" if run.recipe.get("about") else ""
    facts = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in _facts(run))
    measured = [s for s in run.stages if {"before", "after"} <= set(s.evaluation)]
    tiles = sections.tiles(measured[-1].evaluation) if measured else ""
    return (
        f'<header><p class="eyebrow">aha run</p><div class="title"><h1>{text(run.name)}</h1>{_pill(run.state)}</div>'
        f'{about}{tiles}<dl class="facts">{facts}</dl></header>'
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    """What was run, and on what; only what the run says."""
    info, recipe = run.info, run.recipe
    stages = recipe.get("stages")
    algorithms = [
        str(s["algorithm"].get("name"))
        for s in (stages.values() if isinstance(stages, Mapping) else ())
        if isinstance(s, Mapping) and isinstance(s.get("algorithm"), Mapping)
    ]
    threads = info.get("threads")
    facts: list[tuple[str, Any]] = [
        ("Model", recipe.get("model")),
        ("Task", recipe.get("task")),
        ("Algorithm", ", ".join(dict.fromkeys(algorithms))),
        ("Seed", info.get("seed", recipe.get("seed"))),
        ("Machine", info.get("machine")),
        ("Processor", f"{info['cpu']}, {threads} threads" if info.get("cpu") and threads else info.get("cpu")),
        ("Computed on", _joined(info.get("device"), info.get("dtype"))),
        ("Started", str(info["started"]).replace("T", " ").replace("+00:00", " UTC") if info.get("started") else None),
        ("Time in steps", _time_in_steps(run)),
        ("Versions", _joined(*(f"{n} {info[n]}" for n in ("aha", "torch", "transformers", "python") if info.get(n)))),
        ("Commit", info.get("commit")),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _joined(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)


def _time_in_steps(run: Run) -> str | None:
    """From each stage's first step to its last, as far as the lines carry a time."""
    spans = []
    for stage in run.stages:
        times = [t for t in stage.times if t is not None]
        if len(times) > 1:
            spans.append(times[-1] - times[0])
    return duration(sum(spans)) if spans else None


def _stage(run: Run, stage: Stage, now: float) -> str:
    planned = f" of {stage.planned_steps}" if stage.planned_steps else ""
    return "\n".join(
        part
        for part in (
            f'<section aria-label="stage {text(stage.name)}">',
            f'<div class="title"><h2>Stage {stage.number}: {text(stage.name)}</h2></div>',
            f'<p class="note">{_pill(stage.state)} &nbsp;{stage.last_step}{planned} steps</p>',
            _trouble(run, stage, now),
            sections.before_after(stage.evaluation),
            sections.curves(stage),
            sections.samples(stage.samples),
            sections.phases(stage),
            sections.last_step(stage),
            "</section>",
        )
        if part
    )


def _trouble(run: Run, stage: Stage, now: float) -> str:
    """Why a stage failed, or for how long a running one has been silent."""
    again = "The same command goes on from the last checkpoint."
    if stage.state == "failed":
        return f'<p class="alert"><b>Stopped:</b> {text(stage.reason or "no reason was written")}<br>{again}</p>'
    silent = now - stage.written if stage.written is not None else 0.0
    if stage.state == "running" and silent > SILENT:
        return (
            f'<p class="alert quiet">Nothing was written for {duration(silent)} (h:m:s or m:s). '
            f"If the run is not alive any more: {again[0].lower()}{again[1:]}</p>"
        )
    return ""


def _pill(state: str) -> str:
    known = state if state in ("finished", "failed", "running") else "other"
    return f'<span class="state {known}">{text(state)}</span>'
