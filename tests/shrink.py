"""A recipe with all of its stages, each as small as it can be: for whole runs on random models."""

from __future__ import annotations

from typing import Any

from aha.config import (
    CollectStage,
    EvaluateStage,
    EvaluationChoice,
    Recipe,
    RewardModelStage,
    RLStage,
    Rollouts,
    SFTStage,
    Stage,
)  # fmt: skip

TOKENS = 12
LOOK = EvaluationChoice(problems=2, samples=2, max_tokens=TOKENS)


def shrunk(recipe: Recipe, model: str, **changes: Any) -> Recipe:
    """Two steps a stage, a handful of samples, and every model the one that is given; nothing that is sampled is
    dropped, for a random model is never right."""
    stages = {name: _small(stage, model) for name, stage in recipe.stages.items()}
    return recipe.model_copy(
        update={"model": model, "template": "short", "dtype": "float32", "threads": 1, "stages": stages, **changes}
    )


def _small(stage: Stage, model: str) -> Stage:
    start = {"start": f"model:{model}"} if getattr(stage, "start", "").startswith("model:") else {}
    match stage:
        case RLStage(rollouts=r):
            small = Rollouts(questions=4, group=2, max_tokens=TOKENS, temperature=r.temperature, slots=8)
            few = {"steps": 2, "rollouts": small, "evaluation": LOOK, "checkpoint_every": 1, "reward_threads": 0}
        case SFTStage():
            few = {"epochs": 1, "batch": 8, "max_tokens": 200, "evaluation": LOOK, "checkpoint_every": 1}
        case CollectStage(written=written):
            few = {
                "questions": 8, "samples": 2, "max_tokens": TOKENS, "least": {"repetition": -1.0}, "refine": "",
                "written": dict.fromkeys(written, 4), "decontaminate": 10, "reward_threads": 0,
            }  # fmt: skip
        case RewardModelStage():
            few = {"examples": 16, "held_back": 8, "batch": 8, "checkpoint_every": 1, "max_tokens": 200}
        case EvaluateStage(tasks=tasks, models=models):
            named = tuple(f"model:{model}" if m.startswith("model:") else m for m in models)
            few = {"tasks": dict.fromkeys(tasks, 2), "models": named, "samples": 2, "max_tokens": TOKENS, "slots": 8}
        case _:
            few = {"steps": 2, "evaluation": LOOK}
    return stage.model_copy(update={**few, **start})
