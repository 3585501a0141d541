"""Whole runs at tiny size: what a run leaves behind, resuming it bit for bit, and how it ends when it cannot go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from aha.algorithms.table import ALGORITHMS
from aha.config import override
from aha.distributed import checkpoint
from aha.engines.native.engine import NativeEngine
from aha.errors import RunFailed, Stopped, UserError
from aha.pipeline.observer import Silent
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run
from aha.protocols import Weights
from aha.rewards import table
from aha.training.learner import TorchLearner
from aha.types import Failed, Sampling, StepMetrics
from small_runs import SMALL, KillAt, Killed, small, steady, stored, weights
from tiny_models import TinyFactory


def test_what_a_run_leaves(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    made = small(tiny)
    result = run(made, tmp_path / "run")
    stage = tmp_path / "run" / "stages" / "01-zero"
    assert result["steps"] == 4 and result["asked"] == 3 and 0 <= result["pass@1"] <= 1
    assert json.loads((stage / "stage.json").read_text())["state"] == "finished"
    assert [line["step"] for line in steady(stage / "metrics.jsonl")] == [1, 2, 3, 4]
    assert set(json.loads((stage / "evaluation.json").read_text())) == {"before", "after"}
    rows = stored(stage / "rollouts")
    assert [len(r) for r in rows] == [8] * 4
    first = rows[0][0]
    assert len(first["ids"]) == len(first["logprobs"]) and {v["reward"] for v in first["verdicts"]} == {
        "accuracy",
        "format",
    }
    before, after = weights(Path(made.model)), weights(stage / "model")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    talk = AutoTokenizer.from_pretrained(stage / "model").apply_chat_template(
        [{"role": "user", "content": "Q."}], tokenize=False, add_generation_prompt=True
    )
    assert talk == "User: Q.\nAssistant:"


def test_a_broken_run_resumes_bit_for_bit(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    made = small(tiny, "checkpoint_every=2", "algorithm.reference_refresh=3", "evaluation.every=1")
    run(made, tmp_path / "whole")
    for at in (1, 2, 3, 4):
        broken = tmp_path / f"broken{at}"
        with pytest.raises(Killed):
            run(made, broken, KillAt(at))
        run(made, broken)
        one, two = (folder / "stages" / "01-zero" for folder in (tmp_path / "whole", broken))
        assert steady(one / "metrics.jsonl") == steady(two / "metrics.jsonl")
        assert stored(one / "rollouts") == stored(two / "rollouts")
        left, right = weights(one / "model"), weights(two / "model")
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_runs_and_resumes(tiny: TinyFactory, tmp_path: Path, lucky: None, name: str) -> None:
    """With all terms at once; a critic is resumed too."""
    options = "{kl_beta: 0.05, entropy_beta: 0.01, importance_cap: 2.0, critic_lr: 1e-2}"
    made = small(tiny, "steps=3", f"algorithm.name={name}", f"algorithm.options={options}", "checkpoint_every=1")
    run(made, tmp_path / "whole")
    with pytest.raises(Killed):
        run(made, tmp_path / "broken", KillAt(2))
    run(made, tmp_path / "broken")
    one, two = (tmp_path / folder / "stages" / "01-zero" for folder in ("whole", "broken"))
    lines = steady(one / "metrics.jsonl")
    assert lines == steady(two / "metrics.jsonl")
    assert all(line["updates"] == 1 and line["grad_norm"] > 0 for line in lines)
    assert ("critic/loss" in lines[0]) == ALGORITHMS[name].critic and "policy_entropy" in lines[0]
    before, left, right = weights(Path(made.model)), weights(one / "model"), weights(two / "model")
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert any(not torch.equal(before[name], left[name]) for name in left)


def test_a_finished_run_is_not_made_again(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    made = small(tiny, "steps=1")
    first = run(made, tmp_path / "run")
    assert run(made, tmp_path / "run", KillAt(1)) == first


def test_a_changed_start_is_noticed(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    copy = tmp_path / "model"
    shutil.copytree(tiny("qwen3"), copy)
    made = override(small(tiny, "steps=1"), [f"model={copy}"])
    run(made, tmp_path / "run")
    shutil.copytree(tiny("qwen3", seed=1), copy, dirs_exist_ok=True)
    with pytest.raises(Killed):  # it begins anew
        run(made, tmp_path / "run", KillAt(1))
    assert (tmp_path / "run" / "stages" / "01-zero.replaced-1" / "model").is_dir()


def test_no_signal_changes_nothing(tiny: TinyFactory, tmp_path: Path) -> None:
    """Every answer of a random model scores 0: no gradient, and the weights stay as they are."""
    made = small(tiny, "steps=2")
    run(made, tmp_path / "run")
    stage = tmp_path / "run" / "stages" / "01-zero"
    assert all(line["zero_variance_groups"] == 1 and line["updates"] == 0 for line in steady(stage / "metrics.jsonl"))
    before, after = weights(Path(made.model)), weights(stage / "model")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_failing_rewards_stop_the_run(tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(task: object, rollout: object) -> Failed:
        return Failed("the grader is on holiday")

    monkeypatch.setitem(table.REWARDS, "accuracy", failing)
    with pytest.raises(RunFailed, match=r"8 of 16 rewards failed.*the grader is on holiday"):
        run(small(tiny), tmp_path / "run")
    noted = json.loads((tmp_path / "run" / "stages" / "01-zero" / "stage.json").read_text())
    assert noted["state"] == "failed" and "on holiday" in noted["reason"]


def stale(model: torch.nn.Module, weights: Weights) -> Weights:
    """One tensor stays what it was."""
    name = "model.layers.0.mlp.up_proj.weight"
    return {**weights, name: dict(model.state_dict())[name].clone()}


def transposed(_: torch.nn.Module, weights: Weights) -> Weights:
    """A square one is laid down the other way."""
    name = next(n for n, w in weights.items() if n.endswith("o_proj.weight") and w.shape[0] == w.shape[1])
    return {**weights, name: weights[name].T.contiguous()}


@pytest.mark.parametrize("fault", [stale, transposed])
def test_a_wrongly_published_weight_stops_the_run(
    tiny: TinyFactory, tmp_path: Path, lucky: None, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Weights]
) -> None:
    publish = NativeEngine.publish

    def faulty(self: NativeEngine, weights: Weights, version: int) -> None:
        publish(self, fault(self.model, weights) if version else weights, version)

    monkeypatch.setattr(NativeEngine, "publish", faulty)
    with pytest.raises(RunFailed, match="step 2: engine and learner disagree"):
        run(small(tiny, architecture="llama"), tmp_path / "run")
    lines = steady(tmp_path / "run" / "stages" / "01-zero" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1], "caught before the next update"


@pytest.mark.parametrize("change", [{"temperature": 0.7}, {"top_p": 0.8}, {"top_k": 20}])
def test_another_distribution_on_one_side_stops_the_run(
    tiny: TinyFactory, tmp_path: Path, lucky: None, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """The engine tempers or truncates, and the learner was not told."""
    stream = NativeEngine.stream

    def other(self: NativeEngine, prompts: Any, sampling: Sampling) -> Any:
        return stream(self, prompts, replace(sampling, **change))

    made = small(tiny)
    run(override(made, [f"rollouts.{name}={value}" for name, value in change.items()] + ["steps=1"]), tmp_path / "told")
    monkeypatch.setattr(NativeEngine, "stream", other)
    with pytest.raises(RunFailed, match="step 1: engine and learner disagree"):
        run(made, tmp_path / "run")


def test_updates_that_are_not_finite_are_refused_kept_and_end_the_run(
    tiny: TinyFactory, tmp_path: Path, lucky: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [False]
    plain = TorchLearner.optim_step

    def sometimes(self: TorchLearner) -> dict[str, float]:
        if broken[0]:
            self._master[0].grad.view(-1)[0] = float("nan")
        return plain(self)

    class BreakAfter(Silent):
        """The gradients of steps 2 and 3, and of all from the fifth on, are broken."""

        def step(self, metrics: StepMetrics) -> None:
            broken[0] = metrics.step in (1, 2) or metrics.step >= 4

    monkeypatch.setattr(TorchLearner, "optim_step", sometimes)
    with pytest.raises(RunFailed, match=r"step 7: the gradient was not finite in 3 steps in a row.*refused/"):
        run(small(tiny, "steps=9"), tmp_path / "run", BreakAfter())
    stage = tmp_path / "run" / "stages" / "01-zero"
    refused = [line["step"] for line in steady(stage / "metrics.jsonl") if line["update_refused"]]
    assert refused == [2, 3, 5, 6, 7]
    kept = json.loads((stage / "refused" / "step-000002.json").read_text())
    assert {"ids", "loss_mask", "advantages", "behaviour_logprobs"} <= set(kept[0])


def test_asked_to_end_it_saves_and_goes_on_later(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    made = small(tiny, "steps=5", "checkpoint_every=100")
    run(made, tmp_path / "whole")

    class Asking(Silent):
        def step(self, metrics: StepMetrics) -> None:
            if metrics.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="step 2 is saved"):
        run(made, tmp_path / "asked", Asking())
    assert signal.getsignal(signal.SIGTERM) == before
    one, two = (tmp_path / name / "stages" / "01-zero" for name in ("whole", "asked"))
    assert json.loads((two / "stage.json").read_text())["state"] == "stopped"
    run(made, tmp_path / "asked")
    assert steady(one / "metrics.jsonl") == steady(two / "metrics.jsonl")
    left, right = weights(one / "model"), weights(two / "model")
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_step_that_takes_too_long_is_left(
    tiny: TinyFactory, tmp_path: Path, lucky: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to end in the midst of a step that does not: the step is not waited for, and nothing is lost."""
    plain = TorchLearner.forward_backward

    def slow(self: TorchLearner, *args: Any, **kwargs: Any) -> dict[str, float]:
        if self.updates == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(TorchLearner, "forward_backward", slow)
    began = time.monotonic()
    with pytest.raises(Stopped, match="did not end in time"):
        run(small(tiny, "sharding.grace_s=0.2"), tmp_path / "run")
    assert time.monotonic() - began < 25
    monkeypatch.setattr(TorchLearner, "forward_backward", plain)
    assert run(small(tiny), tmp_path / "run")["steps"] == 4


