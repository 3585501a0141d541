"""The soft overlong penalty, by hand from DAPO's equation 13."""

from __future__ import annotations

import pytest
from text_rollouts import TASK, rollout, score

from aha.errors import UserError
from aha.rewards.length import SoftOverlong, length, soft_overlong


@pytest.mark.parametrize(
    ("tokens", "value"),
    [(0, 0.0), (384, 0.0), (385, -1 / 128), (400, -0.125), (448, -0.5), (511, -127 / 128), (512, -1.0), (9999, -1.0)],
)
def test_equation_13(tokens: int, value: float) -> None:
    assert soft_overlong(tokens, maximum=512, cache=128) == value


def test_the_papers_limits() -> None:
    values = [score(length(TASK, rollout("a", tokens=n))) for n in (16_384, 18_432, 20_480)]
    assert values == [0.0, -0.5, -1.0]


def test_a_cut_off_response_is_overlong() -> None:
    assert score(length(TASK, rollout("a", tokens=3, stop="length"))) == -1.0


def test_limits_of_ones_own() -> None:
    assert score(SoftOverlong(maximum=10, cache=4)(TASK, rollout("a", tokens=8))) == -0.5
    for maximum, cache in ((10, 0), (10, 11), (0, 0), (10, -1)):
        with pytest.raises(UserError, match="cache is"):
            SoftOverlong(maximum, cache)
