"""Workers as actors, from the pool's side. Their actors are threads here; `test_ray_runs.py` has real ones."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_ray import FakeRay

from aha.config import Recipe, override
from aha.distributed.ray import actors, launcher
from aha.distributed.ray.cluster import Where, needs_of
from aha.distributed.ray.launcher import Actor, Actors, why_of
from aha.distributed.ray.weights import read_back
from aha.distributed.rollout.channel import Kind, Message, Setup
from aha.pipeline.recipes import recipe as recipe_of

RECIPE = override(recipe_of("zero"), ["launcher=ray", "device=cpu", "workers.rollout=2", "workers.reward=1"])


def echo(setup: Setup, take: Any, say: Any, read_weights: Any) -> None:
    """A worker that says what it hears, until told to leave or to fail."""
    say(Message("ready", {"kind": setup.kind}))
    while True:
        message = take(0.05)
        if message is None:
            say(Message("beat"))
        elif message.kind == "leave":
            return
        elif message.kind == "fail":
            say(Message("failed", {"why": "told to"}))
            raise ValueError("told to")
        else:
            say(Message("made", message.about, message.body))


def setup_of(kind: Kind = "rollout", stage: str = "zero") -> Setup:
    return Setup(kind, "{}", stage, "", "cpu", "float32", 1, print)


def until(worker: Actor, holds: Callable[[list[Message]], bool]) -> list[Message]:
    """What a worker says until that holds of it."""
    found: list[Message] = []
    end = time.monotonic() + 60
    while not holds(found):
        assert time.monotonic() < end, f"it did not come to that: {found}"
        found += [message for message in worker.received() if message.kind != "beat"]
        time.sleep(0.002)
    return found


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """A process that is the first learner, in a placement group for it and all workers."""
    made = FakeRay(own_name="aha-demo-learner-0.2")
    made.group = made._place(needs_of(RECIPE, 0, local=True).bundles, "PACK", "aha")

    @contextlib.contextmanager
    def connected(*_: Any) -> Iterator[Where]:
        yield Where(False, 0.0, "")

    monkeypatch.setitem(__import__("sys").modules, "ray", made)
    monkeypatch.setattr(launcher, "connected", connected)
    monkeypatch.setattr(launcher, "placed", lambda group, place: {"place": place})
    monkeypatch.setattr(actors, "work", echo)
    return made


def test_orders_and_words(ray: FakeRay) -> None:
    started = Actors(RECIPE, "demo")
    worker = started.start("rollout-0", setup_of())
    for number in range(20):
        worker.send(Message("draw", {"number": number}, bytes([number])))
    found = until(worker, lambda found: len(found) == 21)
    assert found[0] == Message("ready", {"kind": "rollout"})
    assert sorted(m.body for m in found[1:]) == [bytes([number]) for number in range(20)]
    assert not worker.ended()
    started.close()
    assert all(actor.gone for actor in ray.actors.values())


def test_last_words_come_before_the_end(ray: FakeRay, capsys: pytest.CaptureFixture[str]) -> None:
    worker = Actors(RECIPE, "demo").start("rollout-0", setup_of())
    worker.send(Message("fail"))
    found: list[Message] = []
    end = time.monotonic() + 60
    while not worker.ended():
        assert time.monotonic() < end
        time.sleep(0.002)
    found += worker.received()
    assert found[-1] == Message("failed", {"why": "told to"}) and worker.ended() == "its work has ended"
    assert "ValueError: told to" in capsys.readouterr().err, "Ray's log of the actor has it"
    worker.send(Message("draw"))
    assert worker.received() == []


def test_one_that_was_killed_says_why(ray: FakeRay) -> None:
    worker = Actors(RECIPE, "demo").start("rollout-0", setup_of())
    until(worker, lambda found: len(found) == 1)
    ray.dies(ray.actors["aha-demo-rollout-0.2"])
    until(worker, lambda _: worker.ended() == "its worker process has died")
    assert worker.waited == [], "nothing is waited for any more"


def test_places_of_the_group_are_taken_in_turn_and_given_back(ray: FakeRay) -> None:
    """One for each worker of the recipe; workers that join later are put anywhere."""
    started = Actors(RECIPE, "demo")
    workers = [started.start(f"rollout-{number}", setup_of()) for number in range(3)]
    reward = started.start("reward-0", setup_of("reward"))
    assert [worker.place for worker in (*workers, reward)] == [1, 2, -1, 3]
    options = [handle.options for handle in ray.actors.values()]
    assert [one.get("place") for one in options] == [1, 2, None, 3]
    assert all(one["max_restarts"] == 0 and one["num_cpus"] == 1 and one["num_gpus"] == 0 for one in options)
    kinds = [type(handle.actor).__name__ for handle in ray.actors.values()]
    assert kinds == [*3 * ["AhaRolloutWorker"], "AhaRewardWorker"]
    workers[1].end()
    assert started.start("rollout-3", setup_of()).place == 2
    assert list(ray.actors) == [
        f"aha-demo-{name}.2" for name in ("rollout-0", "rollout-1", "rollout-2", "reward-0", "rollout-3")
    ]


def test_without_a_group_for_all(ray: FakeRay) -> None:
    """The cluster had room for some at first, or the process is no learner."""
    assert ray.group is not None
    ray.group.bundle_specs = ray.group.bundle_specs[:2]
    started = Actors(RECIPE, "demo")
    assert [started.start(f"rollout-{number}", setup_of()).place for number in (0, 1)] == [1, -1]
    assert started.start("reward-0", setup_of("reward")).place == -1
    ray.group = None
    ray.get_runtime_context = lambda: SimpleNamespace(get_actor_name=lambda: None)
    Actors(RECIPE, "my run").start("rollout-0", setup_of())
    assert "aha-my-run-rollout-0" in ray.actors


def test_stages_have_workers_of_their_own_names(ray: FakeRay) -> None:
    data = RECIPE.model_dump()
    data["stages"]["more"] = {**data["stages"]["zero"], "start": "zero"}
    started = Actors(Recipe.model_validate(data), "demo")
    started.start("rollout-0", setup_of())
    started.start("rollout-0", setup_of(stage="more"))
    assert list(ray.actors) == ["aha-demo-zero-rollout-0.2", "aha-demo-more-rollout-0.2"]


def test_gpus_are_taken_as_the_group_has_them(ray: FakeRay) -> None:
    shared = override(RECIPE, ["device=auto"])
    ray.group = ray._place(needs_of(shared, 1, local=True).bundles, "PACK", "aha")
    started = Actors(shared, "demo")
    started.start("rollout-0", setup_of())
    started.start("reward-0", setup_of("reward"))
    assert [handle.options["num_gpus"] for handle in ray.actors.values()] == [0.3333, 0]


def test_waiting_ends_with_a_word(ray: FakeRay) -> None:
    started = Actors(RECIPE, "demo")
    began = time.monotonic()
    started.wait(0.05)
    assert time.monotonic() - began >= 0.05
    worker = started.start("rollout-0", setup_of())
    until(worker, lambda found: len(found) == 1)
    threading.Timer(0.05, worker.send, [Message("draw")]).start()
    started.wait(60)
    assert time.monotonic() - began < 50


def test_weights_are_kept_for_two_versions(ray: FakeRay) -> None:
    started = Actors(RECIPE, "demo")
    for version in range(4):
        handle = started.hand_out({"a": torch.full((2,), float(version))}, version)
        assert read_back(handle)["a"].tolist() == [version, version]
    assert len(started._published) == 2


def test_those_who_were_told_to_leave_have_a_moment(ray: FakeRay) -> None:
    started = Actors(RECIPE, "demo")
    worker = started.start("rollout-0", setup_of())
    worker.send(Message("leave"))
    started.close()
    assert worker.work.done() and worker.work.exception() is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("The actor is dead because its worker process has died. Worker exit type: X", "its worker process has died"),
        ("The actor is dead because its node has died. Node Id: 7", "its node has died"),
        ("The actor 7 is unavailable: The actor is temporarily unavailable: RpcError: X", "it cannot be reached"),
        ("\n  no module named 'aha'\n", "no module named 'aha'"),
        ("", "RuntimeError"),
    ],
)
def test_why_an_actor_has_ended(said: str, why: str) -> None:
    assert why_of(RuntimeError(said)) == why
