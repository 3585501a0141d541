"""What may be set of an algorithm, and what is said of the rest."""

from __future__ import annotations

import pytest

from aha.algorithms.setting import Setting
from aha.algorithms.table import ALGORITHMS, algorithm
from aha.errors import UserError


def test_options_replace_a_row_s_setting() -> None:
    setting = algorithm("dapo").setting.replaced({"clip_high": 0.3, "truncated": "mask", "kl_importance": True})
    assert (setting.clip_high, setting.truncated, setting.kl_importance) == (0.3, "mask", True)
    assert setting.attempts == algorithm("dapo").setting.attempts
    assert algorithm("dapo").setting.replaced({}) == algorithm("dapo").setting


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"kl_bet": 1.0}, "'kl_bet'; did you mean 'kl_beta'"),
        ({"kl": "k4"}, "kl='k4' is none of k1, k2, k3"),
        ({"aggregation": 1.0}, "aggregation=1.0 is none of token-mean"),
        ({"clip_low": 1.5}, "clip_low=1.5 is outside of 0 to 1"),
        ({"clip_high": -0.1}, "clip_high=-0.1 is outside of 0 to inf"),
        ({"gae_lambda": 2.0}, "gae_lambda=2.0 is outside"),
        ({"attempts": 0.0}, "attempts=0.0 is outside of 1 to inf"),
        ({"attempts": 1.5}, "attempts=1.5 has to be a whole number"),
        ({"kl_beta": "much"}, "kl_beta='much' has to be a number"),
        ({"kl_beta": float("nan")}, "kl_beta=nan has to be a number"),
        ({"kl_beta": True}, "kl_beta=True has to be a number"),
        ({"kl_importance": 1.0}, "kl_importance=1.0 has to be true or false"),
    ],
)
def test_what_cannot_be_set_is_said(options: dict, part: str) -> None:
    with pytest.raises(UserError) as error:
        Setting().replaced(options)
    assert part in str(error.value)


def test_the_neutral_setting_has_no_terms() -> None:
    s = Setting()
    assert not any((s.kl_beta, s.entropy_beta, s.overlong_buffer, s.importance_cap)) and s.attempts == 1
    assert s.truncated == "keep"


def test_every_row_names_its_source() -> None:
    for row in ALGORITHMS.values():
        assert "arXiv" in row.paper and row.formula
        assert row.critic is False or row.advantage is None, "a critic's values are for tokens"
    assert {"grpo", "dr-grpo", "dapo", "gspo", "rloo", "reinforce++", "cispo", "maxrl", "ppo"} == set(ALGORITHMS)
    with pytest.raises(UserError, match="'dap'; did you mean 'dapo'"):
        algorithm("dap")
