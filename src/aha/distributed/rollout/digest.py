"""What tells apart weights that are not the same to the last bit."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

WHOLE = 1 << 30  # bytes of all weights, up to which every bit is looked at
PART = 1 << 18  # numbers of each tensor that are looked at otherwise, evenly apart


def digest(weights: Mapping[str, Tensor]) -> str:
    """Of names, shapes, types and bits; of many weights, of a part of them, for workers wait for it. A checksum of each
    tensor does: nobody makes weights up to deceive.

    >>> one = {"a": torch.ones(2), "b": torch.zeros(3)}
    >>> digest(one) == digest(dict(reversed(one.items()))), digest(one) == digest({**one, "a": torch.ones(2) * 2})
    (True, False)
    """
    whole = sum(tensor.nbytes for tensor in weights.values()) <= WHOLE
    found = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach()
        numbers = tensor.reshape(-1)
        if not whole:
            numbers = numbers[:: max(1, len(numbers) // PART)]
        bits = zlib.crc32(numbers.contiguous().cpu().view(torch.uint8).numpy().data)
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {bits}\n".encode())
    return found.hexdigest()
