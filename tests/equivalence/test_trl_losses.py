"""The same value and gradient as TRL's trainers have for the same loss, on the same tensors.

TRL's own `_compute_loss` runs on a stand-in for its trainer that has only the settings which it reads.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from aha.algorithms.aggregation import aggregate
from aha.algorithms.table import algorithm
from aha.training.batch import collate
from aha.types import Sample

trl = pytest.importorskip("trl", reason="TRL is not installed; pip install -e '.[bench]' brings it")

LENGTHS, MOST, PROMPT = [5, 2, 7, 1], 7, 3
ROWS = len(LENGTHS)


def tensors() -> dict[str, Tensor]:
    """Policy, old policy and reference [B, T] and advantages [B]; float32, as batches are."""
    torch.manual_seed(4)
    drawn = {name: -torch.rand(ROWS, MOST) - 0.1 for name in ("policy", "old", "reference")}
    drawn["old"] = drawn["policy"] + 0.3 * torch.randn(ROWS, MOST)
    mask = torch.arange(MOST) < torch.tensor(LENGTHS)[:, None]
    return {**drawn, "mask": mask.long(), "advantages": torch.tensor([1.3, -0.7, -1.2, 0.6])}


def theirs(trainer: Any, given: dict[str, Tensor], **settings: Any) -> tuple[float, Tensor]:
    """TRL's loss and its gradient [B, T] by the policy's log-probs."""
    policy = given["policy"].clone().requires_grad_()
    accelerator = SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1)
    arguments = SimpleNamespace(
        use_bias_correction_kl=settings.pop("kl_importance", False), delta=None, steps_per_generation=1
    )
    stand_in = SimpleNamespace(
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, args=arguments,
        accelerator=accelerator, model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        use_vllm=False, vllm_importance_sampling_correction=False, _entropy_bonus_enabled=False,
        max_completion_length=MOST, _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (policy, torch.zeros_like(policy), None),
        **{"beta": 0.0, "importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, **settings},
    )  # fmt: skip
    inputs = {
        "prompt_ids": torch.zeros(ROWS, PROMPT, dtype=torch.long), "prompt_mask": torch.ones(ROWS, PROMPT),
        "completion_ids": torch.zeros(ROWS, MOST, dtype=torch.long), "completion_mask": given["mask"],
        "advantages": given["advantages"], "old_per_token_logps": given["old"],
        "ref_per_token_logps": given["reference"], "num_items_in_batch": given["mask"].sum(),
        "old_logps": (given["old"] * given["mask"]).sum(1),
    }  # fmt: skip
    loss = trainer._compute_loss(stand_in, None, inputs)
    loss.backward()
    assert policy.grad is not None
    return loss.item(), policy.grad


def ours(name: str, given: dict[str, Tensor], **options: Any) -> tuple[float, Tensor]:
    """Our loss and its gradient, at the same places."""

    def stream(values: Tensor, row: int) -> tuple[float, ...]:
        return (0.0,) * PROMPT + tuple(values[row, : LENGTHS[row]].tolist())

    samples = [
        Sample(
            ids=(0,) * (PROMPT + n),
            loss_mask=(0,) * PROMPT + (1,) * n,
            advantages=stream(given["advantages"][:, None].expand(-1, MOST), row),
            behaviour_logprobs=stream(given["old"], row),
            reference_logprobs=stream(given["reference"], row),
        )
        for row, n in enumerate(LENGTHS)
    ]
    row = algorithm(name)
    setting = row.setting.replaced({"kl_beta": 0.0, **options})
    weighted, denominator = aggregate(samples, setting.aggregation, ROWS, MOST)
    on = given["mask"].bool()
    policy = given["policy"][on].clone().requires_grad_()
    total, _ = row.loss(setting)(policy, collate(weighted))
    (total / denominator).backward()
    assert policy.grad is not None
    return total.item() / denominator, torch.zeros(ROWS, MOST).masked_scatter(on, policy.grad)


GRPO = {"loss_type": "grpo"}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "grpo": ("grpo", {"aggregation": "sequence-mean"}, GRPO),
    "grpo with KL": ("grpo", {"aggregation": "sequence-mean", "kl_beta": 0.3}, {**GRPO, "beta": 0.3}),
    "grpo with KL by importance": (
        "grpo",
        {"aggregation": "sequence-mean", "kl_beta": 0.3, "kl_importance": True},
        {**GRPO, "beta": 0.3, "kl_importance": True},
    ),
    "dr-grpo": ("dr-grpo", {}, {"loss_type": "dr_grpo"}),
    "dapo": ("dapo", {}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "gspo": (
        "gspo", {"clip_low": 0.05, "clip_high": 0.04},
        {**GRPO, "importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.04},
    ),
    "cispo": ("cispo", {"clip_high": 0.1}, {"loss_type": "cispo", "epsilon_high": 1.1}),
    "maxrl": ("maxrl", {}, {"loss_type": "dr_grpo"}),
    "reinforce++": ("reinforce++", {}, {"loss_type": "dapo"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_grpo_trainer_s_losses(case: str) -> None:
    from trl import GRPOTrainer

    name, options, settings = CASES[case]
    given = tensors()
    value, gradient = ours(name, given, **options)
    their_value, their_gradient = theirs(GRPOTrainer, given, **settings)
    assert value == pytest.approx(their_value, abs=1e-6)
    torch.testing.assert_close(gradient, their_gradient, atol=1e-6, rtol=1e-6)
    assert gradient.abs().max() > 1e-3


def test_rloo_trainer_s_loss() -> None:
    from trl import RLOOTrainer

    given = tensors()
    value, gradient = ours("rloo", given)
    their_value, their_gradient = theirs(RLOOTrainer, given)
    assert value == pytest.approx(their_value, abs=1e-6)
    torch.testing.assert_close(gradient, their_gradient, atol=1e-6, rtol=1e-6)
