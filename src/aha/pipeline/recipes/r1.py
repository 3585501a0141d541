"""R1: every stage of the paper, from one base model and one command (DeepSeek-R1, v1 section 2.3, v2 figure 2).

    base -> zero -> cold (+ cold-asked) -> dev1 -> dev2 -> traces -> dev3 -> helpful, safety -> r1
    small -> distilled, small-zero;  all of them -> evaluated
"""

from __future__ import annotations

from aha.config import (
    AlgorithmChoice,
    CollectStage,
    EvaluateStage,
    EvaluationChoice,
    OptimiserChoice,
    PreferenceChoice,
    Recipe,
    RewardModelStage,
    RLStage,
    Rollouts,
    SFTStage,
    Stage,
)  # fmt: skip

REASONING = {"countdown": 4.0, "logic": 3.0, "functions": 3.0}
EVERYTHING = {**REASONING, "requests": 3.0}
RULES = {"accuracy": 1.0, "format": 1.0}
WITH_LANGUAGE = {**RULES, "language": 1.0}  # v2 eq. 8: added without a weight
READABLE = {"accuracy": 1.0, "format": 1.0, "language": 0.95, "repetition": -0.3}
TOKENS = 320
ROLLOUTS = Rollouts(max_tokens=TOKENS)
LOOK = EvaluationChoice(problems=64, samples=4, max_tokens=TOKENS)
TWO_UPDATES = AlgorithmChoice(updates_per_rollout=2)
MODELS = ("base", "zero", "dev1", "dev2", "dev3", "r1", "distilled", "small-zero")


def rl_optimiser(lr: float = 2e-4) -> OptimiserChoice:
    """A 2 M model takes a learning rate that a 671 B one does not."""
    return OptimiserChoice(lr=lr, schedule="cosine", final_share=0.1)


def sft_optimiser(lr: float = 5e-4) -> OptimiserChoice:
    """As the paper's: a cosine to a tenth."""
    return OptimiserChoice(lr=lr, schedule="cosine", final_share=0.1, warmup_steps=5)


def r1() -> Recipe:
    """The whole pipeline on the embedded family."""
    return Recipe(
        name="r1",
        about="all stages of R1 from the embedded base model on a laptop CPU",
        model="tiny",
        task=REASONING,
        task_options={name: {"chinese": 0.3} for name in REASONING},
        dtype="fastest",
        stages={**cold_start(), **reasoning(), **all_scenarios(), **distillation(), **evaluation()},
    )


def cold_start() -> dict[str, Stage]:
    """R1-Zero, whose readable outputs begin the cold start; the base model asked for such ones; SFT of the base."""
    return {
        "zero": RLStage(
            steps=40, rollouts=ROLLOUTS, rewards=RULES, algorithm=TWO_UPDATES, optimiser=rl_optimiser(),
            evaluation=LOOK,
        ),
        "cold": CollectStage(
            start="zero", questions=768, samples=4, max_tokens=TOKENS, least=READABLE, refine="rules",
            written={"requests": 200},
        ),
        "cold-asked": CollectStage(
            questions=384, first_question=768, samples=8, max_tokens=TOKENS, least=READABLE, refine="rules",
            ways={"few-shot": 1.0, "direct": 1.0}, examples=("cold",),
        ),
        "dev1": SFTStage(data=("cold", "cold-asked"), epochs=3, batch=64, optimiser=sft_optimiser(), evaluation=LOOK),
    }  # fmt: skip


def reasoning() -> dict[str, Stage]:
    """RL with the language reward, rejection sampling from it, and SFT of the base on that and on general data."""
    return {
        "dev2": RLStage(
            start="dev1", steps=60, rollouts=ROLLOUTS, rewards=WITH_LANGUAGE, algorithm=TWO_UPDATES,
            optimiser=rl_optimiser(), evaluation=LOOK,
        ),
        "traces": CollectStage(
            start="dev2", questions=2048, first_question=2048, samples=4, keep=2, max_tokens=TOKENS, least=READABLE,
            written={"requests": 1000},
        ),
        "dev3": SFTStage(data=("traces",), epochs=3, batch=64, optimiser=sft_optimiser(), evaluation=LOOK),
    }  # fmt: skip


def all_scenarios() -> dict[str, Stage]:
    """Reward models, and RL on everything: T 0.7, preference rewards only in the last quarter of the steps."""
    chosen = OptimiserChoice(lr=4e-4, schedule="cosine", warmup_steps=5)
    return {
        "helpful": RewardModelStage(
            start="dev3", data="rules:requests", examples=8000, held_back=500, batch=64, optimiser=chosen
        ),
        "safety": RewardModelStage(
            start="dev3", data="rules:requests", loss="pointwise", reads="response", examples=8000, held_back=500,
            batch=64, optimiser=chosen,
        ),
        "r1": RLStage(
            start="dev3", task=EVERYTHING, steps=80, rollouts=Rollouts(max_tokens=TOKENS, temperature=0.7),
            rewards=WITH_LANGUAGE, rewards_of={"requests": {"format": 1.0, "language": 1.0}},
            preferences={
                "helpful": PreferenceChoice(model="helpful", last_share=0.25),
                "safety": PreferenceChoice(model="safety", last_share=0.25),
            },
            algorithm=TWO_UPDATES, optimiser=rl_optimiser(1e-4), evaluation=LOOK,
        ),
    }  # fmt: skip


def distillation() -> dict[str, Stage]:
    """The smaller sibling taught on the traces, and, beside it, the same by RL alone."""
    return {
        "distilled": SFTStage(
            start="model:tiny-small", data=("traces",), epochs=4, batch=64, optimiser=sft_optimiser(2e-3),
            evaluation=LOOK,
        ),
        "small-zero": RLStage(
            start="model:tiny-small", steps=30, rollouts=ROLLOUTS, rewards=RULES, algorithm=TWO_UPDATES,
            optimiser=rl_optimiser(3e-4), evaluation=LOOK,
        ),
    }  # fmt: skip


def evaluation() -> dict[str, Stage]:
    """The paper's stage table."""
    return {
        "evaluated": EvaluateStage(
            models=MODELS, tasks=dict.fromkeys((*EVERYTHING, "arithmetic"), 128), samples=4, max_tokens=TOKENS
        )
    }
