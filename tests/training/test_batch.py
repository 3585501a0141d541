"""Cutting samples into micro-batches, and the tensors that one of them becomes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aha.training.batch import collate, plan
from aha.types import Sample


def row(ids: tuple[int, ...], prompt: int) -> Sample:
    """A sample that trains what comes after its prompt."""
    return Sample(ids, (0,) * prompt + (1,) * (len(ids) - prompt))


def rows_of(lengths: list[int]) -> list[Sample]:
    """Samples of the given lengths with prompts that differ."""
    return [row((1000 + i, *range(n - 1)), min(1, n - 1)) for i, n in enumerate(lengths)]


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([3, 9, 4, 10], 20, [[0, 2, 1], [3]]),
        ([3, 9, 4, 10], 9, [[0, 2], [1], [3]]),
        ([5, 5, 5, 5], 10, [[0, 1], [2, 3]]),
        ([30, 2, 2], 10, [[1, 2], [0]]),
        ([4], 1, [[0]]),
        ([], 10, []),
    ],
)
def test_plan_by_hand(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
    assert plan(rows_of(lengths), budget) == expected


def test_plan_counts_a_shared_prompt_once_in_each_micro_batch() -> None:
    samples = [row((1, 2, 3, 4, 9 + i), 4) for i in range(4)]  # 4 + 1 tokens each
    assert plan(samples, 8) == [[0, 1, 2, 3]]
    assert plan(samples, 7) == [[0, 1, 2], [3]]
    assert plan(samples, 8, share=False) == [[0], [1], [2], [3]]


PROMPTS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=30)


@given(PROMPTS, st.integers(1, 60), st.booleans())
def test_plan_holds_every_index_once_and_keeps_the_budget(
    drawn: list[tuple[int, int]], budget: int, share: bool
) -> None:
    samples = [row((*[prompt] * (prompt + 1), *range(10, 10 + n)), prompt + 1) for prompt, n in drawn]
    batches = plan(samples, budget, share=share)
    assert sorted(i for batch in batches for i in batch) == list(range(len(samples)))
    for batch in batches:
        assert batch, "no micro-batch is empty"
        layout = collate([samples[i] for i in batch], share=share).layout
        assert len(batch) == 1 or layout.tokens <= budget
    assert plan(samples, budget, share=share) == batches


def test_collate_by_hand() -> None:
    samples = [
        Sample((5, 8, 4), (0, 1, 1), (0.0, 1.5, 1.5), (0.0, -0.1, -0.2), (0.0, -0.3, -0.4), weight=2.0),
        Sample((7, 6, 9, 3, 2), (0, 1, 0, 0, 1), (0.0, -1.0, 9.0, 9.0, -2.0)),
    ]
    batch = collate(samples)
    assert batch.ids.tolist() == [5, 8, 4, 7, 6, 9, 3, 2]
    assert batch.layout.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert batch.targets.tolist() == [8, 4, 6, 2]
    assert batch.predicted_at.tolist() == [0, 1, 3, 6]  # where the token before each target stands
    assert batch.advantages.tolist() == [1.5, 1.5, -1.0, -2.0]
    torch.testing.assert_close(batch.behaviour_logprobs, torch.tensor([-0.1, -0.2, 0.0, 0.0]))
    torch.testing.assert_close(batch.reference_logprobs, torch.tensor([-0.3, -0.4, 0.0, 0.0]))
    assert batch.weights.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert batch.sequence.tolist() == [0, 0, 1, 1]
    assert batch.lengths.tolist() == [2, 2, 2, 2]


def test_a_shared_prompt_is_in_the_stream_once() -> None:
    samples = [row((5, 6, 7, 1), 3), row((8, 2, 3), 1), row((5, 6, 7, 4, 9), 3)]
    batch = collate(samples)
    assert batch.ids[:9].tolist() == [5, 6, 7, 1, 4, 9, 8, 2, 3]
    assert len(batch.ids) == 16, "streams have one of few lengths"
    assert batch.layout.positions[:9].tolist() == [0, 1, 2, 3, 3, 4, 0, 1, 2]
    assert batch.targets.tolist() == [1, 2, 3, 4, 9]
    assert batch.predicted_at.tolist() == [2, 6, 7, 2, 4]  # the prompt's last token predicts for both of its rows
    assert batch.sequence.tolist() == [0, 1, 1, 2, 2]
    apart = collate(samples, share=False)
    assert apart.layout.tokens == 12 and apart.targets.tolist() == batch.targets.tolist()


def test_collate_of_nothing_trained() -> None:
    batch = collate([Sample((5, 8), (0, 0))])
    for stream in (batch.targets, batch.predicted_at, batch.sequence, batch.lengths):
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
    for share in (True, False):
        batch = collate(samples, share=share)
        found = [
            (int(row), int(batch.layout.positions[p]) + 1, int(target), a)
            for row, p, target, a in zip(
                batch.sequence, batch.predicted_at, batch.targets, batch.advantages.tolist(), strict=True
            )
        ]
        assert found == [
            (b, t, s.ids[t], float(t)) for b, s in enumerate(samples) for t, on in enumerate(s.loss_mask) if on
        ]
        expected = [s.ids[t - 1] for s in samples for t, on in enumerate(s.loss_mask) if on]
        assert batch.ids[batch.predicted_at].tolist() == expected
        assert [samples[b].n_targets for b in batch.sequence.tolist()] == batch.lengths.tolist()
