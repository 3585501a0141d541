"""Workers as actors of Ray.

    launcher = Actors(recipe, "demo")         # in an actor of a run, or in any process that may start a Ray
    worker = launcher.start("rollout-0", setup)

An actor takes one of the places that the run's placement group has for its kind; one more than there are is put
wherever Ray finds room. What an actor says is asked for by a call that waits there for the first word; orders go
without an answer. Weights are one object of Ray's store, which each machine fetches once. Workers end with the process
that has started them: Ray sees to that.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import deque
from dataclasses import replace
from typing import Any

from aha.config import Recipe
from aha.distributed.ray.actors import GROUPS, ORDERS, WORDS, AhaRewardWorker, AhaRolloutWorker
from aha.distributed.ray.cluster import Needs, connected, name_of, needs_of, placed
from aha.distributed.ray.mail import split
from aha.distributed.ray.weights import laid_out
from aha.distributed.rollout.channel import Kind, Message, Setup
from aha.protocols import Weights

CLASSES: dict[Kind, type] = {"rollout": AhaRolloutWorker, "reward": AhaRewardWorker}
LISTENING_S = 20.0  # of one call for words; a worker says every second that it lives
READING_S = 30.0  # for an answer that is there to be read
LEAVING_S = 3.0  # for workers that were told to leave
KEPT = 2  # versions that can be read
WHY = 300  # characters of why an actor has ended


class Actors:
    """A launcher of actors. `run` names them where this process is no actor itself."""

    def __init__(self, recipe: Recipe, run: str) -> None:
        self._held = contextlib.ExitStack()
        where = self._held.enter_context(connected(recipe, name_of(run)))
        import ray

        self._ray = ray
        self._names, self._stages = _names(ray, run), len(recipe.stages)
        self._group = ray.util.get_current_placement_group()
        self._needs, bundles = _needs(recipe, self._group, where.gpus, where.local)
        self._free = {
            kind: deque(place for place in self._needs.places(kind) if place < len(bundles)) for kind in CLASSES
        }
        self._workers: list[Actor] = []
        self._published: deque[Any] = deque(maxlen=KEPT)

    def start(self, name: str, setup: Setup) -> Actor:
        """As `Launcher` says."""
        for worker in [worker for worker in self._workers if worker.gone]:
            self._forget(worker)
        free, resources = self._free[setup.kind], self._needs.of(setup.kind)
        place = free.popleft() if free else -1
        options: dict[str, Any] = {"name": self._names(f"{self._stage(setup)}{name}"), "max_restarts": 0}
        options |= {"num_cpus": resources["CPU"], "num_gpus": resources["GPU"]}
        if place >= 0:
            options |= placed(self._group, place)
        made = self._ray.remote(concurrency_groups=GROUPS)(CLASSES[setup.kind]).options(**options).remote(name)
        worker = Actor(self._ray, name, made, setup, place)
        self._workers.append(worker)
        return worker

    def hand_out(self, weights: Weights, version: int) -> Any:
        """As `Launcher` says."""
        reference = self._ray.put(laid_out(weights))
        self._published.append(reference)
        return reference

    def wait(self, seconds: float) -> None:
        """As `Launcher` says."""
        waited = [reference for worker in self._workers for reference in worker.waited]
        if waited:
            self._ray.wait(waited, num_returns=1, timeout=seconds, fetch_local=False)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """As `Launcher` says; those that were told to leave have a moment to do so."""
        leaving = [worker.work for worker in self._workers if worker.told and not worker.gone]
        if leaving:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVING_S, fetch_local=False)
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._published.clear()
        self._held.close()

    def _stage(self, setup: Setup) -> str:
        """Before a worker's name, where a run has several stages that may have one of that name."""
        return f"{name_of(setup.stage)}-" if self._stages > 1 else ""

    def _forget(self, worker: Actor) -> None:
        self._workers.remove(worker)
        if worker.place >= 0:
            kind: Kind = "reward" if worker.place in self._needs.places("reward") else "rollout"
            self._free[kind].append(worker.place)


class Actor:
    """One worker as its pool sees it."""

    def __init__(self, ray: Any, name: str, actor: Any, setup: Setup, place: int) -> None:
        self.name, self.place, self.told = name, place, False
        self._ray, self._actor = ray, actor
        self.work = actor.work.remote(setup)
        self._why = ""
        self._words: list[Message] = []
        self._killed = False
        self._listening: Any = self._listen()

    @property
    def gone(self) -> bool:
        """Whether it is, or was told by force."""
        return self._killed or bool(self.ended())

    @property
    def waited(self) -> list[Any]:
        """What tells, by being there, that there is something to hear."""
        return [one for one in (self._listening, None if self._why else self.work) if one is not None]

    def send(self, message: Message) -> None:
        """As `Worker` says."""
        self.told = self.told or message.kind == "leave"
        if not self._why and not self._killed:
            self._actor.order.options(concurrency_group=ORDERS).remote(message)

    def received(self) -> list[Message]:
        """As `Worker` says."""
        self._hear()
        found, self._words = self._words, []
        return found

    def ended(self) -> str:
        """As `Worker` says."""
        if not self._why and self._there(self.work):
            try:
                self._ray.get(self.work, timeout=READING_S)
                self._why = "its work has ended"
            except self._ray.exceptions.RayError as error:
                self._why = why_of(error)
        self._hear()
        return self._why if self._listening is None else ""

    def end(self) -> None:
        """As `Worker` says."""
        self._killed = True
        self._ray.kill(self._actor, no_restart=True)

    def _hear(self) -> None:
        while self._listening is not None and self._there(self._listening):
            try:
                found = split(self._ray.get(self._listening, timeout=READING_S))
            except self._ray.exceptions.RayError:
                self._listening = None  # `work` says why
                return
            self._words += found
            self._listening = None if not found and self._there(self.work) else self._listen()

    def _listen(self) -> Any:
        return self._actor.said.options(concurrency_group=WORDS).remote(LISTENING_S)

    def _there(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=0, fetch_local=False)[0])


def why_of(error: BaseException) -> str:
    """Why an actor has ended, in one line of what Ray says.

    >>> why_of(RuntimeError("The actor died.\\n\\tpid: 7\\nThe actor is dead because its process has died. Exit: ..."))
    'its process has died'
    """
    text = str(error)
    found = re.search(r"because (its [^.\n]+)", text)
    line = found[1] if found else next((line.strip() for line in text.splitlines() if line.strip()), "")
    if "temporarily unavailable" in line:
        line = "it cannot be reached"
    return (line or type(error).__name__)[:WHY]


def _names(ray: Any, run: str) -> Any:
    """Names of workers, beside that of this actor: `aha-demo-learner-0.2` has `aha-demo-rollout-3.2`."""
    own = ray.get_runtime_context().get_actor_name() or ""
    beside = re.fullmatch(r"(aha-.+-)learner-0((?:\.\d+)?)", own)
    before, after = (beside[1], beside[2]) if beside else (f"aha-{name_of(run)}-", "")
    return lambda name: f"{before}{name}{after}"


def _needs(recipe: Recipe, group: Any, gpus: float, local: bool) -> tuple[Needs, list[Any]]:
    """What workers take, as the group has it; without one, of what there is."""
    bundles = list(group.bundle_specs) if group is not None else []
    needs = needs_of(recipe, gpus, local=local)
    if not bundles:
        return needs, bundles
    first = {name: float(bundles[0].get(name, 0.0)) for name in ("CPU", "GPU")}
    return replace(needs, learner=first, rollout={**needs.rollout, "GPU": first["GPU"]}), bundles
