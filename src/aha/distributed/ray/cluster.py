"""A connection to Ray, and the room there for a run's actors.

    with connected(recipe, "demo") as where:            # a Ray of this machine, or the cluster of workers.address
        needs = needs_of(recipe, where.gpus, local=where.local)
        with room(needs, start_s, asked, note) as group:        # a placement group for all of them
            ...

A learner or a worker takes as many of Ray's CPUs as it has threads, or one, and a GPU where the recipe's device is one.
On a Ray of this machine CPUs are numbers that fit, and fewer GPUs than actors are shared.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from aha.config import Recipe
from aha.distributed.rollout.channel import Kind
from aha.errors import Stopped, UserError

ANSWER_S = 10.0  # for a cluster's address to answer
SPARE = 32  # CPUs of a Ray of this machine beyond those that are known to be needed: workers may join
SOON_S = 5.0  # of waiting for room, before it is worth a line
LOOK_S = 0.5
REGISTERING = "RAY_worker_register_timeout_seconds"  # after which Ray starts a process once more
DIGITS = 10_000  # to which Ray keeps parts of a GPU
LISTENER = "ray_listen_error_messages"  # Ray's thread that prints
Resources = dict[str, float]


@dataclass(frozen=True, slots=True)
class Where:
    """The Ray that a run is on."""

    local: bool  # of this machine, for this process alone
    gpus: float  # that it has now
    words: str  # what a person may want to know


@dataclass(frozen=True, slots=True)
class Needs:
    """What one actor of each kind takes, and how many there are at first."""

    learner: Resources
    rollout: Resources
    reward: Resources
    learners: int
    rollouts: int
    rewards: int

    @property
    def bundles(self) -> list[Resources]:
        """Of a placement group: learners, then workers that sample, then those that grade."""
        return [self.learner] * self.learners + [self.rollout] * self.rollouts + [self.reward] * self.rewards

    def of(self, kind: Kind) -> Resources:
        """What a worker takes."""
        return self.reward if kind == "reward" else self.rollout

    @property
    def least(self) -> list[Resources]:
        """The same, of the learners and one worker."""
        return self.bundles[: self.learners + 1]

    def places(self, kind: Kind) -> range:
        """The bundles of a kind of worker."""
        first = self.learners if kind == "rollout" else self.learners + self.rollouts
        return range(first, first + (self.rollouts if kind == "rollout" else self.rewards))


def needs_of(recipe: Recipe, gpus: float, *, local: bool) -> Needs:
    """What `recipe` needs of a Ray that has `gpus`. Raises UserError where one machine has too few to share."""
    choice = recipe.workers
    kind, _, number = recipe.device.partition(":")
    if number:
        raise UserError(
            f"device={recipe.device} is a GPU by number, and Ray gives each actor its own; use device={kind}"
        )
    each = 1.0 if kind == "cuda" or (kind == "auto" and gpus >= 1) else 0.0
    actors = choice.learners + choice.rollout
    if each and local and actors > gpus:
        if choice.learners > 1 or gpus < 1:
            raise UserError(
                f"{choice.learners} learners and {choice.rollout} rollout workers need {actors} GPUs, and this machine "
                f"has {gpus:g}; set fewer, or device=cpu"
            )
        each = math.floor(DIGITS / math.ceil(actors / gpus)) / DIGITS  # a learner and workers share
    learner, worker = float(recipe.threads or 1), float(choice.threads or 1)
    return Needs(
        {"CPU": learner, "GPU": each}, {"CPU": worker, "GPU": each}, {"CPU": worker, "GPU": 0.0},
        choice.learners, choice.rollout, choice.reward,
    )  # fmt: skip


def name_of(text: str) -> str:
    """As part of an actor's name.

    >>> name_of("my run/ü")
    'my-run'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") or "run"


def cluster_of(recipe: Recipe) -> str:
    """The address of the cluster that a recipe is for; "" for a Ray of this machine."""
    return recipe.workers.address or os.environ.get("RAY_ADDRESS", "")


@contextlib.contextmanager
def connected(recipe: Recipe, run: str) -> Iterator[Where]:
    """Connected to Ray until the end; a connection that is there already is used and kept. Raises UserError where none
    is to be had."""
    ray = library()
    if ray.is_initialized():
        yield _found(ray, "", local=False)
        return
    address = cluster_of(recipe)
    with contextlib.redirect_stdout(_Apart(sys.stdout, sys.stderr)):
        context = _connect(ray, recipe, address, run)
        try:
            yield _found(ray, getattr(context, "dashboard_url", "") or "", local=not address)
        finally:
            ray.shutdown()


