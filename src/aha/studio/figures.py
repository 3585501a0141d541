"""Numbers in words: how figures are named, rounded and compared, the same in the terminal and in the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aha.studio.files import Figures

DASH = "–"  # not measured
Unit = Literal["share", "tokens", "count", "number"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the before/after table, in words. `direction` is +1 better, -1 worse, 0 neither is known."""

    metric: str
    before: str
    after: str
    change: str
    direction: int = 0


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    label: str
    unit: Unit
    better: int = 0  # +1: more is better, -1: less is better, 0: neither


_METRICS = (
    _Metric("pass@1", "pass@1", "share", +1),
    _Metric("pass@k", "pass@{k}", "share", +1),
    _Metric("cons@k", "cons@{k}", "share", +1),
    _Metric("format", "answers in the format", "share", +1),
    _Metric("mean_length", "mean length, tokens", "tokens"),
    _Metric("truncated", "cut off at the limit", "share", -1),
    _Metric("reflection_words", "reflection words a response", "count"),
    _Metric("mixed_language", "mixes languages", "share", -1),
    _Metric("arithmetic_right", "calculations that are right", "share", +1),
    _Metric("failed", "grader failed", "share", -1),
)
_BY_TASK = "pass@1/"  # before the name of a task, or of a group of problems, where several were evaluated together
_MARK = "mark/"  # before the name of what a task reports of its responses
_MORE = {"language": "in the question's language"}


def comparison(evaluation: Mapping[str, Figures]) -> list[Row]:
    """The rows of before and after; a figure that neither has makes no row, one that one lacks shows a dash there."""
    before, after = _by_k(evaluation.get("before", {})), _by_k(evaluation.get("after", {}))
    rows = []
    tasks = sorted({name for side in (before, after) for name in side if name.startswith(_BY_TASK)})
    by_task = [_Metric(name, f"pass@1 of {name.removeprefix(_BY_TASK)}", "share") for name in tasks]
    for metric in (_METRICS[0], *by_task, *_METRICS[1:]):
        old, new = _value(before, metric.name), _value(after, metric.name)
        if (old is None and new is None) or (metric.name == "failed" and not (old or new)):
            continue
        errors = [_value(e, f"{metric.name}_stderr") for e in (before, after)]
        change, direction = _change(metric, old, new, errors)
        label = metric.label.replace("{k}", str(after.get("k_text", before.get("k_text", "k"))))
        texts = [_with_error(metric, value, error) for value, error in zip((old, new), errors, strict=True)]
        rows.append(Row(label, texts[0], texts[1], change, direction))
    return rows


def listing(rows: Mapping[str, Figures]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Columns and, by row, cells of all figures that any row has, with their standard errors."""
    found = {name: _by_k(figures) for name, figures in rows.items()}
    more = {
        name for figures in found.values() for name in figures if name in _MORE or name.startswith((_MARK, _BY_TASK))
    }
    labels = {n: f"pass@1 of {n.removeprefix(_BY_TASK)}" if n.startswith(_BY_TASK) else n for n in more} | _MORE
    others = [_Metric(name, labels[name].removeprefix(_MARK), "share") for name in sorted(more)]
    metrics = [m for m in (*_METRICS, *others) if any(_value(f, m.name) is not None for f in found.values())]
    metrics = [m for m in metrics if m.name != "failed" or any(_value(f, m.name) for f in found.values())]
    cells = [
        (name, [_with_error(m, _value(f, m.name), _value(f, f"{m.name}_stderr")) for m in metrics])
        for name, f in found.items()
    ]
    k_text = next((str(f["k_text"]) for f in found.values() if "k_text" in f), "k")
    return [m.label.replace("{k}", k_text) for m in metrics], cells


def asked(figures: Figures) -> str:
    """What an evaluation was made of: "countdown, 64 problems × 16 samples"; empty where it does not say."""
    problems, samples = _value(figures, "asked"), _value(figures, "n")
    parts = [str(figures["task"])] if "task" in figures else []
    if problems is not None:
        each = f" × {samples:.0f} sample{'' if samples == 1 else 's'}" if samples is not None else ""
        parts.append(f"{problems:.0f} problems{each}")
    return ", ".join(parts)


def basis(evaluation: Mapping[str, Figures]) -> str:
    """What both evaluations were made of, or each where they differ."""
    texts = {when: asked(figures) for when, figures in evaluation.items()}
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), "")
    return "; ".join(f"{when}: {text or 'not said'}" for when, text in texts.items())


def show(value: float | None, unit: Unit) -> str:
    """A figure rounded for reading: `0.4137` as a share is `41.4 %`."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return str(value)
    if unit == "share":
        return f"{100 * value:.1f} %"
    return {"tokens": f"{value:,.0f}", "count": f"{value:.2f}"}.get(unit, number(value))


def number(value: float | None) -> str:
    """Any number to about four digits: 0.0123, 17,865, 1e-05."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}" if size < 1 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """`2:21`, `1:02:03`.

    >>> duration(141)
    '2:21'
    """
    total = max(0, round(seconds))
    hours, minutes = total // 3600, total // 60 % 60
    return f"{hours}:{minutes:02d}:{total % 60:02d}" if hours else f"{minutes}:{total % 60:02d}"


def _by_k(figures: Figures) -> dict[str, float | str]:
    """`pass@16` and `cons@16` under the names `pass@k` and `cons@k`; neither says anything for one sample."""
    found = dict(figures)
    if isinstance(k := figures.get("k"), float | int):
        found["k_text"] = f"{k:.0f}"
        if k == 1:
            found.pop("pass@k", None)
            found.pop("cons@k", None)
    for name, value in figures.items():
        match = re.fullmatch(r"(pass|cons)@(\d+)", name)
        if match and name != "pass@1":
            found[f"{match[1]}@k"] = value
            found["k_text"] = match[2]
    return found


def _value(figures: Mapping[str, float | str], name: str) -> float | None:
    value = figures.get(name)
    return value if isinstance(value, float | int) else None


def _with_error(metric: _Metric, value: float | None, error: float | None) -> str:
    if value is None or error is None:
        return show(value, metric.unit)
    return f"{100 * value:.1f} ± {100 * error:.1f} %"


def _change(metric: _Metric, old: float | None, new: float | None, errors: list[float | None]) -> tuple[str, int]:
    """The change in points for shares, else as a ratio; no direction is claimed within two standard errors."""
    if old is None or new is None or not (math.isfinite(old) and math.isfinite(new)):
        return DASH, 0
    direction = metric.better * ((new > old) - (new < old))
    if metric.unit != "share":
        return (f"× {new / old:.2f}" if old else f"{new - old:+.2f}"), direction
    text = f"{100 * (new - old):+.1f} points"
    if errors[0] is not None and errors[1] is not None and abs(new - old) < 2 * math.hypot(errors[0], errors[1]):
        return f"{text}, within 2 std. errors", 0
    return text, direction
