"""A Ray whose actors are threads of this process: what is called is the actors' own code; only Ray is not there.

ray = FakeRay()
handle = ray.remote(concurrency_groups={"words": 1})(AhaLearner).options(name="aha-x-learner-0").remote("learner-0")
ray.dies(handle)         # as if its process had been killed
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """Of a call to an actor that is gone."""


class Bundles:
    """A placement group."""

    def __init__(self, specs: list[dict[str, float]], fits: bool) -> None:
        self.bundle_specs, self.fits = specs, fits

    def ready(self) -> Future[Any]:
        found: Future[Any] = Future()
        if self.fits:
            found.set_result(self)
        return found


class FakeRay:
    """As much of Ray as is used. Placement groups of more than `room` bundles never find room."""

    def __init__(self, room: int = 100, own_name: str = "") -> None:
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.actors: dict[str, Handle] = {}
        self.bundles: list[Bundles] = []
        self.group: Bundles | None = None
        self.kept: list[Any] = []
        self._room = room
        self.util = SimpleNamespace(
            placement_group=self._place, remove_placement_group=lambda group: self.bundles.remove(group),
            get_current_placement_group=lambda: self.group,
        )  # fmt: skip
        self.get_runtime_context = lambda: SimpleNamespace(get_actor_name=lambda: own_name or None)

    def remote(self, **_: Any) -> Callable[[type], Any]:
        """As `ray.remote(...)`."""

        def made(kind: type) -> Any:
            def options(**chosen: Any) -> Any:
                return SimpleNamespace(remote=lambda *arguments: self._start(kind, chosen, arguments))

            return SimpleNamespace(options=options)

        return made

    def put(self, value: Any) -> Any:
        self.kept.append(value)
        return value

    def wait(
        self, calls: Sequence[Future[Any]], num_returns: int = 1, timeout: float = 0.0, fetch_local: bool = True
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """As `ray.wait`."""
        until = time.monotonic() + timeout
        while sum(call.done() for call in calls) < min(num_returns, len(calls)) and time.monotonic() < until:
            time.sleep(0.002)
        there = [call for call in calls if call.done()][:num_returns]
        return there, [call for call in calls if call not in there]

    def get(self, calls: Any, timeout: float) -> Any:
        """As `ray.get`."""
        if isinstance(calls, list):
            return [call.result(timeout) for call in calls]
        return calls.result(timeout)

    def kill(self, handle: Handle, no_restart: bool) -> None:
        self.dies(handle, "its actor was killed by `ray.kill`")

    def dies(self, handle: Handle, why: str = "its worker process has died") -> None:
        """All that was asked of it fails, and all that will be."""
        handle.gone = why
        for call in handle.calls:
            if not call.done():
                call.set_exception(handle.error())

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    available_resources = cluster_resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True}, {"Alive": True}]

    def _place(self, specs: list[dict[str, float]], strategy: str, name: str) -> Bundles:
        made = Bundles(specs, len(specs) <= self._room)
        self.bundles.append(made)
        return made

    def _start(self, kind: type, options: dict[str, Any], arguments: tuple[Any, ...]) -> Handle:
        assert options["name"] not in self.actors, "a name is not used twice"
        self.actors[options["name"]] = made = Handle(kind(*arguments), options)
        return made


class Handle:
    """Of an actor: each method has `.remote(...)`, and `.options(...)` before it."""

    def __init__(self, actor: Any, options: dict[str, Any]) -> None:
        self.actor, self.options, self.gone = actor, options, ""
        self.calls: list[Future[Any]] = []
        self._queues: dict[str, threading.Lock] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def within(concurrency_group: str = "") -> Any:
            return SimpleNamespace(remote=lambda *arguments: self._call(name, arguments))

        return SimpleNamespace(options=within, remote=lambda *arguments: self._call(name, arguments))

    def error(self) -> RayError:
        return RayError(f"The actor died.\n\tpid: 7\nThe actor is dead because {self.gone}. Exit type: X")

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        made: Future[Any] = Future()
        if self.gone:
            made.set_exception(self.error())
            return made
        self.calls.append(made)

        def run() -> None:
            try:
                result = getattr(self.actor, name)(*arguments)
            except BaseException as error:
                if not made.done():
                    made.set_exception(error)
            else:
                if not made.done():
                    made.set_result(result)

        threading.Thread(target=run, daemon=True).start()
        return made
