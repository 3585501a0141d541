"""Whole runs with workers: bit for bit as without, ahead of learning, and through deaths of either side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from puppets import Puppets, eventually, threads

from aha import cli
from aha.config import Recipe
from aha.distributed.rollout.books import BOOKS, Balance, balance, read
from aha.distributed.rollout.channel import Message
from aha.distributed.rollout.elastic import present
from aha.distributed.rollout.local import Processes
from aha.errors import UserError
from aha.pipeline import workers
from aha.pipeline.observer import Silent
from aha.pipeline.run import run
from aha.rewards import table
from aha.types import Rollout, Score, StepMetrics
from rank_processes import on_ranks
from small_runs import KillAt, Killed, small, steady, stored, weights
from tiny_models import TinyFactory

STAGE = Path("stages/01-zero")
MORE = ("steps=5", "evaluation.every=2", "algorithm.options.kl_beta=0.01", "rollouts.questions=3", "reward_threads=2")
OF_WORKERS = {
    "rollout/worker_idle_share", "workers/rollout", "workers/load_s", "rollout/staleness_max", "rollout/given_again",
    "rollout/staleness_mean",
}  # fmt: skip
LUCKY = """
from aha.types import Score
def lucky(task, rollout):
    return Score(float(sum(rollout.completion.ids) % 2))
