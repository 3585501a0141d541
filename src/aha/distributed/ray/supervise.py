"""A run on Ray, from the command's side.

    result = on_ray(run, recipe, out, observer, begin)       # as pipeline.run.run(recipe, out, observer, begin)

The learners make the call `run` as processes of torchrun would; the first of them owns the workers. What it tells is
shown here, SIGTERM and SIGINT go to all, and where one dies all are started again and go on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from aha.config import Recipe
from aha.distributed.ray.actors import Job
from aha.distributed.ray.cluster import Needs, Where, connected, library, name_of, needs_of, room
from aha.distributed.ray.group import Ending, Fell, Learners
from aha.distributed.rollout.channel import Message
from aha.distributed.world import launched
from aha.errors import RunFailed, Stopped, UserError
from aha.types import StepMetrics

BEGUN = "recipe.yaml"  # a run folder has it before anything is told
LONGEST_PAUSE_S = 15.0  # before learners are started once more
MOST_CRASHES = 3
LOGS = "/tmp/ray/session_latest/logs/worker-*.err on its machine"
VISIBLE_S = 60.0  # for a file that another machine has written to be seen here
SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = ("died", "broken")  # endings that the last checkpoint is good for


class Watching(Protocol):
    """As in `pipeline/observer.py`."""

    def stage(self, name: str, done: int, planned: int) -> None: ...

    def step(self, metrics: StepMetrics) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(slots=True)
class Requests:
    """Signals that ask the run to stop: which one came first, and how many."""

    first: int = 0
    count: int = 0

    def take_over(self) -> None:
        """Hear them from now on. Ray takes SIGTERM for itself when it starts: this comes after it."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._heard)

    def check(self) -> None:
        """Raises what ends a run that has not begun."""
        if self.count:
            self.raise_stopped("it had not begun")

    def raise_stopped(self, why: str) -> None:
        """As one process ends that has heard the signal."""
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt(why)
        raise Stopped(why)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self.first, self.count = self.first or number, self.count + 1
        if self.count > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt  # whoever presses it twice does not want to wait


def on_ray(
    run: Callable[..., dict[str, Any]], recipe: Recipe, out: Path, observer: Watching, begin: str = ""
) -> dict[str, Any]:
    """What `run` returns. Raises what it raises, and RunFailed where learners have died more often than
    `workers.restarts` allows."""
    if launched().size > 1:
        raise UserError("launcher=ray starts learners itself; start one process, with workers.learners=N")
    name = name_of(out.absolute().name)
    with _requests() as requests, connected(recipe, name) as where:
        requests.take_over()
        observer.note(where.words)
        needs = needs_of(recipe, where.gpus, local=where.local)
        with room(needs, recipe.workers.start_s, requests.check, observer.note) as group:
            job = Job(run, recipe.model_dump_json(), str(out.absolute()), begin, os.getcwd())
            starting = Starting(f"aha-{name}-learner-{{}}", needs, group, recipe, requests, observer)
            for start in range(1, recipe.workers.restarts + 2):
                ending = _watched(starting, job, observer, requests, where)
                if ending.how == "stopped":
                    observer.note(f"stopped: {ending.what}")
                if ending.how not in AGAIN:
                    return _result(ending, requests)
                left = recipe.workers.restarts + 1 - start
                if left:
                    observer.note(f"{_sentence(ending)}; all start again from the last checkpoint ({left} times left)")
    raise RunFailed(
        f"{_sentence(ending)}, for the {recipe.workers.restarts + 1}th time; the same command goes on from the last "
        "checkpoint"
    )


@contextlib.contextmanager
def _requests() -> Iterator[Requests]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield Requests()
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(slots=True)
class Starting:
    """Starts learners; no two have the same name."""

    name: str
    needs: Needs
    group: Any
    recipe: Recipe
    requests: Requests
    observer: Watching
    tries: int = 0

    def up(self) -> Learners:
        """Learners that have met. Where one dies on the way they are started again, for `workers.start_s`: Ray may
        not know yet that a machine is gone, or has to find room on another. Raises RunFailed after that, or where
        processes die on machines that stay."""
        seconds = self.recipe.workers.start_s
        until, pause, crashes = time.monotonic() + seconds, min(1.0, LONGEST_PAUSE_S), 0
        while True:
            learners = self._made()
            try:
                learners.meet(seconds, self.requests.check)
                return learners
            except Fell as error:
                learners.end()
                crashes += "process has died" in str(error)
                if crashes == MOST_CRASHES or time.monotonic() > until:
                    raise RunFailed(f"{error}, and so did others before it; see its log, {LOGS}") from error
                self.observer.note(f"{error}; all are started once more")
            except BaseException:
                learners.end()
                raise
            self._wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _made(self) -> Learners:
        self.tries += 1
        name = self.name + (f".{self.tries}" if self.tries > 1 else "")
        return Learners(library(), self.needs, self.group, name, self.recipe.sharding.deadline_s)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.requests.check()
            time.sleep(min(left, 0.2))


def _watched(starting: Starting, job: Job, observer: Watching, requests: Requests, where: Where) -> Ending:
    """How the learners end that are started once."""
    seen = Seen(Path(job.out), observer)
    told = False
    learners = starting.up()
    try:
        learners.begin(job)
        while learners.listen(seen.tell):
            seen.check(where)
            if requests.count and not told:
                told = True
                observer.note("asked to stop: the step that runs may end, and is saved")
                learners.ask()
        return learners.ending
    finally:
        learners.end()


class Seen:
    """What the first learner tells, shown; and whether what it writes can be read here."""

    def __init__(self, out: Path, observer: Watching) -> None:
        self._out, self._observer = out, observer
        self._since = 0.0

    def tell(self, message: Message) -> None:
        """One word."""
        about = message.about
        self._since = self._since or time.monotonic()
        match message.kind:
            case "stage":
                self._observer.stage(about["name"], about["done"], about["planned"])
            case "step":
                self._observer.step(StepMetrics(about["step"], about["values"]))
            case "note":
                self._observer.note(about["text"])

    def check(self, where: Where) -> None:
        """Raises UserError where the run folder of the learners is not the one that is seen here."""
        if self._since < 0 or not self._since:
            return
        if (self._out / BEGUN).is_file():
            self._since = -1.0
        elif time.monotonic() - self._since > VISIBLE_S:
            raise UserError(
                f"{self._out} is written by another machine and cannot be seen here; give --out a folder on a file "
                f"system that all machines share ({where.words})"
            )


def _sentence(ending: Ending) -> str:
    return f"{ending.who} died ({ending.what})" if ending.how == "died" else f"{ending.who}: {ending.what}"


def _result(ending: Ending, requests: Requests) -> dict[str, Any]:
    match ending.how:
        case "done":
            return dict(ending.what)
        case "stopped":
            requests.raise_stopped(ending.what)
        case "unusable":
            raise UserError(ending.what)
        case "failed":
            raise RunFailed(ending.what)
        case "system":
            raise OSError(*ending.what[:2], *([ending.what[2]] if ending.what[2] else []))
    raise RuntimeError(f"{ending.who}:\n{ending.what}")
