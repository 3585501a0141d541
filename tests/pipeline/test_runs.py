"""Whole runs at tiny size: what a run leaves behind, resuming it bit for bit, and how it ends when it cannot go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aha.algorithms.table import ALGORITHMS
from aha.config import Recipe, override
from aha.errors import RunFailed, UserError
from aha.pipeline.observer import Silent
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run
from aha.rewards import table
from aha.types import Failed, Score, StepMetrics
from tiny_models import TinyFactory

SMALL = [
    "steps=4", "rollouts.questions=2", "rollouts.group=4", "rollouts.max_tokens=12", "checkpoint_every=1",
    "evaluation.problems=3", "evaluation.samples=2", "optimiser.lr=1e-2", "threads=1", "template=short",
]  # fmt: skip
TIMES = ("time", "memory", "tokens_per_s")


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it and tidy up."""


class KillAt(Silent):
    """Dies while `step` is being told."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, metrics: StepMetrics) -> None:
        if metrics.step == self.at:
            raise Killed


def small(tiny: TinyFactory, *more: str, architecture: str = "qwen3") -> Recipe:
    return override(recipe("zero"), [f"model={tiny(architecture)}", *SMALL, *more])


@pytest.fixture
def lucky(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a random model earns now and then, so that there is something to learn."""
    monkeypatch.setitem(table.REWARDS, "accuracy", lambda task, r: Score(float(sum(r.completion.ids) % 2)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict())


def steady(path: Path) -> list[dict[str, Any]]:
    """Metrics without what depends on the clock."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not any(t in k for t in TIMES)} for line in lines]


def stored(path: Path) -> list[Any]:
    return [pq.read_table(file).to_pylist() for file in sorted(path.glob("*.parquet"))]


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


def test_a_wrongly_published_weight_stops_the_run(
    tiny: TinyFactory, tmp_path: Path, lucky: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aha.engines.native.engine import NativeEngine

    publish = NativeEngine.publish

    def stale(self: NativeEngine, weights: dict[str, torch.Tensor], version: int) -> None:
        name = "model.layers.0.mlp.up_proj.weight"
        kept = {name: dict(self.model.state_dict())[name].clone()} if version else {}
        publish(self, {**weights, **kept}, version)

    monkeypatch.setattr(NativeEngine, "publish", stale)
    with pytest.raises(RunFailed, match="step 2: engine and learner disagree"):
        run(small(tiny), tmp_path / "run")


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
