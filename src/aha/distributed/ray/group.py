"""The learners of a run, from one start to its end.

    learners = Learners(ray, needs, group, "aha-demo-learner-{}")
    learners.meet(seconds, asked)
    learners.begin(job)
    while learners.listen(tell): ...          # `tell` gets the words of the first one
    learners.ending                           # what ended them all
    learners.end()

Every wait has an end, and an actor that answers nothing is taken for dead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from aha.distributed.ray.actors import GROUPS, ORDERS, WORDS, AhaLearner, Job
from aha.distributed.ray.cluster import Needs, placed
from aha.distributed.ray.launcher import WHY, why_of
from aha.distributed.ray.mail import split
from aha.distributed.rollout.channel import Message
from aha.errors import RunFailed

LISTENING_S = 5.0  # of one call for words, which an actor that lives answers
READING_S = 30.0  # for an answer that is there to be read
LOOK_S = 0.5
AFTER_S = 30.0  # for the others to end, once one has failed
GONE_S = 60.0  # for an actor that was killed to be gone
CAUSES = ("died", "unusable", "system", "failed", "fault")  # which end the others too
UNABLE = "creation task"  # in what Ray says where an actor cannot be made
OTHERS = ("broken", "stopped", "done")


class Fell(Exception):
    """One died before anything had begun: its machine may be gone."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a learner has ended: "done" with its result, "stopped", "broken" and the causes with why."""

    who: str
    how: str
    what: Any


