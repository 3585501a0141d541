"""The pool with its thread: publishing and what workers hold, calls as an engine, figures, and how it ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from kits import engine_of, kit_of
from puppets import Puppet, Puppets, eventually, setups, threads

from aha.choices import WorkersChoice
from aha.distributed.rollout import pool as pools
from aha.distributed.rollout.books import Books, Line, balance
from aha.distributed.rollout.channel import Kind
from aha.distributed.rollout.digest import digest
from aha.distributed.rollout.engine import PoolEngine
from aha.distributed.rollout.pool import Pool
from aha.distributed.rollout.questions import Question
from aha.errors import RunFailed, UserError
from aha.types import Prompt, Sampling
from tiny_models import TinyFactory

WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3)}
OTHERS = {"w": torch.zeros(2, 3)}


@contextlib.contextmanager
def pooled(launcher: Puppets, build: Any = print, **choices: Any) -> Iterator[tuple[Pool, list[Line], dict[Kind, int]]]:
    lines: list[Line] = []
    choice = WorkersChoice(**{"rollout": 2, **choices})
    counts: dict[Kind, int] = {"rollout": choice.rollout, "reward": choice.reward}
    books = Books(lines.append)
    with Pool(launcher, setups(build), choice, lambda: counts, books, lines.append, slots=8) as pool:
        yield pool, lines, counts
    assert launcher.closed
    balance(lines)


def ready(launcher: Puppets, *names: str) -> list[Puppet]:
    found = [launcher.started(name) for name in names]
    for worker in found:
        worker.say("ready")
    return found


def kinds(worker: Puppet) -> list[str]:
    return [order.kind for order in worker.orders]


def question(name: str) -> Question:
    return Question(name, Prompt((1, 2), 2, 7))


def test_who_comes_is_told_the_newest_weights_before_any_question() -> None:
    launcher = Puppets()
    with pooled(launcher) as (pool, lines, _):
        (first,) = ready(launcher, "rollout-0")
        eventually(lambda: lines[1:])
        pool.publish(WEIGHTS, 0)
        pool.publish(OTHERS, 1)
        pool.ask([question("call-0:0")], Sampling(4))
        eventually(lambda: "draw" in kinds(first))
        assert [o.about.get("version") for o in first.orders] == [0, 1, 1]
        (second,) = ready(launcher, "rollout-1")
        eventually(lambda: kinds(second) == ["publish"])
        assert second.orders[0].about["version"] == 1 and torch.equal(second.orders[0].handle["w"], OTHERS["w"])
        assert [line["worker"] for line in lines if line["event"] == "joined"] == ["rollout-0", "rollout-1"]
        assert pool.notes() == ["worker rollout-0 has joined", "worker rollout-1 has joined"] and not pool.notes()


def test_a_worker_that_holds_other_weights_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Puppets()
    with pooled(launcher) as (pool, lines, _):
        right, wrong = ready(launcher, "rollout-0", "rollout-1")
        pool.settle()

        def slow(weights: Any) -> str:
            """Workers say what they hold before the pool knows what is right."""
            wrong.say("holds", version=0, digest=digest(OTHERS), seconds=0.25)
            right.say("holds", version=0, digest=digest(WEIGHTS), seconds=0.25)
            eventually(lambda: "workers/load_s" in pool.figures())
            return digest(weights)

        monkeypatch.setattr(pools, "digest", slow)
        pool.publish(WEIGHTS, 0)
        launcher.started("rollout-2")
        assert wrong.killed and not right.killed
        assert [line["why"] for line in lines if line["event"] == "died"] == ["it holds other weights than version 0"]
        assert pool.figures()["workers/load_s"] == 0.25


def test_where_no_worker_holds_what_was_published_the_run_ends() -> None:
    launcher = Puppets()
    with pooled(launcher, rollout=1) as (pool, _, __):
        ready(launcher, "rollout-0")
        pool.settle()
        pool.publish(WEIGHTS, 4)
        with pytest.raises(RunFailed, match="no worker holds the weights of version 4 as they were published"):
            for number in range(9):
                launcher.started(f"rollout-{number}").say("ready")
                launcher.started(f"rollout-{number}").say("holds", version=4, digest="?", seconds=0.1)
                pool.until(lambda n=number: f"rollout-{n + 1}" in launcher.workers or None)  # type: ignore[misc]


def test_the_share_of_idle_time_is_of_the_time_between_two_calls() -> None:
    launcher = Puppets()
    with pooled(launcher, rollout=1) as (pool, _, __):
        (worker,) = ready(launcher, "rollout-0")
        pool.settle()
        worker.say("beat", clock={"busy_s": 3.0, "idle_s": 1.0})
        eventually(lambda: pool.figures().get("rollout/worker_idle_share") is not None)
        worker.say("beat", clock={"busy_s": 4.0, "idle_s": 4.0})
        shares: list[float] = []
        eventually(lambda: shares.append(pool.figures().get("rollout/worker_idle_share", -1)) or shares[-1] >= 0)
        assert shares[-1] == 0.75
        worker.why = "killed"
        launcher.started("rollout-1").say("ready")
        eventually(lambda: pool.figures()["workers/rollout"] == 1)
        assert "rollout/worker_idle_share" not in pool.figures(), "what a dead worker did stays counted"


def test_what_breaks_the_pool_is_raised_where_the_trainer_waits() -> None:
    launcher = Puppets()
    with pooled(launcher, rollout=1) as (pool, _, __):
        ready(launcher, "rollout-0")[0].say("failed", why="model 'x' cannot be loaded", final=True)
        with pytest.raises(UserError, match="worker rollout-0: model 'x' cannot be loaded"):
            pool.until(lambda: None)
        with pytest.raises(UserError):
            pool.publish(WEIGHTS, 0)


def test_more_workers_come_and_leave_while_it_runs() -> None:
    launcher = Puppets()
    with pooled(launcher, rollout=1) as (pool, lines, counts):
        (first,) = ready(launcher, "rollout-0")
        pool.publish(WEIGHTS, 0)
        pool.settle()
        pool.ask([question(f"call-0:{place}") for place in range(9)], Sampling(4))
        eventually(lambda: len(first.drawn()) == 5)
        counts["rollout"] = 2
        second = launcher.started("rollout-1")
        second.say("ready")
        eventually(lambda: len(second.drawn()) == 4)
        counts["rollout"] = 1
        eventually(lambda: second.killed)
        assert kinds(second)[-1] == "leave"
        for name in list(first.drawn()):
            first.makes(name, 2)
        eventually(lambda: len(first.drawn()) == 9)
        for name in list(first.drawn()):
            if name not in pool.made():
                first.makes(name, 2)
        eventually(lambda: len(pool.made()) == 9)
        pool.take(pool.made(), 0)
        assert [line["event"] for line in lines if line["event"] in ("left", "died")] == ["left"]


class TestEngine:
    """All workers as one engine; here they are threads with real models."""

    @pytest.fixture
    def folder(self, tiny: TinyFactory) -> Path:
        return tiny("qwen3")

    def test_two_workers_draw_what_one_engine_does(self, folder: Path) -> None:
        own = engine_of(folder)
        prompts = [Prompt((5 + i, 6, 7), 2, i) for i in range(5)]
        sampling = Sampling(6)
        with pooled(threads(), lambda _: kit_of(folder)) as (pool, lines, _):
            engine = PoolEngine(pool)
            weights = {name: tensor * 0.5 for name, tensor in own.model.state_dict().items()}
            own.publish(weights, 3)
            engine.publish(weights, 3)
            pool.settle()
            found = engine.generate(prompts, sampling)
            expected = own.generate(prompts, sampling)
            assert [[c.ids for c in group] for group in found] == [[c.ids for c in group] for group in expected]
            assert {c.policy_version for group in found for c in group} == {3}
            assert engine.generate(prompts, sampling) == found, "the same call of as many workers draws the same"
            assert engine.generate(prompts[:1], sampling)[0] == own.generate(prompts[:1], sampling)[0]
        assert balance(lines).calls == 11
        assert {line["worker"] for line in lines if line["event"] == "given"} == {"rollout-0", "rollout-1"}

    def test_a_call_outlives_a_worker(self, folder: Path) -> None:
        launcher = threads()
        with pooled(launcher, lambda _: kit_of(folder)) as (pool, lines, _):
            engine = PoolEngine(pool)
            engine.publish(engine_of(folder).model.state_dict(), 0)
            pool.settle()
            victim = launcher.workers["rollout-1"]
            killed = threading.Event()

            def send(message: Any, before: Any = victim.send) -> None:
                if message.kind == "draw" and not killed.is_set():
                    killed.set()
                    victim.killed = True  # it hears nothing and says nothing more
                before(message)

            victim.send = send
            prompts = [Prompt((5 + i, 6, 7), 2, i) for i in range(4)]
            found = engine.generate(prompts, Sampling(6))
            own = engine_of(folder).generate(prompts, Sampling(6))
            assert [[c.ids for c in group] for group in found] == [[c.ids for c in group] for group in own]
        assert killed.is_set() and balance(lines).again == 2