def test_a_checkpoint_is_not_broken_off(
    tiny: TinyFactory, tmp_path: Path, lucky: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to end while a step is being saved, and long after its grace: the step is there."""
    plain = checkpoint.save

    def slow(world: Any, folder: Path, step: int, state: Any) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        plain(world, folder, step, state)

    monkeypatch.setattr(checkpoint, "save", slow)
    with pytest.raises(Stopped):
        run(small(tiny, "zero.checkpoint_every=1", "sharding.grace_s=0.1"), tmp_path / "run")
    assert "step-000002" in {path.name for path in (tmp_path / "run/stages/01-zero/checkpoints").iterdir()}


def test_what_cannot_be_used_is_named(tiny: TinyFactory, tmp_path: Path) -> None:
    cases: Sequence[tuple[str, str]] = [
        ("model=/nowhere/at/all", "'/nowhere/at/all'"),
        ("task=countdwon", "did you mean 'countdown'"),
        ("rewards.acuracy=1", "did you mean 'accuracy'"),
        ("rollouts.max_tokens=4000", "context of 256"),
        ("algorithm.options.kl_bet=1", "did you mean 'kl_beta'"),
        ("template=shor", "did you mean 'short'"),
        ("device=quantum", "unknown device 'quantum'"),
    ]
    for number, (setting, sentence) in enumerate(cases):
        with pytest.raises(UserError) as caught:
            run(small(tiny, setting), tmp_path / str(number))
        assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "gemma", "deepseek_v3"])
def test_three_steps_on_gsm8k(tiny: TinyFactory, tmp_path: Path, lucky: None, architecture: str) -> None:
    """The recipe takes any causal LM and GSM8K's own rows under the paper's template; the result loads anywhere."""
    rows = [
        {"question": f"Tom has {n} apples and eats {n % 3}.", "answer": f"So {n}-{n % 3}.\n#### {n - n % 3}"}
        for n in range(60)
    ]
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"max_position_embeddings": 1024}
    made = override(
        recipe("zero"),
        [*SMALL, "steps=3", f"model={tiny(architecture, **changes)}", f"task=gsm8k:{data}", "template=auto"],
    )
    run(made, tmp_path / "run")
    stage = tmp_path / "run" / "stages" / "01-zero"
    before, after = weights(Path(made.model)), weights(stage / "model")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    tokenizer = AutoTokenizer.from_pretrained(stage / "model")
    prompt = tokenizer.decode(stored(stage / "rollouts")[0][0]["prompt_ids"])
    assert prompt.startswith("A conversation between User and Assistant.") and prompt.endswith("Assistant:")
