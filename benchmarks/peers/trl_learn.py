"""Updates by TRL's loss path: its trainer, handed given rows in place of what it would sample. Jobs as those of
`padded_learn`. TRL pads prompts on the left and completions on the right, over the whole batch.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from peers.job import Figures, Job, peak_bytes, serve
from peers.learning import WARM, memory_figures, speed_figures
from peers.rows import Row, rows
from peers.trl_trainer import load, trainer


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point; see `learning_figures` for what is measured of memory."""
    for point in job["points"]:
        model, tokenizer = load(job, point["model"])
        vocabulary = model.config.vocab_size
        batch = rows(point["lengths"], vocabulary)
        if point.get("memory"):
            train(job | {"repeats": 0}, model, tokenizer, rows(WARM * 2, vocabulary))
            gc.collect()  # that trainer's optimiser
            before = peak_bytes()
            train(job | {"repeats": 0}, model, tokenizer, batch)
            yield memory_figures(point, before)
        else:
            yield speed_figures(point, train(job, model, tokenizer, batch))


def train(job: Job, model: Any, tokenizer: Any, batch: Sequence[Row]) -> list[float]:
    """Seconds of each update over `batch`, after one that warms up."""
    made, clock = trainer(
        job, model, tokenizer, ["a"] * len(batch), rows=len(batch), group=2, max_tokens=1,
        reward=lambda completion_ids, **_: [0.0] * len(completion_ids),
    )  # fmt: skip
    inputs = padded(batch, tokenizer.pad_token_id, job.get("device", "cpu"))
    made._generate_and_score_completions = lambda _: inputs
    made.train()
    return list(clock.seconds)


def padded(batch: Sequence[Row], pad: int, device: str) -> dict[str, Tensor]:
    """What TRL's trainer makes of sampled completions, made of `batch`."""
    before = max(len(row.prompt) for row in batch)
    after = max(len(row.completion) for row in batch)

    def table(cells: list[list[int]]) -> Tensor:
        return torch.tensor(cells, device=device)

    prompts = [(len(row.prompt), list(row.prompt)) for row in batch]
    completions = [(len(row.completion), list(row.completion)) for row in batch]
    return {
        "prompt_ids": table([[pad] * (before - n) + ids for n, ids in prompts]),
        "prompt_mask": table([[0] * (before - n) + [1] * n for n, _ in prompts]),
        "completion_ids": table([ids + [pad] * (after - n) for n, ids in completions]),
        "completion_mask": table([[1] * n + [0] * (after - n) for n, _ in completions]),
        "advantages": torch.tensor([row.advantage for row in batch], device=device),
        "num_items_in_batch": torch.tensor(sum(n for n, _ in completions), device=device),
    }


if __name__ == "__main__":
    serve(measure)
