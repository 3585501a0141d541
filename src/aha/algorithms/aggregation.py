"""How a batch's tokens are averaged: a weight for each sample's tokens, and one denominator for the whole batch.

The R1 paper does not say; DeepSeekMath's formula is "sequence-mean".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aha.types import Sample


def aggregate(
    samples: Sequence[Sample], aggregation: str, total_samples: int, max_tokens: int
) -> tuple[list[Sample], float]:
    """Samples with their weights, and the denominator.

    `total_samples` counts all scored completions, also those of groups that were skipped because they carry no signal:
    the objective averages over everything that was sampled.

    - "token-mean": every token of the batch counts the same. A long wrong answer is not let off lightly, as it is when
      each sequence is averaged first (Dr. GRPO, arXiv 2503.20783).
    - "sequence-mean": 1/|o_i| for each sequence, then the mean over sequences (DeepSeekMath).
    - "constant": the sum of tokens over samples * max_tokens (Dr. GRPO).
    """
    if aggregation == "sequence-mean":
        return [replace(s, weight=1.0 / s.n_targets) for s in samples], float(total_samples)
    if aggregation == "constant":
        return list(samples), float(total_samples * max_tokens)
    share = total_samples / max(1, len(samples))
    return list(samples), sum(s.n_targets for s in samples) * share
