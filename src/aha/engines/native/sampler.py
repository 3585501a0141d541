"""Drawing tokens: inverse CDF with one random number a token, which belongs to the sample and not to its batch.

Axes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from aha.models.kernels.fused import kernel, pointer
from aha.models.logits import sampled_probabilities
from aha.types import Sampling


def uniforms(seed: int, sample: int, count: int) -> np.ndarray:
    """The random numbers in [0, 1) of sample number `sample` under `seed`: a Philox stream of their own."""
    key = np.array([seed & (2**64 - 1), sample], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count, dtype=np.float32)


def draw(logits_NV: Tensor, uniform_N: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens [N] and their log-probs [N] under the sampled distribution (temperature 0: the most likely token)."""
    plain = sampling.temperature > 0 and not sampling.top_k and sampling.top_p >= 1
    if plain and (sample := kernel("sample", logits_NV)) is not None:
        return _fused(sample, logits_NV.contiguous(), uniform_N, sampling.temperature)
    probabilities = sampled_probabilities(logits_NV, sampling)
    if sampling.temperature == 0.0:
        tokens = logits_NV.argmax(-1)
    else:
        # A GPU sums in blocks, whose rounding in float32 could give a token of probability 0 a step of its own.
        exact = torch.float64 if probabilities.is_cuda else probabilities.dtype
        cdf = torch.cumsum(probabilities, -1, dtype=exact)
        total = cdf[:, -1:]
        point = torch.minimum(uniform_N[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
        tokens = torch.searchsorted(cdf, point, right=True).squeeze(-1)
    return tokens, probabilities.gather(-1, tokens[:, None]).squeeze(-1).log()


def _fused(
    sample: Callable[..., None], logits_NV: Tensor, uniform_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    (n, vocabulary), uniform_N = logits_NV.shape, uniform_N.contiguous()
    tokens, logprobs = torch.empty(n, dtype=torch.long), torch.empty(n)
    sample(
        pointer(logits_NV), temperature, pointer(uniform_N), pointer(tokens), pointer(logprobs), n,
        vocabulary,
    )  # fmt: skip
    return tokens, logprobs
