"""Figures of learning, the same for every side that can be handed a function that makes one update."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from peers.job import Figures, Job, peak_bytes, repeat
from peers.rows import Row, rows, tokens

WARM = ((4, 4),)  # lengths of the row whose update allocates weights, gradients and the optimiser's state


def learning_figures(
    job: Job,
    point: dict[str, Any],
    vocabulary: int,
    update: Callable[[Sequence[Row]], Any],
    wait: Callable[[], None] = lambda: None,
) -> Figures:
    """Tokens a second of whole updates; with `point["memory"]` the peak of one update instead, in bytes above what the
    process holds once a tiny update is done (weights, gradients, optimiser), which needs a fresh process."""
    batch = rows(point["lengths"], vocabulary)
    if point.get("memory"):
        update(rows(WARM, vocabulary))
        before = peak_bytes()
        update(batch)
        return memory_figures(point, before)
    seconds, _ = repeat(lambda _: update(batch), job, wait)
    return speed_figures(point, seconds)


def speed_figures(point: dict[str, Any], seconds: list[float]) -> Figures:
    """Useful tokens a second, of the median update."""
    rate = tokens(point["lengths"]) / statistics.median(seconds)
    return {"name": point["name"], "rate": rate, "tokens_per_s": rate, "seconds": seconds}


def memory_figures(point: dict[str, Any], before: int) -> Figures:
    """The peak above `before` bytes. Rates are compared, and of memory less is better: hence the inverse."""
    above = peak_bytes() - before
    return {"name": point["name"], "rate": 1 / max(above, 1), "above_bytes": above, "baseline_bytes": before}
