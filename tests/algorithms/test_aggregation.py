"""Aggregations against brute force over two sequences of unequal length."""

from __future__ import annotations

import pytest

from aha.algorithms.aggregation import aggregate
from aha.types import Sample

LONG = Sample(ids=(1, 2, 3, 4), loss_mask=(0, 1, 1, 1))
SHORT = Sample(ids=(1, 2), loss_mask=(0, 1))
LOSSES = {id(LONG): [1.0, 2.0, 6.0], id(SHORT): [4.0]}


def total(aggregation: str, total_samples: int = 2) -> float:
    weighted, denominator = aggregate([LONG, SHORT], aggregation, total_samples, max_tokens=10)
    sums = [w.weight * sum(LOSSES[id(s)]) for w, s in zip(weighted, [LONG, SHORT], strict=True)]
    return sum(sums) / denominator


def test_against_brute_force() -> None:
    assert total("token-mean") == pytest.approx((1 + 2 + 6 + 4) / 4)
    assert total("sequence-mean") == pytest.approx(((1 + 2 + 6) / 3 + 4) / 2)
    assert total("constant") == pytest.approx((1 + 2 + 6 + 4) / (2 * 10))


def test_skipped_groups_count_in_the_denominator() -> None:
    for aggregation in ("token-mean", "sequence-mean", "constant"):
        assert total(aggregation, total_samples=4) == pytest.approx(total(aggregation) / 2)
