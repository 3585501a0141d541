"""Whole runs of several processes: the same curve as of one, resumed bit for bit, ended together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.choices import SpeakerChoice
from aha.config import (
    CollectStage,
    CompareStage,
    EvaluateStage,
    EvaluationChoice,
    OptimiserChoice,
    PreferenceChoice,
    Recipe,
    RewardModelStage,
    RLStage,
    Rollouts,
    SFTStage,
    override,
)  # fmt: skip
from aha.errors import UserError
from aha.pipeline import compare_stage
from aha.pipeline.run import run
from aha.pipeline.voices import Voice
from aha.rewards import table
from aha.rewards.judge import Contest
from aha.types import Ask, Rollout, Sampling, Score
from rank_processes import answer, free_port, on_ranks, ranks
from small_runs import KillAt, Killed, small, steady, stored, weights
from tiny_models import TinyFactory

STAGE = Path("stages/01-zero")
MORE = (
    "steps=3", "rollouts.questions=3", "evaluation.every=2", "algorithm.options.kl_beta=0.01", "sharding.grace_s=60",
)  # fmt: skip


def lucky(task: object, rollout: Rollout) -> Score:
    """A reward that a random model earns now and then."""
    return Score(float(sum(rollout.completion.ids) % 2))


def ranked(recipe: Recipe, out: str, what: str = "") -> Any:
    """A run as one of its processes makes it; in the second step something may happen to the last one."""
    last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
    done: list[str] = []

    def accuracy(task: object, rollout: Rollout) -> Score:
        if what and last and not done and rollout.completion.policy_version == 1:
            done.append(what)
            os.kill(os.getpid(), signal.Signals[what])
        return lucky(task, rollout)

    table.REWARDS["accuracy"] = accuracy
    return run(recipe, Path(out))


def alone(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    monkeypatch.setitem(table.REWARDS, "accuracy", lucky)
    return run(recipe, out, **more)


def near(one: Path, two: Path, tolerance: float) -> None:
    """Metrics of two stages, but for clocks, and the weights that they made."""
    left, right = steady(one / "metrics.jsonl"), steady(two / "metrics.jsonl")
    assert len(left) == len(right)
    for mine, theirs in zip(left, right, strict=True):
        assert mine == pytest.approx(theirs, rel=tolerance, abs=tolerance)
    if (one / "model").exists():
        torch.testing.assert_close(weights(one / "model"), weights(two / "model"), rtol=tolerance, atol=tolerance)


def same(one: Path, two: Path) -> None:
    """To the last bit."""
    assert steady(one / "metrics.jsonl") == steady(two / "metrics.jsonl")
    assert stored(one / "rollouts") == stored(two / "rollouts")
    left, right = weights(one / "model"), weights(two / "model")
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def recipe(tiny: TinyFactory) -> Recipe:
    return small(tiny, *MORE)


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run of two processes."""
    out = tmp_path_factory.mktemp("two") / "run"
    one, other = on_ranks(ranked, recipe, str(out))
    assert one["steps"] == other["steps"] == 3
    return out


