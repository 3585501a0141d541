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
    **dict(zip((f"reasoning, {model}" for model in STAGES), (0.80, 0.75, 0.85, 0.80, 0.78), strict=True)),
    **dict(zip((f"requests, {model}" for model in STAGES), (0.30, 0.60, 0.60, 0.90, 0.88), strict=True)),
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
    "Reflection": (
        {"ratio": 2.0, "before, in 100 tokens": 1.0, "after, in 100 tokens": 1.0},
        [{"ratio": 1.9}, {"after, in 100 tokens": 0.9}],
    ),
    "Language": (
        {
            "R1-Zero's language": 0.9, "R1's language": 0.99, "language with the reward": 0.99,
            "language without": 0.95, "pass@1 with the reward": 0.80, "pass@1 without": 0.84,
        },
        [
            {"R1-Zero's language": 0.985}, {"language with the reward": 0.98}, {"language without": 0.985},
            {"pass@1 without": 0.86},
        ],
    ),
    "Cold start": (
        {
            "steps from the base": 20, "steps from the cold start": 5, "language from the base": 0.9,
            "language from the cold start": 0.99, "format from the base": 0.9, "format from the cold start": 0.9,
        },
        [{"steps from the cold start": NEVER}, {"steps from the base": 5}, {"language from the cold start": 0.9},
         {"format from the cold start": 0.89}],
    ),
    "Stages": (
        RISING,
        [{"reasoning, dev1": 0.76}, {"reasoning, r1": 0.77}, {"requests, r1": 0.87}, {"requests, zero": 0.63},
         {"requests, dev2": 0.57}],
    ),
    "Distilling": (
        {"distilled": 0.7, "RL alone": 0.6, "seconds of distilling": 30, "seconds of sampling the traces": 20,
         "seconds of RL": 50},
        [{"distilled": 0.64}, {"seconds of distilling": 31}],
    ),
    "Reward hacking": (
        {
            "reward of the first sixth": 0.5, "reward of the last sixth": 0.6, "quality before": 0.8,
            "quality after": 0.7,
        },
        [{"reward of the last sixth": 0.54}, {"quality after": 0.76}],
    ),
    "Thinking": (
        {
            "tokens, easiest third": 50, "tokens, hardest third": 60, "pass@1 within 50 tokens": 0.1,
            "pass@1 within 100 tokens": 0.2, "pass@1 within all": 0.3,
        },
        [{"tokens, hardest third": 59}, {"pass@1 within 100 tokens": 0.14}, {"pass@1 within all": 0.24}],
    ),
    "GRPO and PPO": (
        {"base": 0.2, "GRPO": 0.80, "PPO, lambda 1": 0.81, "PPO, lambda 0.95": 0.7},
        [{"GRPO": 0.78}, {"PPO, lambda 0.95": 0.77}, {"base": 0.77}],
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


def test_nothing_is_shown_while_a_seed_is_missing() -> None:
    outcome = Outcome(BY_NAME["Length"], {"seed-0": {"ratio": 3.0}}, {"seed-1": "stage zero"})
    assert outcome.verdict == "not measured in all seeds (1 of 2 hold)"


def test_tokens_by_difficulty_and_budget() -> None:
    judge = [Sampled(problem, 1, right) for problem, right in (("a", True), ("b", False), ("c", True), ("c", False))]
    samples = [Sampled("a", 10, True), Sampled("b", 90, False), Sampled("c", 40, True), Sampled("c", 60, True)]
    cut = Sampled("a", 320, False, ended=False)
    assert tokens_by_difficulty(judge, [*samples, cut]) == [10, 50, 90]
    with pytest.raises(Missing, match="2 parts of 2 problems that differ"):
        tokens_by_difficulty([Sampled("a", 1, False), Sampled("b", 1, False)], samples[:2], parts=2)
    assert tokens_by_difficulty(judge, samples) == [10, 50, 90]
    assert [right_within(samples, budget) for budget in (9, 10, 40, 100)] == [0, 0.25, 0.5, 0.75]
    with pytest.raises(Missing, match="4 parts of 3 problems that differ"):
        tokens_by_difficulty(judge, samples, parts=4)


def test_numbers_as_a_person_reads_them() -> None:
    assert [number(v) for v in (0.12345, 12.0, 1234.5, NEVER, float("nan"))] == [
        "0.123", "12", "1,234", "never", "unknown",
    ]  # fmt: skip


def test_a_folder_without_seeds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no runs of seeds"):
        seeds_in(tmp_path)
