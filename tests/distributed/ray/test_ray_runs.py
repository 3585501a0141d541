"""Whole runs on a Ray of this machine: what dies is replaced, what is stopped goes on, and nothing is lost.

.venv/bin/pytest -m slow tests/distributed/ray
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from aha.config import Recipe, override
from aha.distributed.ray.supervise import on_ray
from aha.distributed.rollout.books import BOOKS, balance, read
from aha.errors import RunFailed, UserError
from aha.pipeline.observer import Silent
from aha.pipeline.run import run
from aha.types import StepMetrics
from small_runs import SMALL, small, steady, stored, weights
from tiny_models import TinyFactory

pytest.importorskip("ray.util.placement_group", reason="Ray is not installed; pip install 'aha[ray]'")
pytestmark = pytest.mark.slow

STAGE = Path("stages/01-zero")
LUCKY = """
from aha.types import Score

def lucky(task, rollout):
    return Score(float(sum(rollout.completion.ids) % 2))
"""
PATIENCE_S = 600.0


@pytest.fixture(scope="module")
def settings(tiny: TinyFactory, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small run whose random model earns something now and then."""
    file = tmp_path_factory.mktemp("rewards") / "lucky.py"
    file.write_text(LUCKY)
    reward = f"rewards={{'{file}:lucky': 1.0}}"
    patience = ["workers.start_s=900", "workers.heartbeat_s=120", "sharding.deadline_s=300"]
    return [f"model={tiny('qwen3')}", "rollouts.questions=4", "evaluation.every=2", reward, "device=cpu", *patience]


@pytest.fixture(scope="module")
def recipe(tiny: TinyFactory, settings: list[str]) -> Recipe:
    return small(tiny, *settings, "launcher=ray")


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run in this process."""
    out = tmp_path_factory.mktemp("here") / "run"
    run(override(recipe, ["launcher=here"]), out)
    return out


class Meddling(Silent):
    """Does something when a step is told; remembers what is noted."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None) -> None:
        self.at, self.steps, self.notes = at or {}, list[int](), list[str]()

    def step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics.step)
        self.at.pop(metrics.step, lambda: None)()

    def note(self, text: str) -> None:
        self.notes.append(text)


def actors(title: str) -> list[psutil.Process]:
    """This process's actors whose class is `title`, as the system shows them: a method's name may follow."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).strip().partition(".")[0] == f"ray::{title}":
                found.append(process)
    return found


def kill(title: str) -> Callable[[], None]:
    def now() -> None:
        (one, *_) = actors(title)
        one.kill()

    return now


def same(one: Path, two: Path) -> None:
    """To the last bit, but for what only workers measure."""
    left, right = steady(one / STAGE / "metrics.jsonl"), steady(two / STAGE / "metrics.jsonl")
    shared = set(left[0]) & set(right[0])
    assert {"loss", "reward/mean"} & shared
    assert [{k: line[k] for k in shared} for line in left] == [{k: line[k] for k in shared} for line in right]
    assert stored(one / STAGE / "rollouts") == stored(two / STAGE / "rollouts")
    mine, theirs = weights(one / STAGE / "model"), weights(two / STAGE / "model")
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def balanced(out: Path, steps: int, questions: int) -> Any:
    """The books of a run that has made all its steps."""
    found = balance(read(out / STAGE / BOOKS))
    assert {step: len(taken) for step, taken in found.by_step.items()} == dict.fromkeys(range(1, steps + 1), questions)
    return found


def test_one_worker_and_one_learner_are_as_one_process(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    titles: list[int] = []
    look = Meddling({2: lambda: titles.extend([len(actors("AhaLearner")), len(actors("AhaRolloutWorker"))])})
    result = on_ray(run, recipe, tmp_path / "run", look)
    assert result["steps"] == 4 and look.steps == [1, 2, 3, 4]
    same(tmp_path / "run", unbroken)
    assert titles == [1, 1], "they are shown by names that mean something"
    assert balanced(tmp_path / "run", 4, 4).again == 0
    assert look.notes[0].startswith("Ray ") and "worker rollout-0 has joined" in look.notes
    assert not psutil.Process().children(recursive=True), "all of Ray has ended with the run"


def test_whatever_dies_is_replaced(recipe: Recipe, tmp_path: Path) -> None:
    """Two workers sample ahead; one is killed, then a reward worker, then the learner."""
    ahead = override(recipe, ["workers.rollout=2", "workers.reward=1", "rollouts.ahead=1", "steps=16"])
    killing = Meddling({1: kill("AhaRolloutWorker"), 3: kill("AhaRewardWorker"), 5: kill("AhaLearner")})
    assert on_ray(run, ahead, tmp_path / "run", killing)["steps"] == 16
    found = balanced(tmp_path / "run", 16, 4)
    assert found.began >= 2 and len(found.workers) > 3
    assert any("all start again from the last checkpoint" in note for note in killing.notes)
    lines = [json.loads(line) for line in (tmp_path / "run" / STAGE / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 17))


def test_learners_that_die_again_and_again_end_the_run(recipe: Recipe, tmp_path: Path) -> None:
    mortal = override(recipe, ["workers.restarts=1", "checkpoint_every=4"])
    killing = Meddling()
    killing.step = lambda metrics: kill("AhaLearner")()  # type: ignore[method-assign]
    with pytest.raises(RunFailed, match=r"learner-0 died \(.*\), for the 2th time; the same command goes on"):
        on_ray(run, mortal, tmp_path / "run", killing)


def test_two_learners_share_what_one_pool_makes(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    on_ray(run, override(recipe, ["workers.learners=2"]), tmp_path / "run", Silent())
    left, right = (steady(out / STAGE / "metrics.jsonl")[0] for out in (tmp_path / "run", unbroken))
    shared = sorted(set(left) & set(right))
    assert [left[k] for k in shared] == pytest.approx([right[k] for k in shared], rel=2e-2, abs=2e-3)
    balanced(tmp_path / "run", 4, 4)


def test_what_cannot_be_used_is_said_by_the_command(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("not a run")
    with pytest.raises(UserError, match="holds other files"):
        on_ray(run, recipe, tmp_path, Silent())


@contextlib.contextmanager
def command(settings: list[str], out: Path) -> Iterator[subprocess.Popen[str]]:
    """`aha run` on Ray, in a process of its own."""
    line = [sys.executable, "-m", "aha", "run", "zero", "--out", str(out), "--json", "--set", "launcher=ray"]
    for setting in (*SMALL, *settings):
        line += ["--set", setting]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def steps_of(out: Path) -> int:
    file = out / STAGE / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_asked_to_stop_saves_its_step_and_goes_on(
    settings: list[str], unbroken: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "run"
    with command(settings, out) as first:
        until(lambda: steps_of(out) >= 1)
        first.send_signal(number)
        said, complained = first.communicate(timeout=PATIENCE_S)
    assert (first.returncode, said) == (status, ""), complained
    assert "asked to stop: the step that runs may end" in complained and "stopped: step" in complained
    saved = sorted(path.name for path in (out / STAGE / "checkpoints").iterdir())
    assert saved[-1] == f"step-{steps_of(out):06d}"
    with command(settings, out) as second:
        said, complained = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, complained
    assert json.loads(said)["steps"] == 4
    same(out, unbroken)


def test_nothing_is_left_of_a_command_that_was_killed(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with command([*settings, "steps=1000"], out) as process:
        until(lambda: steps_of(out) >= 1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > 4
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family))