def test_two_processes_train_as_one(
    recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tokens are drawn and graded; sums are rounded in another order, here of float32."""
    alone(recipe, tmp_path / "one", monkeypatch)
    one, two = tmp_path / "one" / STAGE, unbroken / STAGE
    near(one, two, 2e-3)
    for left, right in zip(stored(one / "rollouts"), stored(two / "rollouts"), strict=True):
        assert [row["ids"] for row in left] == [row["ids"] for row in right]
        assert [row["verdicts"] for row in left] == [row["verdicts"] for row in right]
    assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
    assert json.loads((unbroken / "run.json").read_text())["processes"] == 2
    assert (two / "checkpoints/step-000003/divided/.metadata").is_file()


def test_all_stop_after_the_same_step_and_go_on_bit_for_bit(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    with ranks(ranked, recipe, out, "SIGTERM") as made:
        said = [answer(end) for _, end in made]
    assert [well for well, _ in said] == [False, False]
    assert all(what.startswith("Stopped: step 2 is saved") for _, what in said), said
    assert json.loads((tmp_path / "run" / STAGE / "stage.json").read_text())["state"] == "stopped"
    on_ranks(ranked, recipe, out)
    same(tmp_path / "run" / STAGE, unbroken / STAGE)


def test_one_that_dies_ends_all(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    """With a sentence that names it, within seconds; the same command goes on."""
    out = str(tmp_path / "run")
    began = time.monotonic()
    with ranks(ranked, recipe, out, "SIGKILL") as made:
        (well, said), (_, other) = (answer(end) for _, end in made)
    assert not well and other == "died" and time.monotonic() - began < 60
    assert said.startswith("RunFailed: process 1 has given no sign of life for 5 s; the same command goes on"), said
    noted = json.loads((tmp_path / "run" / STAGE / "stage.json").read_text())
    assert noted["state"] == "failed" and noted["reason"].startswith("RunFailed: process 1 has given no sign of life")
    on_ranks(ranked, recipe, out)
    same(tmp_path / "run" / STAGE, unbroken / STAGE)


@pytest.mark.slow
def test_one_that_hangs_ends_all(tiny: TinyFactory, tmp_path: Path) -> None:
    """Also where the others wait for it inside of a collective operation."""
    hanging = small(tiny, *MORE, "sharding.deadline_s=5")
    with ranks(ranked, hanging, str(tmp_path / "run"), "SIGSTOP") as made:
        assert answer(made[0][1]) == (False, "died")
        made[0][0].join(10)
        assert made[0][0].exitcode == 1
    noted = json.loads((tmp_path / "run" / STAGE / "stage.json").read_text())
    assert noted["state"] == "failed" and noted["reason"] == "process 1 has given no sign of life for 5 s"


def test_a_fault_of_the_first_is_heard_by_all(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("not a run")
    with ranks(ranked, recipe, str(tmp_path)) as made:
        (_, first), (_, second) = (answer(end) for _, end in made)
    assert first.startswith("UserError: ") and "holds other files" in first
    assert second.startswith("RunFailed: process 0 ended: ") and "holds other files" in second


def disagreeing(recipe: Recipe, out: str) -> Any:
    return run(override(recipe, [f"seed={os.environ['RANK']}"]), Path(out))


def test_different_recipes_are_noticed(recipe: Recipe, tmp_path: Path) -> None:
    with ranks(disagreeing, recipe, str(tmp_path / "run")) as made:
        said = [answer(end)[1] for _, end in made]
    assert all(what.startswith("UserError: the processes of this run were given different recipes") for what in said)
    assert not (tmp_path / "run").exists()


def test_two_then_one_then_two(recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes on from the checkpoint of the other, and memory is saved in other ways each time."""
    out = tmp_path / "run"
    with ranks(ranked, recipe, str(out), "SIGTERM") as made:
        assert [well for well, _ in map(answer, [end for _, end in made])] == [False, False]
    cut = out / STAGE / "checkpoints"
    assert sorted(p.name for p in cut.iterdir()) == ["step-000001", "step-000002"]
    (cut / "step-000002").rename(tmp_path / "put aside")
    with pytest.raises(Killed):
        alone(override(recipe, ["sharding.recompute=true"]), out, monkeypatch, observer=KillAt(3))
    assert (cut / "step-000001/divided").is_dir() and (cut / "step-000002/state.pt").is_file()
    on_ranks(ranked, override(recipe, ["sharding.offload=true"]), str(out))
    near(out / STAGE, unbroken / STAGE, 2e-3)


def test_matrices_of_more_processes_than_there_are(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sharding\.tensor=2 does not divide 1 processes; start more with torchrun"):
        run(override(recipe, ["sharding.tensor=2"]), tmp_path / "run")


def stages(tiny: TinyFactory) -> Recipe:
    """One of each kind that a run of several processes may have."""
    few = {"max_tokens": 8, "slots": 8, "temperature": 1.0}
    learns = {"optimiser": OptimiserChoice(lr=1e-3), "checkpoint_every": 2}
    look = {"evaluation": EvaluationChoice(problems=3, samples=2, max_tokens=8)}
    draws = Rollouts(questions=3, group=2, max_tokens=8, slots=8)
    return Recipe(
        name="kinds", model=str(tiny("qwen3", max_position_embeddings=512)), template="short", threads=1, stages={
            "gather": CollectStage(questions=70, samples=2, least={"repetition": -1.0}, decontaminate=4, **few),
            "taught": SFTStage(data=("gather",), epochs=1, batch=32, max_tokens=200, **look, **learns),
            "judged": CompareStage(questions=5, judge=SpeakerChoice(model="taught", max_tokens=4), **few),
            "liked": RewardModelStage(data="rules:requests", examples=9, held_back=5, batch=6, **learns),
            "pleased": RLStage(
                start="taught", steps=2, task="requests", rewards={"format": 1.0}, rollouts=draws, **look, **learns,
                preferences={"helpful": PreferenceChoice(model="liked")},
            ),
            "table": EvaluateStage(models=("base", "pleased"), tasks={"countdown": 3}, samples=2, **few),
        },
    )  # fmt: skip


def longer(judge: Voice, contests: Sequence[Contest], sampling: Sampling, _: int) -> list[float]:
    """The verdict of a judge who is asked, and not listened to: a random model says nothing that can be read."""
    judge([Ask(contest.messages) for contest in contests], sampling)
    return [2.0 if len(contest.first) > len(contest.second) else -2.0 for contest in contests]


def judging(recipe: Recipe, out: str) -> Any:
    compare_stage.compare = longer  # type: ignore[assignment]
    compare_stage._unfit = lambda *_: None
    return run(recipe, Path(out))


def test_every_kind_of_stage_is_as_of_one_process(
    tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = stages(tiny)
    monkeypatch.setattr(compare_stage, "compare", longer)
    monkeypatch.setattr(compare_stage, "_unfit", lambda *_: None)
    one = run(recipe, tmp_path / "one")
    for two in on_ranks(judging, recipe, str(tmp_path / "two")):
        assert two == one
    for stage in sorted((tmp_path / "one/stages").iterdir()):
        other = tmp_path / "two/stages" / stage.name
        near(stage, other, 1e-4)
        assert {p.name for p in stage.iterdir()} == {p.name for p in other.iterdir()}
        if (stage / "data.jsonl").exists():
            assert (stage / "data.jsonl").read_bytes() == (other / "data.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("more", ["algorithm.name=ppo", "algorithm.name=dapo", "lora={rank: 4}", "dtype=bfloat16"])
def test_whatever_is_learned(tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    """A critic, new questions until enough groups are mixed, adapters, rounding: broken off, gone on, as of one."""
    recipe = small(tiny, "steps=3", "rollouts.questions=3", more, "checkpoint_every=1", "sharding.grace_s=60")
    on_ranks(ranked, recipe, str(tmp_path / "whole"))
    with ranks(ranked, recipe, str(tmp_path / "cut"), "SIGTERM") as made:
        assert all(what.startswith("Stopped: step 2 is saved") for _, what in [answer(end) for _, end in made])
    on_ranks(ranked, recipe, str(tmp_path / "cut"))
    same(tmp_path / "cut" / STAGE, tmp_path / "whole" / STAGE)
    alone(recipe, tmp_path / "one", monkeypatch)
    first, other = (steady(tmp_path / name / STAGE / "metrics.jsonl")[0] for name in ("whole", "one"))
    assert first == pytest.approx(other, rel=2e-2, abs=2e-3), "the step before which nothing was rounded"


@pytest.mark.slow
def test_torchrun_from_the_command_line(tiny: TinyFactory, tmp_path: Path) -> None:
    """One display, one report, and one sentence where nothing can be run."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [*start, "-m", "aha", "run", "zero", "--out", str(tmp_path / "run"), "--json"]
    for setting in (*MORE, f"model={tiny('qwen3')}", "steps=1", "rollouts.max_tokens=8", "template=short", "threads=1"):
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 1 and done.stderr.count("step 1/1") == 1
    assert (tmp_path / "run/report.html").is_file()
