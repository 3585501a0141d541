"""The paper's own hyper-parameters, for models that need GPUs (DeepSeek-R1, v2, sections 2.1, 3.2 and B.4).

A rollout of the paper is 512 questions x 16 samples, split into 16 updates of 512 samples. Its steps are updates, a
step here is a rollout: 10,400 updates are 650 steps, the reference is renewed every 25. What the paper does not print
(the steps of R1's first RL stage, the samples of a prompt in rejection sampling, the size of the cold start) is chosen
here, and said so.
"""

from __future__ import annotations

from collections.abc import Callable

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

CONTEXT = 32_768  # tokens of a response, and of a conversation
POSITIONS = 40_960  # of a prompt and a response: Qwen2.5-Math's 4,096 are too few
UPDATES = 16  # of a rollout
TASK: dict[str, float] = {"math:EleutherAI/hendrycks_math": 1.0}  # bring your own: the paper's prompts are not public
GENERAL = "prompts:prompts.jsonl"
RULES = {"accuracy": 1.0, "format": 1.0}
R1_RULES = {"accuracy": 1.0, "format-r1": 1.0, "language": 1.0}
LOOK = EvaluationChoice(problems=200, samples=4, temperature=0.6, max_tokens=CONTEXT)


def rl(steps: int, lr: float, rewards: dict[str, float], start: str = "base", **options: float) -> RLStage:
    """The paper's RL: 512 x 16 a rollout in 16 updates, beta 0.001, the reference renewed every 400 updates."""
    return RLStage(
        start=start, positions=POSITIONS, steps=steps, rewards=rewards, evaluation=LOOK,
        rollouts=Rollouts(questions=512, group=16, max_tokens=CONTEXT, slots=1024),
        algorithm=AlgorithmChoice(updates_per_rollout=UPDATES, reference_refresh=25, options={**options}),
        optimiser=OptimiserChoice(lr=lr, micro_batch_tokens=CONTEXT),
    )  # fmt: skip


def sft(lr: float, data: str, batch: int, epochs: int = 2, start: str = "base") -> SFTStage:
    """The paper's SFT: a cosine to a tenth, 32,768 tokens (B.4.2 and B.4.3)."""
    optimiser = OptimiserChoice(lr=lr, schedule="cosine", final_share=0.1, micro_batch_tokens=CONTEXT)
    return SFTStage(
        start=start, data=(data,), positions=POSITIONS, epochs=epochs, batch=batch, optimiser=optimiser, evaluation=LOOK
    )  # fmt: skip


def zero(name: str, model: str, lr: float, steps: int = 650) -> Recipe:
    """R1-Zero: 3e-6 at 671 B, 2e-6 for Qwen2.5-32B; 650 rollouts are the paper's 10,400 updates."""
    about = f"R1-Zero of {model}, as in the paper"
    return Recipe(name=name, about=about, model=model, task=TASK, stages={"zero": rl(steps, lr, RULES)})


def distill(name: str, model: str, lr: float, data: str = "traces.jsonl") -> Recipe:
    """SFT alone on the traces of a larger model, batch 64 (B.4.3, table 6)."""
    return Recipe(
        name=name, about=f"distils the conversations of {data} into {model}, as in the paper", model=model, task=TASK,
        stages={"distilled": sft(lr, data, batch=64)},
    )  # fmt: skip


def all_scenarios(stage: RLStage) -> RLStage:
    """RL on general data too: temperature 0.7, preference rewards in the last 400 of 1,700 updates (v2, 3.2.2)."""
    last = PreferenceChoice(model="helpful", last_share=400 / 1700)
    return stage.model_copy(
        update={
            "task": {**TASK, GENERAL: 1.0},
            "rollouts": stage.rollouts.model_copy(update={"temperature": 0.7}),
            "rewards_of": {"prompts": {"format-r1": 1.0, "language": 1.0}},
            "preferences": {"helpful": last, "safety": last.model_copy(update={"model": "safety"})},
        }
    )


def whole(name: str, model: str, small: str, small_lr: float, lr: float = 3e-6) -> Recipe:
    """All stages, from a base model."""
    readable = {"accuracy": 1.0, "language": 0.95, "repetition": -0.2}
    loose = {"clip_low": 1.0, "clip_high": 10.0}  # eps is 10 in the paper: nothing below binds, ratios end at 11
    stages: dict[str, Stage] = {
        "zero": rl(650, lr, RULES),
        "cold": CollectStage(
            start="zero", questions=4096, samples=8, max_tokens=CONTEXT, least=readable, review=True
        ),
        "dev1": sft(5e-5, "cold", batch=128),
        "dev2": rl(100, lr, R1_RULES, start="dev1", **loose),
        "traces": CollectStage(
            start="dev2", questions=300_000, samples=4, keep=2, max_tokens=CONTEXT, least={**readable, "format-r1": 1.0}
        ),
        "dev3": sft(5e-5, "traces", batch=128),
        "helpful": RewardModelStage(start="dev3", data="pairs.jsonl"),
        "safety": RewardModelStage(start="dev3", data="labels.jsonl", loss="pointwise", reads="response"),
        "r1": all_scenarios(rl(106, lr, R1_RULES, start="dev3", **loose)),
        "distilled": sft(small_lr, "traces", batch=64, start=f"model:{small}"),
        "evaluated": EvaluateStage(
            models=("zero", "dev1", "dev2", "dev3", "r1", "distilled"), tasks={next(iter(TASK)): 500},
            max_tokens=CONTEXT,
        ),
    }  # fmt: skip
    return Recipe(
        name=name, about=f"all stages of R1 from {model}, with the paper's hyper-parameters", model=model, task=TASK,
        stages=stages,
    )  # fmt: skip


LARGE: dict[str, Callable[[], Recipe]] = {
    "zero_qwen_7b": lambda: zero("zero_qwen_7b", "Qwen/Qwen2.5-7B", 3e-6),
    "zero_qwen_32b": lambda: zero("zero_qwen_32b", "Qwen/Qwen2.5-32B", 2e-6),
    "r1_qwen_1_5b": lambda: whole("r1_qwen_1_5b", "Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-0.5B", 1e-4),
    "r1_deepseek_v3": lambda: whole("r1_deepseek_v3", "deepseek-ai/DeepSeek-V3-Base", "Qwen/Qwen2.5-32B", 6e-5),
    "distill_qwen_1_5b": lambda: distill("distill_qwen_1_5b", "Qwen/Qwen2.5-Math-1.5B", 1e-4),
    "distill_qwen_7b": lambda: distill("distill_qwen_7b", "Qwen/Qwen2.5-Math-7B", 8e-5),
    "distill_qwen_14b": lambda: distill("distill_qwen_14b", "Qwen/Qwen2.5-14B", 7e-5),
    "distill_qwen_32b": lambda: distill("distill_qwen_32b", "Qwen/Qwen2.5-32B", 6e-5),
    "distill_llama_8b": lambda: distill("distill_llama_8b", "meta-llama/Llama-3.1-8B", 5e-5),
    "distill_llama_70b": lambda: distill("distill_llama_70b", "meta-llama/Llama-3.3-70B-Instruct", 2e-5),
}
