"""Weights as bytes of arrays, and back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from aha.distributed.ray.weights import laid_out, read_back
from aha.distributed.rollout.digest import digest

TIED = torch.randn(3, 5)
WEIGHTS = {
    "half": torch.randn(4, 3).to(torch.bfloat16),
    "turned": torch.randn(4, 3, dtype=torch.float64).T,
    "one": torch.tensor(2.5),
    "none": torch.empty(0, 7),
    "whole": torch.arange(6).reshape(2, 3),
    "tied": TIED,
    "tied again": TIED,
    "learned": torch.nn.Parameter(torch.randn(2)),
}


def test_every_bit_comes_back() -> None:
    assert digest(read_back(laid_out(WEIGHTS))) == digest(WEIGHTS)


def test_arrays_that_may_only_be_read_do(recwarn: pytest.WarningsRecorder) -> None:
    """Ray's store gives such, without a copy: the tensor lies where the array does."""
    stored = laid_out({"a": torch.ones(3)})
    array = np.frombuffer(stored["a"][2].tobytes(), dtype=np.uint8)
    assert not array.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_back({"a": (*stored["a"][:2], array)})
    assert found["a"].tolist() == [1.0, 1.0, 1.0]
    assert found["a"].data_ptr() == array.ctypes.data
