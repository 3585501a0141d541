"""Whole GRPO steps of TRL: jobs as those of `ours_step`, with `rows` of one micro-batch and `continuous`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from peers.job import Figures, Job, serve
from peers.questions import grade, texts
from peers.trl_trainer import load, trainer


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point."""
    for point in job["points"]:
        yield step_figures(point, job)


def step_figures(point: dict[str, Any], job: Job) -> Figures:
    """Median seconds of a whole GRPO step."""
    model, tokenizer = load(job, point["model"])
    eos = frozenset({model.config.eos_token_id})
    steps: list[list[int]] = []

    def reward(completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        steps.append([len(ids) for ids in completion_ids])
        return [grade(tokenizer, i, ids, eos, point["rewards"]) for i, ids in zip(index, completion_ids, strict=True)]

    made, clock = trainer(
        job, model, tokenizer, texts(tokenizer, point["questions"] * (job["repeats"] + 1)),
        rows=point["questions"] * point["group"], group=point["group"], max_tokens=point["max_tokens"], reward=reward,
    )  # fmt: skip
    made.train()
    counted = [length for step in steps[1 : 1 + len(clock.seconds)] for length in step]
    return {
        "name": point["name"],
        "rate": 1 / statistics.median(clock.seconds),
        "step_s": statistics.median(clock.seconds),
        "seconds": clock.seconds,
        "mean_length": statistics.mean(counted),
        "longest": max(counted),
    }


if __name__ == "__main__":
    serve(measure)