"""


@pytest.fixture
def recipe(tiny: TinyFactory, tmp_path: Path) -> Callable[..., Recipe]:
    """A small run with a reward that a random model earns now and then, in every process."""
    file = tmp_path / "lucky.py"
    file.write_text(LUCKY)
    rewards = "rewards={" + f'"{file}:lucky": 1.0' + "}"
    return lambda *more: small(tiny, *MORE, rewards, *more)


def books(out: Path) -> Balance:
    return balance(read(out / STAGE / BOOKS))


def events(out: Path, name: str) -> list[dict[str, Any]]:
    return [line for line in read(out / STAGE / BOOKS) if line["event"] == name]


def whole(out: Path, steps: int, questions: int) -> None:
    """The run has made all of its steps, each of as many questions, and the books agree with what was stored."""
    found = books(out)
    assert {step: len(names) for step, names in found.by_step.items()} == dict.fromkeys(range(1, steps + 1), questions)
    assert len((out / STAGE / "metrics.jsonl").read_text().splitlines()) == steps
    for step, names in found.by_step.items():
        rows = pq.read_table(out / STAGE / "rollouts" / f"step-{step:06d}.parquet").to_pylist()
        assert {row["problem"] for row in rows} == {f"countdown-train-{name}" for name in names}
        assert len(rows) == 4 * questions


def staleness(out: Path) -> int:
    """The greatest age of a token in what was stored."""
    rows = [row for file in stored(out / STAGE / "rollouts") for row in file]
    oldest = [min([run["version"] for run in row["earlier"]], default=row["policy_version"]) for row in rows]
    return max(row["step"] - 1 - version for row, version in zip(rows, oldest, strict=True))


def test_with_one_worker_within_a_step_all_is_the_same_bit_for_bit(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    first = run(recipe(), here)
    second = run(recipe("launcher=processes"), there)
    assert {k: v for k, v in first.items() if k != "train_s"} == {k: v for k, v in second.items() if k != "train_s"}
    own, theirs = weights(here / STAGE / "model"), weights(there / STAGE / "model")
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    assert stored(here / STAGE / "rollouts") == stored(there / STAGE / "rollouts")
    lines = steady(here / STAGE / "metrics.jsonl"), steady(there / STAGE / "metrics.jsonl")
    for mine, its in zip(*lines, strict=True):
        assert {k: v for k, v in its.items() if k not in OF_WORKERS} == mine and its.keys() >= OF_WORKERS
    whole(there, 5, 3)


def test_ahead_with_two_workers_of_which_one_is_killed(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Processes] = []

    class Deadly(Silent):
        """Kills the worker that is given the first question after step 2, before it can have made anything of it."""

        def step(self, metrics: StepMetrics) -> None:
            if metrics.step == 2:
                for worker in made[0]._workers:
                    worker.send = lambda message, of=worker: send(of, message)  # type: ignore[method-assign]

    killed: list[str] = []

    def send(worker: Any, message: Message) -> None:
        if message.kind == "draw" and not killed:
            killed.append(worker.name)
            worker._process.kill()
        type(worker).send(worker, message)

    def launcher(_: Any) -> Processes:
        made.append(Processes(method="forkserver"))
        return made[0]

    monkeypatch.setattr(workers, "launcher_of", launcher)
    settings = ("launcher=processes", "workers.rollout=2", "rollouts.ahead=2", "steps=8")
    run(recipe(*settings), tmp_path / "out", Deadly())
    whole(tmp_path / "out", 8, 3)
    (died,) = events(tmp_path / "out", "died")
    assert died["worker"] == killed[0] and died["why"] == "its process was ended by signal 9"
    assert books(tmp_path / "out").again >= 1, "what it had was given to the other one"
    metrics = [json.loads(line) for line in (tmp_path / "out" / STAGE / "metrics.jsonl").read_text().splitlines()]
    assert max(line["rollout/staleness_max"] for line in metrics) == staleness(tmp_path / "out") <= 2
    assert sum(line["rollout/given_again"] for line in metrics) >= 1
    assert metrics[0]["rollout/outstanding"] == 6 and metrics[-1]["rollout/outstanding"] == 0
    assert all(line["time/waited_s"] >= 0 and line["rollout/accepted_tokens_per_s"] > 0 for line in metrics)


class TestThreads:
    """The same with workers that are threads: processes are not the point."""

    @pytest.fixture(autouse=True)
    def launcher(self, monkeypatch: pytest.MonkeyPatch) -> list[Puppets]:
        made: list[Puppets] = []
        monkeypatch.setattr(workers, "launcher_of", lambda _: made.append(threads()) or made[-1])
        return made

    def test_a_broken_run_goes_on_with_what_was_outstanding(
        self, recipe: Callable[..., Recipe], tmp_path: Path
    ) -> None:
        made = recipe("launcher=processes", "rollouts.ahead=1", "checkpoint_every=2")
        with pytest.raises(Killed):
            run(made, tmp_path / "out", KillAt(3))
        run(made, tmp_path / "out")
        whole(tmp_path / "out", 5, 3)
        first, second = events(tmp_path / "out", "began")
        assert first["step"] == 0 and second["step"] == 2 and second["following"] == 9
        assert len(second["outstanding"]) == 3 and staleness(tmp_path / "out") <= 1

    def test_workers_come_and_go_during_a_run(
        self, recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        out = tmp_path / "out"

        def called(*arguments: str) -> str:
            """What `aha workers RUN` prints, and its exit status."""
            monkeypatch.setattr(sys, "argv", ["aha", "workers", str(out), *arguments])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            shown = capsys.readouterr()
            return f"{stop.value.code}: {shown.out}{shown.err}"

        class Asking(Silent):
            def step(self, metrics: StepMetrics) -> None:
                if metrics.step == 1:
                    assert '"asked for": {"rollout": 2}' in called("--rollout", "2", "--json")
                    eventually(lambda: present(out) == ["rollout-0", "rollout-1"])
                if metrics.step == 3:
                    shown = called("--rollout", "1")
                    assert "rollout-0, rollout-1" in shown and "rollout from now on  1" in shown
                    eventually(lambda: len(present(out) or ()) == 1)

        run(recipe("launcher=processes", "rollouts.ahead=1"), out, Asking())
        whole(out, 5, 3)
        counts = [line["workers/rollout"] for line in steady(out / STAGE / "metrics.jsonl")]
        assert counts == [1, 2, 2, 1, 1]
        assert called("--rollout", "3").startswith("2: aha: ") and not (out / "workers.json").exists()

    def test_reward_workers_grade(self, recipe: Callable[..., Recipe], tmp_path: Path, launcher: list[Puppets]) -> None:
        run(recipe(), tmp_path / "here")
        run(recipe("launcher=processes", "workers.reward=1"), tmp_path / "there")
        assert stored(tmp_path / "here" / STAGE / "rollouts") == stored(tmp_path / "there" / STAGE / "rollouts")
        grades = [order for order in launcher[0].workers["reward-0"].orders if order.kind == "grade"]
        assert len(grades) == 5 * 3

    def test_several_attempts_at_mixed_groups(self, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
        made = recipe("launcher=processes", "rollouts.ahead=1", "algorithm.name=dapo", "algorithm.options.attempts=3")
        run(made, tmp_path / "out")
        found = books(tmp_path / "out")
        assert set(found.by_step) == set(range(1, 6)) and staleness(tmp_path / "out") <= 1
        assert all(3 <= len(names) <= 3 * 3 + 2 for names in found.by_step.values())


def lucky(task: object, rollout: Rollout) -> Score:
    return Score(float(sum(rollout.completion.ids) % 2))


def ranked(recipe: Recipe, out: str) -> Any:
    """A run as one of two processes that learn makes it; the first one has the worker."""
    table.REWARDS["accuracy"] = lucky
    workers.launcher_of = lambda _: threads()  # type: ignore[assignment]
    result = run(recipe, Path(out))
    return {name: value for name, value in result.items() if name != "train_s"}, os.environ["RANK"]


def test_two_processes_learn_from_the_workers_of_the_first(tiny: TinyFactory, tmp_path: Path) -> None:
    made = small(tiny, *MORE, "launcher=processes", "rollouts.ahead=1")
    (first, _), (second, rank) = on_ranks(ranked, made, str(tmp_path / "out"))
    assert first == second and rank == "1"
    whole(tmp_path / "out", 5, 3)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (["rollouts.ahead=2"], r"zero.rollouts.ahead=2 samples beside learning, which needs workers; add launcher="),
        (["launcher=processes", "engine.kind=vllm"], "launcher=processes is for aha's own engine"),
        (["launcher=processes", "workers.address=auto"], "workers.address=auto is of a Ray cluster; add launcher=ray"),
        (["workers.learners=2"], "workers.learners=2 is for launcher=ray; start as many processes with torchrun"),
    ],
)
def test_what_a_launcher_cannot_do(tiny: TinyFactory, tmp_path: Path, setting: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        run(small(tiny, *setting), tmp_path / "out")


def test_launcher_and_workers_may_change_in_the_middle_of_a_run(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "launcher_of", lambda _: threads())
    with pytest.raises(Killed):
        run(recipe(), tmp_path / "out", KillAt(3))
    run(recipe("launcher=processes"), tmp_path / "out")
    run(recipe(), tmp_path / "here")
    assert stored(tmp_path / "out" / STAGE / "rollouts") == stored(tmp_path / "here" / STAGE / "rollouts")
