"""Whole GRPO steps of this project: `{"points": [{name, model, questions, group, max_tokens, rewards}], ...}`."""

from __future__ import annotations

from collections.abc import Iterator

from peers.job import Figures, Job, serve
from peers.ours import start, step_figures


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point."""
    chosen = start(job)
    for point in job["points"]:
        yield step_figures(point, job, chosen)


if __name__ == "__main__":
    serve(measure)
