"""One picture of all claims: a panel each, seeds as thin lines, their mean as a strong one."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aha.studio.claims.claims import Claim, Line, Lines
from aha.studio.claims.seed import Missing, Seed
from aha.studio.plots import GRID, INK, MUTED, PAPER

COLOURS = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito: apart for every kind of colour vision
COLUMNS = 2
POINTS = 100  # of a mean of lines that have points of their own


def picture(claims: Sequence[Claim], seeds: Sequence[Seed]) -> bytes:
    """PNG. A claim that no seed has measured has an empty panel that says so."""
    rows = math.ceil(len(claims) / COLUMNS)
    figure = Figure(figsize=(11, 2.9 * rows), dpi=130, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (axes, claim) in enumerate(zip(figure.subplots(rows, COLUMNS).flat, claims, strict=False), 1):
        _panel(axes, f"{number}. {claim.name}", claim, _drawn(claim, seeds))
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=PAPER)
    return file.getvalue()


def _drawn(claim: Claim, seeds: Sequence[Seed]) -> list[Lines]:
    found = []
    for seed in seeds:
        try:
            found.append(claim.draws(seed))
        except Missing:
            continue
    return found


def _panel(axes: Axes, title: str, claim: Claim, drawn: Sequence[Lines]) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(claim.x, fontsize=8, color=MUTED)
    axes.set_ylabel(claim.y, fontsize=8, color=MUTED)
    axes.tick_params(labelsize=8, colors=MUTED)
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if claim.marks:
        axes.set_xticks(range(len(claim.marks)), claim.marks)
    if not drawn:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        return
    for (label, _), colour in zip(drawn[0].items(), COLOURS, strict=False):
        lines = [lines[label] for lines in drawn if label in lines]
        for x, y in lines:
            axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.45)
        axes.plot(*mean_of(lines), color=colour, linewidth=2, label=label)
    if len(drawn[0]) > 1:
        axes.legend(fontsize=8, frameon=False)


def mean_of(lines: Sequence[Line]) -> Line:
    """The mean of lines over the stretch that all of them cover.

    >>> mean_of([([0.0, 1.0], [0.0, 2.0]), ([0.0, 1.0], [2.0, 4.0])])
    ([0.0, 1.0], [1.0, 3.0])
    """
    if all(x == lines[0][0] for x, _ in lines):
        shared = lines[0][0]
    elif max(x[0] for x, _ in lines) >= min(x[-1] for x, _ in lines):
        return [], []  # they cover no stretch together
    else:
        shared = np.linspace(max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines), POINTS).tolist()
    return shared, np.mean([np.interp(shared, x, y) for x, y in lines], axis=0).tolist()
