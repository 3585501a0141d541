"""LoRA: merged weights are what the learner computes with; a run trains adapters alone and leaves a plain model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aha.config import override
from aha.models.loading import load
from aha.pipeline.run import run
from aha.training.learner import Optimiser, TorchLearner
from aha.training.lora import with_lora
from aha.types import Sample
from small_runs import KillAt, Killed, small, weights
from tiny_models import TinyFactory

pytest.importorskip("peft", reason="the optional library peft is not installed")
ROWS = [Sample((5, 8, 4, 200), (0, 0, 1, 1)), Sample((7, 6, 9, 3, 2, 41, 17), (0, 0, 1, 1, 1, 1, 1))]


def taught(folder: Path) -> tuple[TorchLearner, torch.nn.Module]:
    loaded = load(str(folder))
    learner = TorchLearner(with_lora(loaded.fresh_copy(), 4, 8.0), Optimiser(lr=1e-2))
    for _ in range(3):
        learner.forward_backward(ROWS, lambda logprobs, _: (-logprobs.sum(), {}), 7.0)
        assert learner.optim_step()["grad_norm"] > 0
    return learner, loaded.model


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma2"])
def test_the_plain_model_with_merged_weights_is_the_learner(tiny: TinyFactory, architecture: str) -> None:
    learner, plain = taught(tiny(architecture))
    before = {name: p.clone() for name, p in plain.state_dict().items()}
    found = learner.weights()
    assert found.keys() == before.keys()
    changed = {name for name, w in found.items() if not torch.equal(w, before[name])}
    assert changed and all(name.endswith("_proj.weight") for name in changed), "only linear layers are trained"
    plain.load_state_dict(found)
    other = TorchLearner(plain, Optimiser(lr=0.0))
    for one, two in zip(learner.logprobs(ROWS), other.logprobs(ROWS), strict=True):
        assert one == pytest.approx(two, abs=2e-5)
    assert learner.master_weights().keys() == dict(plain.named_parameters()).keys()


def test_a_run_with_adapters_leaves_a_plain_model(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    """The reference is renewed on the way; a broken run ends the same."""
    made = override(small(tiny), ["lora={rank: 2}", "algorithm.reference_refresh=2", "checkpoint_every=3"])
    run(made, tmp_path / "run")
    with pytest.raises(Killed):
        run(made, tmp_path / "broken", KillAt(2))
    run(made, tmp_path / "broken")
    one, two = (weights(tmp_path / name / "stages/01-zero/model") for name in ("run", "broken"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    before, after = weights(Path(made.model)), weights(tmp_path / "run/stages/01-zero/model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("_proj" in name for name in changed) and before.keys() == after.keys()


def test_in_bfloat16_the_saved_weights_are_not_rounded(tiny: TinyFactory) -> None:
    loaded = load(str(tiny("llama")))
    learner = TorchLearner(with_lora(loaded.fresh_copy(), 4, 8.0), Optimiser(lr=1e-3), dtype=torch.bfloat16)
    learner.forward_backward(ROWS, lambda logprobs, _: (-logprobs.sum(), {}), 7.0)
    learner.optim_step()
    saved, plain = learner.master_weights(loaded.model), dict(loaded.model.named_parameters())
    assert {w.dtype for w in saved.values()} == {torch.float32}
    for name, w in saved.items():
        assert torch.equal(w, plain[name]) or (name.endswith("_proj.weight") and (w - plain[name]).abs().max() < 0.01)
