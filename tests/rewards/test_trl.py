"""The rewards in another trainer: two steps of TRL's GRPOTrainer on a tiny random model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from aha import rewards
from aha.rewards.sandbox import available
from tiny_models import TinyFactory

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'aha[bench]'")

FUNCTIONS = [
    rewards.math_accuracy, rewards.format_reward, rewards.repetition_penalty, rewards.language_consistency,
    *([rewards.code_accuracy] if available() is None else []),
]  # fmt: skip
TOKENS = 8


def overlong(completions: Any, completion_ids: Any, **columns: Any) -> list[float | None]:
    """A penalty that begins with the first token."""
    return rewards.length_penalty(completions, completion_ids, max_tokens=TOKENS, cache_tokens=TOKENS, **columns)


@pytest.mark.parametrize("chat", [False, True], ids=["texts", "messages"])
def test_two_steps(tiny: TinyFactory, tmp_path: Path, chat: bool) -> None:
    import datasets

    prompts: list[Any] = [f"Compute {i}+{i}." for i in range(4)]
    if chat:
        prompts = [[{"role": "user", "content": prompt}] for prompt in prompts]
    rows = datasets.Dataset.from_dict(
        {
            "prompt": prompts,
            "answer": ["0", "2", None, "6"],
            "language": ["en"] * 4,
            "tests": [json.dumps([{"call": "f(1)", "expected": 2}])] * 4,
        }
    )
    seen: list[list[float | None]] = []

    def recorded(**columns: Any) -> list[float | None]:
        seen.append(rewards.math_accuracy(**columns))
        return seen[-1]

    settings = trl.GRPOConfig(
        output_dir=str(tmp_path), max_steps=2, num_generations=2, per_device_train_batch_size=4,
        max_completion_length=TOKENS, use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no",
        disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=str(tiny("qwen3", chat=True)), reward_funcs=[*FUNCTIONS, overlong, recorded], args=settings,
        train_dataset=rows,
    )  # fmt: skip
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert trainer.state.global_step == 2 and len(logged) == 2
    for function in FUNCTIONS:
        assert f"rewards/{function.__name__}/mean" in logged[0]
    assert all(math.isfinite(entry["rewards/format_reward/mean"]) for entry in logged)
    assert all(-1 <= entry["rewards/overlong/mean"] < 0 for entry in logged)
    values = [value for batch in seen for value in batch]
    assert len(values) == 8 and values.count(None) % 2 == 0 and set(values) <= {0.0, None}
