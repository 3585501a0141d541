"""What tells apart weights."""

from __future__ import annotations

import pytest
import torch

from aha.distributed.rollout import digest as digests
from aha.distributed.rollout.digest import digest

WEIGHTS = {"a": torch.arange(6.0), "b": torch.ones(2, 2, dtype=torch.bfloat16), "c": torch.tensor(1)}


def test_names_shapes_types_and_bits_count() -> None:
    found = digest(WEIGHTS)
    assert digest({name: tensor.clone() for name, tensor in reversed(WEIGHTS.items())}) == found
    negative_zero = torch.cat([torch.tensor([-0.0]), WEIGHTS["a"][1:]])
    changed = [
        {**WEIGHTS, "a": negative_zero}, {**WEIGHTS, "a": WEIGHTS["a"].reshape(2, 3)}, {**WEIGHTS, "d": WEIGHTS["c"]},
        {**WEIGHTS, "b": WEIGHTS["b"].half()}, {"a": WEIGHTS["a"], "b": WEIGHTS["b"]},
    ]  # fmt: skip
    assert len({found, *map(digest, changed)}) == 6
    assert digest({**WEIGHTS, "a": WEIGHTS["a"].reshape(2, 3).t().contiguous().t().reshape(6)}) == found


def test_of_many_weights_a_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "WHOLE", 16)
    monkeypatch.setattr(digests, "PART", 3)
    found = digest(WEIGHTS)
    for place, seen in enumerate((True, False, True, False, True, False)):
        other = WEIGHTS["a"].clone()
        other[place] = 9.0
        assert (digest({**WEIGHTS, "a": other}) != found) == seen
