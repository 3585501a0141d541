"""Advantages of tokens against brute force from the definitions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.algorithms.returns import gae, kl_of_token, overlong_penalty, whitened

numbers = st.floats(-3, 3)
rows = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12)


@given(rows, st.floats(0, 1))
def test_gae_is_its_definition(pairs: list[tuple[float, float]], lambda_: float) -> None:
    rewards, values = (list(x) for x in zip(*pairs, strict=True))
    deltas = [r + after - v for r, v, after in zip(rewards, values, [*values[1:], 0.0], strict=True)]
    expected = [
        sum(lambda_**k * deltas[t + k] for k in range(len(deltas) - t)) for t in range(len(deltas))
    ]
    assert gae(rewards, values, lambda_) == pytest.approx(expected, abs=1e-9)


@given(rows)
def test_with_lambda_one_it_is_the_return_less_the_value(pairs: list[tuple[float, float]]) -> None:
    rewards, values = (list(x) for x in zip(*pairs, strict=True))
    expected = [sum(rewards[t:]) - v for t, v in enumerate(values)]
    assert gae(rewards, values, 1.0) == pytest.approx(expected, abs=1e-9)


def test_hand_computed() -> None:
    # deltas: 0 + 0.6 - 0.5 = 0.1, 1 + 0 - 0.6 = 0.4; with lambda 0.5: 0.1 + 0.5 * 0.4
    assert gae([0.0, 1.0], [0.5, 0.6], 0.5) == pytest.approx([0.3, 0.4])


@given(st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=5))
def test_whitening(made: list[list[float]]) -> None:
    masks = [[int(i > 0 or len(row) == 1) for i in range(len(row))] for row in made]
    white = whitened(made, masks)
    chosen = [x for row, mask in zip(white, masks, strict=True) for x, on in zip(row, mask, strict=True) if on]
    assert math.fsum(chosen) / len(chosen) == pytest.approx(0.0, abs=1e-6)
    spread = math.fsum(x * x for x in chosen) / len(chosen)
    assert spread == pytest.approx(1.0, rel=1e-3) or all(x == 0 for x in chosen)
    for before, after, mask in zip(made, white, masks, strict=True):
        assert [x for x, on in zip(before, mask, strict=True) if not on] == [
            x for x, on in zip(after, mask, strict=True) if not on
        ]


def test_nothing_to_whiten() -> None:
    assert whitened([], []) == [] and whitened([[4.0]], [[0]]) == [[4.0]]


def test_the_penalty_of_length() -> None:
    assert [overlong_penalty(n, 256, 64) for n in (1, 192, 193, 224, 256)] == [0, 0, -1 / 64, -0.5, -1]
    assert overlong_penalty(256, 256, 0) == 0


def test_estimates_of_kl() -> None:
    p, q = 0.5, 0.25
    assert kl_of_token("k1", math.log(p), math.log(q)) == pytest.approx(math.log(2))
    assert kl_of_token("k2", math.log(p), math.log(q)) == pytest.approx(math.log(2) ** 2 / 2)
    assert kl_of_token("k3", math.log(p), math.log(q)) == pytest.approx(0.5 - math.log(0.5) - 1)
