"""Weights as Ray's object store keeps them: bytes of arrays, which the actors of a machine map and do not copy.

    reference = ray.put(laid_out(weights))
    read_back(ray.get(reference, timeout=60))

NumPy has no bfloat16: all types are bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from aha.protocols import Weights

LaidOut = Mapping[str, tuple[str, tuple[int, ...], NDArray[np.uint8]]]  # name -> dtype, shape, bytes


def laid_out(weights: Weights) -> LaidOut:
    """Tensors as bytes."""
    found = {}
    for name, tensor in weights.items():
        own = tensor.detach().cpu().contiguous()
        data = own.reshape(-1).view(torch.uint8).numpy()
        found[name] = str(own.dtype).removeprefix("torch."), tuple(own.shape), data
    return found


def read_back(found: LaidOut) -> dict[str, torch.Tensor]:
    """The tensors, in the memory that the arrays lie in. They are for reading alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return {name: _tensor(getattr(torch, dtype), shape, data) for name, (dtype, shape, data) in found.items()}


def _tensor(dtype: torch.dtype, shape: tuple[int, ...], data: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(data).view(dtype).reshape(shape) if data.size else torch.empty(shape, dtype=dtype)
