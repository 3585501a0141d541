"""The padded baseline: plain `transformers` and AdamW, rows in the order given, each micro-batch padded to its longest
row, the logits of all tokens at once. Jobs as those of `ours_learn`, with `rows` of one micro-batch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from peers.job import Figures, Job, serve
from peers.learning import learning_figures
from peers.rows import Row


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point."""
    torch.set_num_threads(job["threads"])
    device = job.get("device", "cpu")
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    for point in job["points"]:
        model = AutoModelForCausalLM.from_pretrained(point["model"], dtype=getattr(torch, job["dtype"])).to(device)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        change = functools.partial(update, model, optimiser, job["rows"])
        yield learning_figures(job, point, model.config.vocab_size, change, wait)


def update(model: Any, optimiser: torch.optim.Optimizer, rows: int, batch: Sequence[Row]) -> None:
    """One update, in micro-batches of `rows` rows."""
    total = sum(len(row.completion) for row in batch)
    for first in range(0, len(batch), rows):
        loss(model, batch[first : first + rows], total).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()


def loss(model: Any, batch: Sequence[Row], total: int) -> Tensor:
    """The policy gradient of one padded micro-batch, over `total` completion tokens of the whole batch."""
    width = max(len(row.prompt) + len(row.completion) for row in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    real, trained = torch.zeros_like(ids), torch.zeros(len(batch), width)
    for i, row in enumerate(batch):
        end = len(row.prompt) + len(row.completion)
        ids[i, :end] = torch.tensor(row.prompt + row.completion)
        real[i, :end] = 1
        trained[i, len(row.prompt) : end] = row.advantage
    ids, real, trained = (tensor.to(model.device) for tensor in (ids, real, trained))
    logits = model(input_ids=ids, attention_mask=real).logits[:, :-1].float()
    logprobs = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
    return -(logprobs * trained[:, 1:]).sum() / total


if __name__ == "__main__":
    serve(measure)
