"""Cutting samples into micro-batches, and the tensors that one of them becomes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aha.training.batch import collate, plan
from aha.types import Sample


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([3, 9, 4, 10], 20, [[0, 2], [1, 3]]),
        ([3, 9, 4, 10], 9, [[0, 2], [1], [3]]),
        ([5, 5, 5, 5], 10, [[0, 1], [2, 3]]),
        ([30, 2, 2], 10, [[1, 2], [0]]),
        ([4], 1, [[0]]),
        ([], 10, []),
    ],
)
def test_plan_by_hand(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
    assert plan(lengths, budget) == expected


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200))
def test_plan_holds_every_index_once_and_keeps_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert batch, "no micro-batch is empty"
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    assert plan(lengths, budget) == batches


def test_collate_by_hand() -> None:
    samples = [
        Sample((5, 8, 4), (0, 1, 1), (0.0, 1.5, 1.5), (0.0, -0.1, -0.2), (0.0, -0.3, -0.4), weight=2.0),
        Sample((7, 6, 9, 3, 2), (0, 1, 0, 0, 1), (0.0, -1.0, 9.0, 9.0, -2.0)),
    ]
    batch = collate(samples)
    assert batch.ids.tolist() == [[5, 8, 4, 99, 99], [7, 6, 9, 3, 2]]
    assert batch.targets.tolist() == [8, 4, 6, 2]
    assert batch.positions.tolist() == [0, 1, 5, 8]  # where the token before each target stands
    assert batch.ids.flatten()[batch.positions].tolist() == [5, 8, 7, 3]
    assert batch.advantages.tolist() == [1.5, 1.5, -1.0, -2.0]
    torch.testing.assert_close(batch.behaviour_logprobs, torch.tensor([-0.1, -0.2, 0.0, 0.0]))
    torch.testing.assert_close(batch.reference_logprobs, torch.tensor([-0.3, -0.4, 0.0, 0.0]))
    assert batch.weights.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert batch.sequence.tolist() == [0, 0, 1, 1]
    assert batch.lengths.tolist() == [2, 2, 2, 2]


def test_collate_of_nothing_trained() -> None:
    batch = collate([Sample((5, 8), (0, 0))])
    for stream in (batch.targets, batch.positions, batch.sequence, batch.lengths):
        assert stream.dtype == torch.long and len(stream) == 0
    assert batch.weights.dtype == batch.advantages.dtype == torch.float32


def test_the_first_token_cannot_be_trained() -> None:
    with pytest.raises(AssertionError, match="no prediction"):
        collate([Sample((5, 8), (1, 1))])


ROW = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=12)


@given(st.lists(ROW, min_size=1, max_size=6))
def test_every_trained_token_is_a_target_once(rows: list[list[tuple[int, bool]]]) -> None:
    samples = [
        Sample(
            tuple(token for token, _ in row),
            tuple(int(on and t > 0) for t, (_, on) in enumerate(row)),
            tuple(float(t) for t in range(len(row))),
        )
        for row in rows
    ]
    batch = collate(samples)
    width = batch.ids.shape[1]
    found = [
        (int(p) // width, int(p) % width + 1, int(target), a)
        for p, target, a in zip(batch.positions, batch.targets, batch.advantages.tolist(), strict=True)
    ]
    assert found == [
        (b, t, s.ids[t], float(t)) for b, s in enumerate(samples) for t, on in enumerate(s.loss_mask) if on
    ]
    assert [row for row, *_ in found] == batch.sequence.tolist()
    assert [samples[b].n_targets for b in batch.sequence.tolist()] == batch.lengths.tolist()
