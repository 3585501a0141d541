"""What the claims of the paper are measured on: all stages of R1, and beside them what each claim compares with."""

from __future__ import annotations

from aha.config import (
    AlgorithmChoice,
    EvaluateStage,
    EvaluationChoice,
    PreferenceChoice,
    Recipe,
    RLStage,
    Rollouts,
    Stage,
)
from aha.pipeline.recipes.r1 import MODELS, TOKENS, WITH_LANGUAGE, r1, rl_optimiser

LOOK = EvaluationChoice(problems=240, samples=16, max_tokens=TOKENS)
PPO = {"ppo-1": 1.0, "ppo-95": 0.95}  # stages with their lambda; the paper compares both (v2, A.3)


def claims() -> Recipe:
    """Three seeds of it. `aha run claims` ends in a page with a verdict on each claim."""
    made = r1()
    stages = dict(made.stages)
    evaluated = stages.pop("evaluated")
    assert isinstance(evaluated, EvaluateStage)
    zero = _rl(stages["zero"]).model_copy(update={"evaluation": LOOK})
    compared: dict[str, Stage] = {
        "zero": zero,
        "dev2-plain": _rl(stages["dev2"]).model_copy(update={"rewards": {**WITH_LANGUAGE, "language": 0.0}}),
        "overdone": overdone(),
        **{name: zero.model_copy(update={"algorithm": _ppo(zero, value)}) for name, value in PPO.items()},
    }
    # Difficulty is told by how often the base solves a problem, which few samples do not say.
    table = evaluated.model_copy(update={"models": (*MODELS, "dev2-plain"), "samples": 16})
    return made.model_copy(
        update={
            "name": "claims",
            "about": "the paper's claims measured: R1 with its ablations, three seeds, a page of verdicts",
            "seeds": (0, 1, 2),
            "stages": {**stages, **compared, "evaluated": table},
        }
    )


def overdone() -> RLStage:
    """The helpful reward model alone and from the first step on; the truth is looked at and not rewarded."""
    return RLStage(
        start="r1",
        task="requests",
        steps=60,
        rollouts=Rollouts(max_tokens=TOKENS, temperature=0.7),
        rewards={"accuracy": 0.0},
        preferences={"helpful": PreferenceChoice(model="helpful")},
        optimiser=rl_optimiser(),
        evaluation=LOOK,
    )


def _ppo(stage: RLStage, value: float) -> AlgorithmChoice:
    """PPO with a critic and generalised advantages; as many updates of as many samples."""
    options = {"gae_lambda": value, "critic_lr": 1e-3}  # of a 2 M critic, which learns from nothing
    return stage.algorithm.model_copy(update={"name": "ppo", "options": options})


def _rl(stage: Stage) -> RLStage:
    assert isinstance(stage, RLStage)
    return stage
