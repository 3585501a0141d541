"""Which curves a stage has: small panels of one unit each, as data. Drawing is in `plots.py`.

for panel in panels_of(stage):
    panel.title, [curve.values for curve in panel.curves]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aha.studio.read import Stage

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#00805c"  # after Okabe and Ito: apart for every kind of colour vision


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over the steps, with its evaluations (step, value, standard error or 0) on test problems."""

    label: str
    colour: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    dots: tuple[tuple[int, float, float], ...] = ()
    exact: bool = False  # set, not measured: there is nothing to smooth

    @property
    def smoothed(self) -> list[float]:
        """The strong line."""
        return [*self.values] if self.exact else smooth(self.values)

    @property
    def end(self) -> float:
        """Where the strong line ends; its label stands there."""
        found = [v for v in self.smoothed if math.isfinite(v)]
        return found[-1] if found else self.dots[-1][1]


@dataclass(frozen=True, slots=True)
class Panel:
    """A small picture: one unit, one to three curves. `percent` and `log` are how its axis counts."""

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
_LOSS = _Plan("Loss", "nats a token", (("loss", ""),))
_NORM = _Plan("Gradient norm", "before clipping", (("grad_norm", ""),))
_RATE = _Plan("Learning rate", "of each step", (("lr", ""),))
_SPEED = _Plan("Speed", "tokens a second", (("tokens_per_s", ""),))
_AGREEMENT = _Plan("Agreement", "share of preferences", (("agreement", ""),), percent=True)
_PLANS = {
    "rl": _RL,
    "sft": (_LOSS, _RATE, _RL[0], _NORM, _SPEED),
    "reward-model": (replace(_LOSS, unit="nats a preference"), _AGREEMENT, _RATE, _NORM),
    "pretrain": (_LOSS, _NORM, _SPEED),
}
# Of each kind those that stand in one row, where a picture has a row a stage.
_ROWS = {
    "rl": ("Right answers and format", "Response length", "KL to the reference and entropy", "Other rewards", "Reward"),
    "sft": ("Loss", "Right answers and format", "Learning rate", "Gradient norm"),
    "reward-model": ("Loss", "Agreement", "Learning rate", "Gradient norm"),
}
MOST_REWARDS = 3  # in the panel of the other rewards
_STANDS_FOR = {"format": "reward/format"}  # read where the first is absent
_EVALUATED = {
    "pass@1": "pass@1",
    "format": "format",
    "response/mean_length": "mean_length",
    "response/reflection_words": "reflection_words",
    "agreement": "agreement",
}


def panels_of(stage: Stage) -> list[Panel]:
    """The panels that the stage has numbers for; none before its first step."""
    if not stage.metrics:
        return []
    found = []
    for plan in (*_PLANS.get(stage.kind, ()), *_other_rewards(stage)):
        colours = (BLUE, ORANGE, GREEN)
        curves = [
            _curve(stage, name, label, colour, plan.log)
            for (name, label), colour in zip(plan.names, colours, strict=False)
        ]
        kept = tuple(c for c in curves if c.steps or c.dots)
        if kept:
            found.append(Panel(plan.title, plan.unit, kept, plan.percent, plan.log))
    return found


def row_of(stage: Stage, most: int) -> list[Panel]:
    """The `most` panels that say the most about the stage, in their order."""
    panels = {panel.title: panel for panel in panels_of(stage)}
    chosen = [panels[title] for title in _ROWS.get(stage.kind, tuple(panels)) if title in panels]
    return chosen[:most]


def _other_rewards(stage: Stage) -> Iterator[_Plan]:
    """Rewards that have no curve of their own elsewhere: language, reward models, one's own."""
    if stage.kind == "rl":
        names = dict.fromkeys(name for step in stage.metrics for name in step.values if name.startswith("reward/"))
        others = [n for n in names if n not in ("reward/total", "reward/accuracy", "reward/format")][:MOST_REWARDS]
        if others:
            labels = tuple((name, name.removeprefix("reward/")) for name in others)
            yield _Plan("Other rewards", "mean of samples that have one", labels)


def _curve(stage: Stage, name: str, label: str, colour: str, log: bool) -> Curve:
    steps, values = stage.series(name)
    if not steps and name in _STANDS_FOR:
        steps, values = stage.series(_STANDS_FOR[name])
    pairs = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v) and (v > 0 or not log)]
    kept = tuple(s for s, _ in pairs), tuple(v for _, v in pairs)
    return Curve(label, colour, *kept, _dots(stage, name), exact=name == "lr")


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