def library() -> Any:
    """Ray. Raises UserError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise UserError("launcher=ray needs Ray; pip install 'aha[ray]', or set launcher=processes") from error
    return ray


def _connect(ray: Any, recipe: Recipe, address: str, run: str) -> Any:
    if address:
        _answers(address)
    # names of actors are one run's own: another run of the same name may be on the cluster
    options: dict[str, Any] = {"namespace": f"aha-{run}-{secrets.token_hex(3)}", "address": address or "local"}
    if not address:
        choice = recipe.workers
        cpus = choice.learners * (recipe.threads or 1) + (choice.rollout + choice.reward) * (choice.threads or 1)
        options["num_cpus"] = max(cpus, os.cpu_count() or 1) + SPARE
        os.environ.setdefault(REGISTERING, str(math.ceil(choice.start_s)))
    try:
        return ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except SystemExit as error:  # how Ray hears SIGTERM meanwhile
        raise Stopped("it had not begun") from error
    except Exception as error:  # Ray raises plain ones too
        raise UserError(
            f"Ray at {address or 'this machine'} cannot be used ({_line(error)}); start it, set workers.address to one "
            "that runs, or set launcher=processes"
        ) from error


def _answers(address: str) -> None:
    """Raises UserError where nobody is at `address`: Ray would try for ten minutes."""
    if "://" in address:
        raise UserError(
            f"workers.address={address} is from outside of a cluster; start the command on one of its machines, as by "
            "ray job submit, with workers.address=auto"
        )
    found = re.fullmatch(r"(?P<host>[^/:]+|\[[^/]+\]):(?P<port>\d+)", address)
    if found is None:
        return  # "auto", or a form that Ray knows
    with contextlib.suppress(OverflowError):
        try:
            socket.create_connection((found["host"].strip("[]"), int(found["port"])), ANSWER_S).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
    raise UserError(
        f"no Ray answers at workers.address={address} ({reason}); give HOST:6379 as ray start has said it, or auto"
    )


def _found(ray: Any, dashboard: str, *, local: bool) -> Where:
    have = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    words = f"Ray {ray.__version__}, " + (
        "of this machine" if local else f"{nodes} machine{'s' * (nodes != 1)}: {_size(have)}"
    )
    return Where(local, have.get("GPU", 0.0), f"{words}, dashboard at {dashboard}" if dashboard else words)


def _size(*parts: Resources) -> str:
    cpus, gpus = (sum(part.get(name, 0.0) for part in parts) for name in ("CPU", "GPU"))
    return f"{cpus:g} CPUs, {gpus:g} GPUs"


def _line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


@contextlib.contextmanager
def room(needs: Needs, seconds: float, asked: Callable[[], None], note: Callable[[str], None]) -> Iterator[Any]:
    """A placement group for all actors; where there is no room for all within `seconds`, one for the learners and one
    worker, and others come as they find it. `asked` is called while waiting. Raises UserError where these find none."""
    import ray

    for bundles in (needs.bundles, needs.least):
        group = ray.util.placement_group(bundles, strategy="PACK", name="aha")
        try:
            if _waited(ray, group, bundles, seconds, asked, note):
                yield group
                return
        finally:
            ray.util.remove_placement_group(group)
    raise UserError(
        f"Ray found no room for {needs.learners} learners and a worker ({_size(*needs.least)}) within "
        f"workers.start_s={seconds:g} s; it has {_size(ray.available_resources())} free of "
        f"{_size(ray.cluster_resources())}: add machines, or set fewer learners and threads"
    )


def _waited(
    ray: Any, group: Any, bundles: list[Resources], seconds: float, asked: Callable[[], None],
    note: Callable[[str], None],
) -> bool:  # fmt: skip
    ready, began, said = group.ready(), time.monotonic(), False
    while time.monotonic() - began < seconds:
        asked()
        if ray.wait([ready], timeout=LOOK_S)[0]:
            return True
        if not said and time.monotonic() - began > SOON_S:
            said = True
            note(
                f"waiting up to {seconds:g} s for {_size(*bundles)} in {len(bundles)} parts; Ray has "
                f"{_size(ray.available_resources())} free"
            )
    return False


def placed(group: Any, bundle: int) -> dict[str, Any]:
    """The option that puts an actor into a bundle of a placement group."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)}


class _Apart:
    """Standard output, but for what Ray prints there by itself: that goes to standard error."""

    def __init__(self, ours: TextIO, rays: TextIO) -> None:
        self._ours, self._rays = ours, rays

    def write(self, text: str) -> int:
        stream = self._rays if threading.current_thread().name == LISTENER else self._ours
        return stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ours, name)
