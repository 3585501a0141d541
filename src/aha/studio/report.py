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

from aha.studio import kinds, sections
from aha.studio.figures import duration, number
from aha.studio.lineage import rows_of
from aha.studio.overview import overview, tiles
from aha.studio.page import page
from aha.studio.read import Run, Stage, read_run
from aha.studio.sections import pill, text
from aha.studio.standing import last_table
from aha.studio.summary import seconds

SILENT = 300  # seconds without a write after which a running stage is said to be silent
DIGEST = 12  # letters of a digest
OTHERS = ("collect", "compare", "reward-model", "evaluate")  # kinds whose result is neither curve nor sample


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
    parts = [_head(run)]
    if has_many(run):
        spent = seconds(run)
        parts.append(overview(run))
        parts += [_of_many(run, s, now, spent.get(s.number)) for s in run.stages if s.state != "waiting"]
    else:
        parts += [_stage(run, stage, now) for stage in run.stages]
    if run.recipe_text:
        parts.append(f"<details><summary>The resolved recipe</summary><pre>{text(run.recipe_text)}</pre></details>")
    made = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts.append(
        f"<footer>Made {made} from <code>{text(run.path)}</code>; "
        f"<code>aha report {text(run.path)}</code> makes it again.</footer>"
    )
    return page(f"{run.name}: aha run, {run.state}", "\n".join(parts))


def has_many(run: Run) -> bool:
    """Whether the run has, or will have, several stages, or one whose result is neither a curve nor a sample."""
    stages = [row for row in rows_of(run) if row.kind != "model"]
    return len(stages) > 1 or any(row.kind in OTHERS for row in stages)


def _head(run: Run) -> str:
    """Title, state, what was run, and the figures to see first."""
    about = f"<p>{text(run.recipe['about'])}</p>" if run.recipe.get("about") else ""
    facts = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in _facts(run))
    measured, table = [s for s in run.stages if {"before", "after"} <= set(s.evaluation)], last_table(run)
    first = tiles(table[1]) if table else sections.tiles(measured[-1].evaluation) if measured else ""
    if has_many(run) and measured and not table:
        first += f'<p class="note">Stage {text(measured[-1].name)}, before and after it.</p>'
    return (
        f'<header><p class="eyebrow">aha run</p><div class="title"><h1>{text(run.name)}</h1>{pill(run.state)}</div>'
        f'{about}{first}<dl class="facts">{facts}</dl></header>'
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
        ("Task", _tasks(recipe.get("task"))),
        ("Algorithm", ", ".join(dict.fromkeys(algorithms))),
        ("Seed", info.get("seed", recipe.get("seed"))),
        ("Machine", info.get("machine")),
        ("Processor", f"{info['cpu']}, {threads} threads" if info.get("cpu") and threads else info.get("cpu")),
        ("Computed on", _joined(info.get("device"), info.get("dtype"))),
        ("Started", str(info["started"]).replace("T", " ").replace("+00:00", " UTC") if info.get("started") else None),
        ("Time at work" if has_many(run) else "Time in steps", _time_in_steps(run)),
        ("Versions", _joined(*(f"{n} {info[n]}" for n in ("aha", "torch", "transformers", "python") if info.get(n)))),
        ("Commit", info.get("commit")),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _tasks(task: Any) -> Any:
    """A task's name, or the names of several with their shares."""
    if not isinstance(task, Mapping):
        return task
    shares = {str(name): share for name, share in task.items() if isinstance(share, int | float)}
    return ", ".join(f"{name} {number(share)}" for name, share in shares.items())


def _joined(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)


def _time_in_steps(run: Run) -> str | None:
    """From each stage's first step to its last, as far as the lines carry a time; of several all that they took."""
    if has_many(run):
        spent = sum(seconds(run).values())
        return duration(spent) if spent else None
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
            f'<p class="note">{pill(stage.state)} &nbsp;{stage.last_step}{planned} steps</p>',
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


def _of_many(run: Run, stage: Stage, now: float, spent: float | None) -> str:
    """The section of one stage among others; numbers that few read are folded away."""
    row = next((row for row in rows_of(run) if row.stage is stage), None)
    count = max(stage.planned_steps or 0, stage.last_step)
    unit = stage.unit if count == 1 else f"{stage.unit}s"
    facts = [f"{stage.last_step} of {count} {unit}" if stage.last_step < count else f"{count} {unit}"]
    facts += [duration(spent)] if spent is not None else []
    facts += [text(row.words)] if row is not None and row.words else []
    numbers = (sections.phases(stage), sections.last_step(stage)) if stage.unit == "step" else ()
    heading = "All numbers" if any(numbers) else "What it read"
    more = "".join((*numbers, _inputs(stage)))
    return "\n".join(
        part
        for part in (
            f'<section aria-label="stage {text(stage.name)}" id="stage-{stage.number}">',
            f'<h2>Stage {stage.number}: {text(stage.name)} <span class="kind">{text(stage.kind)}</span></h2>',
            f'<p class="note">{pill(stage.state)} &nbsp;{" · ".join(facts)}</p>',
            _trouble(run, stage, now),
            *_body(run, stage),
            f'<details class="more"><summary>{heading}</summary>{more}</details>' if more else "",
            "</section>",
        )
        if part
    )


def _body(run: Run, stage: Stage) -> list[str]:
    """What a stage of its kind has to show."""
    match stage.kind:
        case "collect" | "compare":
            return [kinds.collect(stage)]
        case "reward-model":
            return [kinds.reward(stage), sections.curves(stage)]
        case "evaluate":
            table = last_table(run)
            return [kinds.measured(stage, above=table is not None and table[0] is stage)]
        case _:
            return [
                sections.before_after(stage.evaluation), sections.curves(stage), sections.samples(stage.samples),
            ]  # fmt: skip


def _inputs(stage: Stage) -> str:
    """What it read, by the beginning of each digest."""
    data = stage.inputs.get("data")
    read = {"model": stage.inputs.get("start"), **(data if isinstance(data, Mapping) else {})}
    told = ", ".join(f"{text(name)} <code>{text(str(v)[:DIGEST])}</code>" for name, v in read.items() if v)
    return f"<h3>Inputs, by digest</h3><p>{told}</p>" if told else ""


def _trouble(run: Run, stage: Stage, now: float) -> str:
    """Why a stage failed, or for how long a running one has been silent."""
    again = "The same command goes on from the last checkpoint."
    if stage.state == "failed":
        return f'<p class="alert"><b>Stopped:</b> {text(stage.reason or "no reason was written")}<br>{again}</p>'
    if stage.state == "stopped" and stage.reason:
        return f'<p class="alert quiet"><b>Stopped:</b> {text(stage.reason)}<br>{again}</p>'
    silent = now - stage.written if stage.written is not None else 0.0
    if stage.state == "running" and silent > SILENT:
        return (
            f'<p class="alert quiet">Nothing was written for {duration(silent)} (h:m:s or m:s). '
            f"If the run is not alive any more: {again[0].lower()}{again[1:]}</p>"
        )
    return ""
