"""Draw a run's curves: `curves.png`, and single panels as SVG for the report.

    curves_png(read_run("runs/demo"), Path("runs/demo"))   # [Path("runs/demo/curves.png")]

The picture of a run with one training stage has all of its panels, that of a run with several has a row a stage.

Thin line: every step. Strong line: smoothed. Dots: evaluations on test problems. No text of a model gets into a plot.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

from aha.studio.panels import BLUE, GREEN, ORANGE, Curve, Panel, bandwidth, panels_of, row_of
from aha.studio.read import LEARNING, Run, Stage

INK, MUTED, GRID, PAPER = "#1f2328", "#6b7280", "#e6e8eb", "#ffffff"
VARIABLES = {
    BLUE: "--curve-1", ORANGE: "--curve-2", GREEN: "--curve-3", INK: "--ink", MUTED: "--muted", GRID: "--grid",
    PAPER: "--paper",
}  # fmt: skip
COLUMNS = 3
ROW = 4  # panels in the row of a stage, where there are several
MOST_ROWS = 12  # the last stages of a run with more
APART = 0.11  # of an axis's height, between names at the ends of lines
_COLOUR = re.compile("|".join(VARIABLES))


def curves_png(run: Run, out_dir: Path) -> list[Path]:
    """Write `curves.png` into `out_dir`; an empty list where the run has measured nothing yet."""
    training = [stage for stage in run.stages if stage.kind in LEARNING and panels_of(stage)]
    several = len(training) > 1
    drawn = [(stage, row_of(stage, ROW) if several else panels_of(stage)) for stage in training[-MOST_ROWS:]]
    if not drawn:
        return []
    figure = _rows(run, drawn) if several else _whole(run, *drawn[0])
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "curves.png"
    figure.savefig(path, facecolor=PAPER)
    return [path]


def panel_svg(panel: Panel, planned: int, prefix: str) -> str:
    """One panel as an `<svg>` element for a page that defines the colours of `VARIABLES`; ids begin with `prefix`."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure = Figure(figsize=(4.1, 2.45), layout="constrained")
        _panel(figure.add_subplot(), panel, planned, heading=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue().decode("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = _COLOUR.sub(lambda match: f"var({VARIABLES[match[0]]})", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{describe(panel)}" ', 1).strip()


def describe(panel: Panel) -> str:
    """The panel in a sentence, for those who do not see it."""
    lines = []
    for curve in panel.curves:
        if curve.values:
            first, last, where = curve.smoothed[0], curve.end, ""
        else:
            first, last, where = curve.dots[0][1], curve.dots[-1][1], " in evaluations"
        lines.append(f"{curve.label or 'value'} from {_tick(first, panel)} to {_tick(last, panel)}{where}")
    return f"{panel.title}, {panel.unit}: {'; '.join(lines)}"


def _canvas(height: float) -> Figure:
    """An empty picture of a given height, in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(12.6, height), dpi=160, facecolor=PAPER, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _whole(run: Run, stage: Stage, panels: list[Panel]) -> Figure:
    """One stage: a heading, its panels in rows, and how to read them."""
    rows = math.ceil(len(panels) / COLUMNS)
    figure = _canvas(2.75 * rows + 0.75 + 0.15)
    model, task = str(run.recipe.get("model", "")), str(run.recipe.get("task", ""))
    about = "  ·  ".join(_plain(text) for text in (model, task, f"{stage.last_step} steps") if text)
    (part,) = figure.subfigures(1, 1, squeeze=False)[:, 0]
    part.suptitle(
        f"{_plain(run.name)} / {_plain(stage.name)}",
        x=0.012,
        ha="left",
        fontsize=15,
        fontweight="bold",
        color=INK,
        parse_math=False,
    )
    part.text(0.988, 0.985, about, ha="right", va="top", fontsize=9.5, color=MUTED, parse_math=False)
    _panels(part.subplots(rows, COLUMNS, squeeze=False).flat, stage, panels)
    _note(part, panels)
    return figure


def _rows(run: Run, drawn: Sequence[tuple[Stage, list[Panel]]]) -> Figure:
    """A row of panels for each stage, under its name."""
    figure = _canvas(2.45 * len(drawn) + 0.7)
    figure.suptitle(_plain(run.name), x=0.012, ha="left", fontsize=15, fontweight="bold", color=INK, parse_math=False)
    axes = figure.subplots(len(drawn), ROW, squeeze=False)
    for row, (stage, panels) in zip(axes, drawn, strict=True):
        _panels(row, stage, panels)
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
        heading = row[0].annotate(
            _plain(stage.name), (0, 1), (0, 42), color=INK, fontsize=13, fontweight="bold", parse_math=False, **place
        )
        row[0].annotate(
            f"{_plain(stage.kind)}  ·  {stage.last_step} steps", (1, 0), (10, 2), fontsize=9.5, color=MUTED,
            parse_math=False, **{**place, "xycoords": heading},
        )  # fmt: skip
    _note(figure, [panel for _, panels in drawn for panel in panels])
    return figure


def _panels(axes: Iterable[Any], stage: Stage, panels: list[Panel]) -> None:
    """A stage's panels, and nothing in the places that are left."""
    planned = max(stage.planned_steps or 0, stage.last_step)
    for axis, panel in zip_longest(axes, panels):
        if panel is not None:
            _panel(axis, panel, planned)
        else:
            axis.set_axis_off()


def _note(part: Any, panels: list[Panel]) -> None:
    """How to read the panels."""
    width = bandwidth(max(len(c.steps) for p in panels for c in p.curves))
    dots = any(c.dots for p in panels for c in p.curves)
    note = f"thin: every step  ·  strong: smoothed over about {2 * width:.0f} steps"
    note += "  ·  dots: evaluation on test problems, bars: one standard error" if dots else ""
    part.supxlabel(note, fontsize=8.5, color=MUTED, x=0.012, ha="left")


def _panel(axis: Any, panel: Panel, planned: int, heading: bool = True) -> None:
    for curve in panel.curves:
        _curve(axis, curve)
    if heading:
        axis.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=20)
        axis.annotate(
            panel.unit,
            (0, 1),
            (0, 5),
            "axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            color=MUTED,
            va="bottom",
        )
    axis.set_xlabel("step", fontsize=8.5, color=MUTED, labelpad=2)
    axis.set_xlim(0, max(planned, 1) * 1.02)
    _vertical(axis, panel)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.tick_params(length=0, labelsize=8.5, labelcolor=MUTED, pad=5)
    axis.grid(True, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.patch.set_visible(False)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    _labels(axis, panel)


def _curve(axis: Any, curve: Curve) -> None:
    if not curve.steps:
        axis.plot([d[0] for d in curve.dots], [d[1] for d in curve.dots], color=curve.colour, linewidth=1.2, alpha=0.5)
    axis.plot(curve.steps, curve.values, color=curve.colour, linewidth=0.9, alpha=0.4)
    axis.plot(curve.steps, curve.smoothed, color=curve.colour, linewidth=2.2, solid_capstyle="round")
    for step, value, error in curve.dots:
        if error:
            axis.plot([step, step], [value - error, value + error], color=curve.colour, linewidth=1.2, clip_on=False)
        axis.plot(
            step,
            value,
            "o",
            markersize=5.5,
            color=curve.colour,
            markeredgecolor=PAPER,
            markeredgewidth=1.2,
            clip_on=False,
            zorder=5,
        )


def _vertical(axis: Any, panel: Panel) -> None:
    """The value axis: from 0 where all is positive, whole for shares, decades where it is logarithmic."""
    values = [v for c in panel.curves for v in (*c.values, *(d[1] for d in c.dots))]
    if panel.log:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(10, numticks=6))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(which="minor", length=0)
        readable = FuncFormatter(lambda v, _: f"{v:g}")
        axis.yaxis.set_major_formatter(readable if min(values) >= 1e-4 else LogFormatterSciNotation())
        return
    if panel.percent:
        axis.set_ylim(0, 1.0 if max(values) > 0.5 else max(0.05, max(values) * 1.15))
    elif min(values) >= 0:
        axis.set_ylim(0, (max(values) or 1.0) * 1.08)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    thousands = max(values) >= 10_000
    axis.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v / 1000:g} k" if thousands and v else _tick(v, panel))
    )


def _labels(axis: Any, panel: Panel) -> None:
    """Names at the ends of the lines, in their colours, moved apart where they would touch."""
    named = sorted((c for c in panel.curves if c.label), key=lambda c: c.end)
    if not named:
        return
    to_share = axis.transLimits.transform
    shares = [float(to_share((0, math.log10(c.end) if panel.log else c.end))[1]) for c in named]
    for _ in range(len(shares) ** 2):
        for low in range(len(shares) - 1):
            if shares[low + 1] - shares[low] < APART - 1e-9:
                middle = min(max(sum(shares[low : low + 2]) / 2, 0.06), 0.94)
                shares[low : low + 2] = [middle - APART / 2, middle + APART / 2]
    right = max([s for c in named for s in c.steps] + [d[0] for c in named for d in c.dots])
    for curve, share in zip(named, shares, strict=True):
        axis.annotate(
            curve.label,
            (right, share),
            (7, 0),
            ("data", "axes fraction"),
            textcoords="offset points",
            color=curve.colour,
            fontsize=9,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _tick(value: float, panel: Panel) -> str:
    if panel.percent:
        return f"{100 * value:.0f} %"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(text: str) -> str:
    """`text` in the letters that the plots' font has."""
    return "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text)
