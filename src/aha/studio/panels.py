"""Which curves a stage has: small panels of one unit each, as data. Drawing is in `plots.py`.

for panel in panels_of(stage):
    panel.title, [curve.values for curve in panel.curves]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aha.studio.read import Stage

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito: apart for every kind of colour vision


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over the steps, with its evaluations (step, value, standard error or 0) on test problems."""

    label: str
    colour: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    dots: tuple[tuple[int, float, float], ...] = ()

    @property
    def end(self) -> float:
        """Where the smoothed line ends; its label stands there."""
        smoothed = [v for v in smooth(self.values) if math.isfinite(v)]
        return smoothed[-1] if smoothed else self.dots[-1][1]


@dataclass(frozen=True, slots=True)
class Panel:
    """A small picture: one unit, one or two curves. `percent` and `log` are how its axis counts."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    percent: bool = False
    log: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    title: str
    unit: str
    names: tuple[tuple[str, str], ...]  # metric, label
    percent: bool = False
    log: bool = False


_RL = (
    _Plan("Right answers and format", "share of samples", (("pass@1", "pass@1"), ("format", "format")), percent=True),
    _Plan("Response length", "tokens", (("response/mean_length", "mean"), ("response/max_length", "longest"))),
    _Plan("Reflection words", "a response", (("response/reflection_words", ""),)),
    _Plan("Reward", "mean of a sample's weighted sum", (("reward/total", ""),)),
    _Plan(
        "KL to the reference and entropy", "nats a token, log scale", (("kl", "KL"), ("entropy", "entropy")), log=True
    ),
    _Plan("Speed", "tokens a second", (("learn/tokens_per_s", "learning"), ("rollout/tokens_per_s", "sampling"))),
)
_SUPERVISED = (
    _Plan("Loss", "nats a token", (("loss", ""),)),
    _Plan("Gradient norm", "before clipping", (("grad_norm", ""),)),
    _Plan("Speed", "tokens a second", (("tokens_per_s", ""),)),
)
_STANDS_FOR = {"format": "reward/format"}  # read where the first is absent
_EVALUATED = {
    "pass@1": "pass@1",
    "format": "format",
    "response/mean_length": "mean_length",
    "response/reflection_words": "reflection_words",
}


def panels_of(stage: Stage) -> list[Panel]:
    """The panels that the stage has numbers for."""
    found = []
    for plan in _RL if stage.is_rl else _SUPERVISED:
        colours = (BLUE, ORANGE)
        curves = [
            _curve(stage, name, label, colour, plan.log)
            for (name, label), colour in zip(plan.names, colours, strict=False)
        ]
        kept = tuple(c for c in curves if c.steps or c.dots)
        if kept:
            found.append(Panel(plan.title, plan.unit, kept, plan.percent, plan.log))
    return found


def _curve(stage: Stage, name: str, label: str, colour: str, log: bool) -> Curve:
    steps, values = stage.series(name)
    if not steps and name in _STANDS_FOR:
        steps, values = stage.series(_STANDS_FOR[name])
    pairs = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v) and (v > 0 or not log)]
    return Curve(label, colour, tuple(s for s, _ in pairs), tuple(v for _, v in pairs), _dots(stage, name))


def _dots(stage: Stage, name: str) -> tuple[tuple[int, float, float], ...]:
    """Evaluations on test problems: before the first step, on the way, and after the last one."""
    if name not in _EVALUATED:
        return ()
    figure = _EVALUATED[name]
    found = [(step, value, 0.0) for step, value in zip(*stage.series(f"eval/{figure}"), strict=True)]
    for when, step in (("before", 0), ("after", stage.last_step)):
        figures = stage.evaluation.get(when, {})
        value, error = figures.get(figure), figures.get(f"{figure}_stderr", 0.0)
        if isinstance(value, float) and isinstance(error, float):
            found.append((step, value, error if math.isfinite(error) else 0.0))
    return tuple(sorted(dot for dot in found if math.isfinite(dot[1])))


def bandwidth(count: int) -> float:
    """Standard deviation, in steps, of the smoothing of a curve of `count` steps."""
    return max(1.0, 0.26 * math.sqrt(count))


def smooth(values: Sequence[float]) -> list[float]:
    """A centred Gaussian mean, so that a rise is not shown late; near the ends it takes what is there.

    >>> smooth([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    width = bandwidth(len(values))
    reach = math.ceil(3 * width)
    kernel = [math.exp(-0.5 * (d / width) ** 2) for d in range(reach + 1)]
    found = []
    for i in range(len(values)):
        near = range(max(0, i - reach), min(len(values), i + reach + 1))
        weight = sum(kernel[abs(i - j)] for j in near)
        found.append(sum(kernel[abs(i - j)] * values[j] for j in near) / weight)
    return found