class Learners:
    """Actors, one for each process of a run; the first one shows and writes."""

    def __init__(self, ray: Any, needs: Needs, group: Any, name: str, silence: float) -> None:
        self._ray, self._silence = ray, silence
        made = ray.remote(concurrency_groups=GROUPS)(AhaLearner)
        resources = {"num_cpus": needs.learner["CPU"], "num_gpus": needs.learner["GPU"], "max_restarts": 0}
        self._names = [f"learner-{rank}" for rank in range(needs.learners)]
        self._actors = [
            made.options(name=name.format(rank), **resources, **placed(group, rank)).remote(self._names[rank])
            for rank in range(needs.learners)
        ]
        self._where: list[dict[str, Any]] = []
        self._runs: dict[Any, int] = {}  # references of calls that last as long as the run
        self._listening: dict[Any, int] = {}
        self._heard: list[float] = []
        self._endings: list[Ending] = []
        self._first_end = 0.0

    def meet(self, seconds: float, asked: Callable[[], None]) -> None:
        """Wait until all are there; `asked` is called meanwhile. Raises Fell where one dies on the way, and RunFailed
        where one does not come, or cannot."""
        calls = {actor.meet.remote(): name for actor, name in zip(self._actors, self._names, strict=True)}
        until = time.monotonic() + seconds
        waiting = list(calls)
        while waiting:
            asked()
            _, waiting = self._ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_S)
            if waiting and time.monotonic() > until:
                missing = ", ".join(calls[call] for call in waiting)
                raise RunFailed(
                    f"{missing} did not come up within workers.start_s={seconds:g} s; see Ray's logs of it, or raise "
                    "workers.start_s"
                )
        for call, name in calls.items():
            try:
                self._where.append(self._ray.get(call, timeout=READING_S))
            except self._ray.exceptions.RayError as error:
                if UNABLE in str(error):
                    raise RunFailed(f"{name} cannot start on its machine: {last_of(error)}") from error
                raise Fell(f"{name} died before it had begun ({why_of(error)})") from error

    def begin(self, job: Job) -> None:
        """Let all make the run."""
        now = time.monotonic()
        for rank, (actor, names) in enumerate(zip(self._actors, environments(self._where), strict=True)):
            self._runs[actor.run.remote(replace(job, names=names))] = rank
            self._listening[self._listen(rank)] = rank
            self._heard.append(now)

    def ask(self) -> None:
        """Ask all to stop."""
        for actor in self._actors:
            actor.order.options(concurrency_group=ORDERS).remote(Message("stop"))

    def listen(self, tell: Callable[[Message], None]) -> bool:
        """Hear what there is, after a short wait for it. False once all have ended, or were waited for long enough."""
        calls = [*self._runs, *self._listening]
        self._ray.wait(calls, num_returns=1, timeout=LOOK_S)
        there, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0)
        for call in there:
            if call in self._listening:
                self._hear(call, tell)
        for call in there:
            if (rank := self._runs.pop(call, None)) is not None:
                self._last_words(rank, tell)
                self._note(self._ending_of(call, rank))
        now = time.monotonic()
        for rank in list(self._runs.values()):
            if now - self._heard[rank] > self._silence + LISTENING_S:
                self._runs = {call: other for call, other in self._runs.items() if other != rank}
                self._note(Ending(self._names[rank], "died", f"it gave no sign of life for {self._silence:g} s"))
        failed = any(one.how in CAUSES for one in self._endings)
        late = self._endings and now - self._first_end > (AFTER_S if failed else self._silence)
        return bool(self._runs) and not late

    @property
    def ending(self) -> Ending:
        """What ended all: the first one's result, else the first that did not end because another one had."""
        found = self._endings or [Ending(self._names[0], "broken", "nobody ended")]
        done = [one for one in found if one.how == "done" and one.who == self._names[0]]
        causes = [one for one in found if one.how in CAUSES]
        return (done or causes or sorted(found, key=lambda one: OTHERS.index(one.how)))[0]

    def end(self) -> None:
        """End all that are left, and wait until they are gone: what they hold is needed."""
        for actor in self._actors:
            self._ray.kill(actor, no_restart=True)
        if self._runs:
            self._ray.wait(list(self._runs), num_returns=len(self._runs), timeout=GONE_S)

    def _listen(self, rank: int) -> Any:
        return self._actors[rank].said.options(concurrency_group=WORDS).remote(LISTENING_S)

    def _last_words(self, rank: int, tell: Callable[[Message], None]) -> None:
        """What one has said before its call returned."""
        while calls := [call for call, other in self._listening.items() if other == rank]:
            self._ray.wait(calls, timeout=READING_S)
            self._hear(calls[0], tell)

    def _hear(self, call: Any, tell: Callable[[Message], None]) -> None:
        rank = self._listening.pop(call)
        try:
            words = split(self._ray.get(call, timeout=READING_S))
        except self._ray.exceptions.RayError:
            return  # its run says why
        self._heard[rank] = time.monotonic()
        for message in words:
            tell(message)
        if rank in self._runs.values() or words:
            self._listening[self._listen(rank)] = rank

    def _ending_of(self, call: Any, rank: int) -> Ending:
        try:
            said = json.loads(self._ray.get(call, timeout=READING_S))
        except self._ray.exceptions.RayError as error:
            return Ending(self._names[rank], "died", why_of(error))
        return Ending(self._names[rank], said["how"], said["what"])

    def _note(self, ending: Ending) -> None:
        self._first_end = self._first_end or time.monotonic()
        self._endings.append(ending)


def last_of(error: BaseException) -> str:
    """The last line of what Ray says, where it shows a traceback: the error's own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:WHY] if lines else type(error).__name__


def environments(where: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What a launcher tells each process (`distributed/world.py`), of where each one is; one that is alone is told
    nothing.

    >>> there = [{"node": "a", "address": "10.0.0.1", "port": 7}, {"node": "b", "address": "10.0.0.2", "port": 8}]
    >>> environments(there)[1]["RANK"], environments(there)[1]["LOCAL_RANK"], environments(there)[1]["MASTER_ADDR"]
    ('1', '0', '10.0.0.1')
    """
    if len(where) == 1:
        return [{}]
    nodes = [one["node"] for one in where]
    return [
        {
            "RANK": str(rank), "WORLD_SIZE": str(len(where)), "LOCAL_RANK": str(nodes[:rank].count(node)),
            "LOCAL_WORLD_SIZE": str(nodes.count(node)), "MASTER_ADDR": where[0]["address"],
            "MASTER_PORT": str(where[0]["port"]),
        }
        for rank, node in enumerate(nodes)
    ]  # fmt: skip
