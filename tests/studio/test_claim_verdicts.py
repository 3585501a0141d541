"""What each claim asks: numbers by hand that just hold, and each way in which they no longer do."""

from __future__ import annotations

from pathlib import Path

import pytest

from aha.errors import UserError
from aha.studio.claims.claims import CLAIMS, STAGES, Numbers
from aha.studio.claims.page import Outcome, number, seeds_in
from aha.studio.claims.seed import Missing, Sampled, right_within, tokens_by_difficulty

BY_NAME = {claim.name: claim for claim in CLAIMS}
NEVER = float("inf")
RISING = {
    **dict(zip((f"reasoning, {model}" for model in STAGES), (0.80, 0.60, 0.85, 0.80, 0.78), strict=True)),
    **dict(zip((f"requests, {model}" for model in STAGES), (0.30, 0.60, 0.60, 0.91, 0.90), strict=True)),
}
HOLDING: dict[str, tuple[Numbers, list[Numbers]]] = {
    "Pure RL": (
        {"countdown before": 0.2, "countdown after": 0.85, "all tasks after": 0.8, "majority vote after": 0.81},
        [
            {"countdown before": 0.3}, {"countdown before": 0.05}, {"countdown after": 0.84},
            {"majority vote after": 0.8},
        ],
    ),
    "Length": ({"ratio": 1.5}, [{"ratio": 1.49}]),
    "Reflection": ({"ratio": 2.0}, [{"ratio": 1.9}]),
    "Language": (
        {
            "R1-Zero's language": 0.9, "R1's language": 0.99, "language with the reward": 0.99,
            "language without": 0.95, "pass@1 with the reward": 0.80, "pass@1 without": 0.84,
        },
        [
            {"R1-Zero's language": 0.99}, {"language with the reward": 0.98}, {"language without": 0.995},
            {"pass@1 without": 0.86},
        ],
    ),
    "Cold start": (
        {
            "steps from the base": 20, "steps from the cold start": 5, "R1-Zero's language": 0.9,
            "Dev2's language": 0.99, "R1-Zero's format": 0.9, "Dev2's format": 0.9,
        },
        [{"steps from the cold start": NEVER}, {"steps from the base": 5}, {"Dev2's language": 0.9},
         {"Dev2's format": 0.89}],
    ),
    "Stages": (
        RISING,
        [{"reasoning, dev1": 0.81}, {"reasoning, r1": 0.77}, {"requests, r1": 0.89}],
    ),
    "Distilling": (
        {"distilled": 0.7, "RL alone": 0.6, "seconds of distilling": 50, "seconds of RL": 50},
        [{"distilled": 0.6}, {"seconds of distilling": 51}],
    ),
    "Reward hacking": (
        {"reward at first": 0.5, "reward at last": 0.9, "truth at its best": 0.8, "truth at last": 0.7},
        [{"reward at last": 0.5}, {"truth at last": 0.76}],
    ),
    "Thinking": (
        {
            "tokens, easiest third": 50, "tokens, hardest third": 60, "pass@1 within 50 tokens": 0.1,
            "pass@1 within 100 tokens": 0.2, "pass@1 within all": 0.3,
        },
        [{"tokens, hardest third": 59}, {"pass@1 within 100 tokens": 0.1}, {"pass@1 within all": 0.2}],
    ),
    "GRPO and PPO": (
        {"GRPO": 0.80, "PPO, lambda 1": 0.81, "PPO, lambda 0.95": 0.7},
        [{"PPO, lambda 1": 0.83}, {"PPO, lambda 0.95": 0.8}],
    ),
}  # fmt: skip


def test_every_claim_has_its_case() -> None:
    assert set(HOLDING) == set(BY_NAME)


@pytest.mark.parametrize("name", HOLDING)
def test_a_claim_holds_and_fails_at_its_limits(name: str) -> None:
    good, changes = HOLDING[name]
    assert BY_NAME[name].holds(good)
    for change in changes:
        assert not BY_NAME[name].holds({**good, **change}), change


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((2.0, 3.0), "shown (2 of 2 seeds)"),
        ((2.0, 1.0), "mixed (1 of 2 seeds)"),
        ((1.0, 1.0), "not shown (0 of 2 seeds)"),
        ((), "not measured"),
    ],
)
def test_the_verdict_counts_seeds(ratios: tuple[float, ...], verdict: str) -> None:
    numbers = {f"seed-{n}": {"ratio": ratio} for n, ratio in enumerate(ratios)}
    assert Outcome(BY_NAME["Length"], numbers, {}).verdict == verdict


def test_tokens_by_difficulty_and_budget() -> None:
    judge = [Sampled(problem, 1, right) for problem, right in (("a", True), ("b", False), ("c", True), ("c", False))]
    samples = [Sampled("a", 10, True), Sampled("b", 90, False), Sampled("c", 40, True), Sampled("c", 60, True)]
    assert tokens_by_difficulty(judge, samples) == [10, 50, 90]
    assert [right_within(samples, budget) for budget in (9, 10, 40, 100)] == [0, 0.25, 0.5, 0.75]
    with pytest.raises(Missing, match="3 problems are too few for 4 parts"):
        tokens_by_difficulty(judge, samples, parts=4)


def test_numbers_as_a_person_reads_them() -> None:
    assert [number(v) for v in (0.12345, 12.0, 1234.5, NEVER)] == ["0.123", "12", "1,234", "never"]


def test_a_folder_without_seeds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no runs of seeds"):
        seeds_in(tmp_path)
