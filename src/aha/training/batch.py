"""From ragged samples to tensors: the only place that pads.

`plan` cuts samples, sorted by length, into micro-batches of a bounded number of tokens; `collate` makes one of them a
`MicroBatch`. The gradient does not depend on the cut, because every loss is a sum divided by a denominator of the
whole batch. Axes: B rows, T padded length, N trained tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aha.types import Sample


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows padded on the right, and flat streams of the trained tokens."""

    ids: Tensor  # [B, T]
    positions: Tensor  # [N] index into the flattened [B * T]: where the prediction of each trained token is made
    targets: Tensor  # [N] the trained tokens
    advantages: Tensor  # [N]
    behaviour_logprobs: Tensor  # [N]
    reference_logprobs: Tensor  # [N]
    weights: Tensor  # [N]
    sequence: Tensor  # [N] number of the row that the token is in
    lengths: Tensor  # [N] number of trained tokens of that row


def plan(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of samples in micro-batches of at most `max_tokens` padded tokens; a longer sample is alone.

    >>> plan([3, 9, 4, 10], max_tokens=20)
    [[0, 2], [1, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batches: list[list[int]] = []
    for i in order:
        if batches and lengths[i] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def collate(samples: Sequence[Sample], pad_id: int, device: torch.device | str = "cpu") -> MicroBatch:
    """Pad `samples` on the right with `pad_id` and gather the streams of their trained tokens."""
    width = max(len(s.ids) for s in samples)
    ids = torch.full((len(samples), width), pad_id, dtype=torch.long)
    positions: list[int] = []
    streams: dict[str, list[float]] = {name: [] for name in ("advantages", "behaviour_logprobs", "reference_logprobs")}
    targets: list[int] = []
    weights: list[float] = []
    sequence: list[int] = []
    lengths: list[int] = []
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids, dtype=torch.long)
        trained = [t for t, on in enumerate(sample.loss_mask) if on]
        assert 0 not in trained, "the first token has no prediction"
        positions += [row * width + t - 1 for t in trained]
        targets += [sample.ids[t] for t in trained]
        weights += [sample.weight] * len(trained)
        sequence += [row] * len(trained)
        lengths += [len(trained)] * len(trained)
        for name, stream in streams.items():
            values = getattr(sample, name)
            stream += [values[t] for t in trained] if values else [0.0] * len(trained)
    return MicroBatch(
        ids=ids.to(device),
        positions=torch.tensor(positions, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        weights=torch.tensor(weights, device=device),
        sequence=torch.tensor(sequence, dtype=torch.long, device=device),
        lengths=torch.tensor(lengths, dtype=torch.long, device=device),
        **{name: torch.tensor(stream, device=device) for name, stream in streams.items()},
    )
