"""The trainer's side: questions go to workers, what they make comes back, and who is lost is replaced.

    with Pool(launcher, setups, choice, wanted, books, slots=64) as pool:
        pool.publish(learner.weights(), version=3)
        pool.ask(questions, sampling)                                       # returns at once
        pool.until(lambda: len(pool.made()) >= 2)                           # waits
        pool.take(["17", "18"], step=4)         # [[(Completion, Verdict), ...], ...]

A thread of the pool hears the workers and gives them work, also while the trainer learns. A worker has about as many
questions as its slots hold, and one more to be ready. Whatever ends a worker, its questions are given to others; what
it may still say is late, and dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from aha.choices import WorkersChoice
from aha.distributed.rollout.books import Books, Line
from aha.distributed.rollout.channel import Kind, Launcher, Message, Setup
from aha.distributed.rollout.crew import Crew, Member
from aha.distributed.rollout.desk import Desk
from aha.distributed.rollout.digest import digest
from aha.distributed.rollout.questions import Question
from aha.errors import RunFailed
from aha.protocols import Weights
from aha.types import Completion, Sampling, Verdict

TICK_S = 0.2  # between two looks, where nobody says anything
PATIENCE_S = 1.0  # of one wait of the trainer, after which it sees whether the pool still lives
CLOSING_S = 10.0
KEPT = 4  # versions whose digests are remembered
GroupOf = list[tuple[Completion, Verdict]]  # of one question
T = TypeVar("T")


class Pool:
    """Workers, and the questions that they have. Its methods are for one thread, the trainer's."""

    def __init__(
        self, launcher: Launcher, setups: Mapping[Kind, Setup], choice: WorkersChoice,
        wanted: Callable[[], Mapping[Kind, int]], books: Books, log: Callable[[Line], None] = lambda _: None,
        *, slots: int,
    ) -> None:  # fmt: skip
        self._launcher, self._books, self._log = launcher, books, log
        self._crew = Crew(launcher, setups, choice, wanted)
        self._desk = Desk(books, self._crew, slots, choice.question_s)
        self._changed, self._over = threading.Condition(), threading.Event()
        self._failure: BaseException | None = None
        self._current: tuple[int, Any] | None = None  # version, handle
        self._digests: dict[int, str] = {}
        self._unproved: list[tuple[Member, int, str]] = []  # what workers say that they hold
        self._misread = 0  # workers in a row that held something else
        self._notes: list[str] = []
        self._seen: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True, name="aha-pool")

    def __enter__(self) -> Pool:
        self._log({"event": "opened"})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(CLOSING_S)
        with self._changed:
            for member in self._crew.members.values():
                member.worker.send(Message("leave"))
        self._launcher.close()

    def ask(self, questions: Sequence[Question], sampling: Sampling, *, whole: bool = False) -> None:
        """`questions` are wanted of the weights published last, or newer ones."""
        assert self._current is not None, "weights are published before anything is sampled"
        with self._changed:
            self._desk.ask(questions, sampling, whole)
            self._hand_out()

    def made(self) -> list[str]:
        """The questions that are made and not taken, in the order in which they came."""
        with self._changed:
            return list(self._desk.made)

    def take(self, names: Sequence[str], step: int) -> list[GroupOf]:
        """The completions of questions that are made, with their verdicts; they are then of `step`."""
        with self._changed:
            return [self._desk.take(name, step) for name in names]

    def look(self, name: str) -> GroupOf:
        """The same of one question, which is not taken by that."""
        with self._changed:
            return self._desk.look(name)

    def until(self, found: Callable[[], T | None]) -> T:
        """What `found` returns, as soon as that is something. Raises what has ended the pool before."""
        while True:
            with self._changed:
                self._raise()
                if (result := found()) is not None:
                    return result
                self._changed.wait(PATIENCE_S)

    def publish(self, weights: Weights, version: int) -> None:
        """Hand weights out; every worker takes them over as soon as it can, and says what it then holds."""
        handle = self._launcher.hand_out(weights, version)
        with self._changed:
            self._raise()
            self._current = version, handle
            for member in self._crew.ready("rollout"):
                self._tell(member)
        expected = digest(weights)
        with self._changed:
            self._digests[version] = expected
            self._digests = dict(sorted(self._digests.items())[-KEPT:])

    def settle(self) -> None:
        """Wait until the first workers are there."""
        self.until(lambda: self._crew.settled or None)

    def held(self) -> int:
        """The oldest version that a worker which samples has said to hold; -1 where one has said nothing yet."""
        with self._changed:
            return min((member.holds for member in self._crew.ready("rollout")), default=-1)

    def notes(self) -> list[str]:
        """What has happened to workers since the last call, a line each."""
        with self._changed:
            found, self._notes = self._notes, []
        return found

    def figures(self) -> dict[str, float]:
        """Of the time since the last call: the share of it that workers had nothing to sample, and the questions given
        again; and the workers that there are."""
        with self._changed:
            members = [member for member in self._crew.members.values() if member.kind == "rollout"]
            clocks = [*self._crew.retired, *(member.clock for member in members)]
            now = {name: sum(clock.get(name, 0.0) for clock in clocks) for name in ("busy_s", "idle_s")}
            now["again"] = float(self._books.counts["again"])
            passed = {name: value - self._seen.get(name, 0.0) for name, value in now.items()}
            self._seen = now
            ready = self._crew.ready("rollout")
            worked = passed["busy_s"] + passed["idle_s"]
            found = {"rollout/given_again": passed["again"], "workers/rollout": float(len(ready))}
            if worked > 0:
                found["rollout/worker_idle_share"] = passed["idle_s"] / worked
            loads = [member.loads for member in ready if member.loads]
            if loads:
                found["workers/load_s"] = max(loads)
            return found

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                with self._changed:
                    self._look()
                    self._changed.notify_all()
                self._launcher.wait(TICK_S)
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _look(self) -> None:
        for member, message in self._crew.words():
            self._heard(member, message)
        self._prove()
        for member in self._crew.surplus():
            self._part("left", member, "too many")
        for member, why in self._crew.gone():
            self._part("died", member, why)
        self._crew.fill()
        if self._current is not None:
            self._hand_out()

    def _hand_out(self) -> None:
        assert self._current is not None
        self._desk.hand_out(self._current[0])
        self._desk.hand_out_to_graders()

    def _heard(self, member: Member, message: Message) -> None:
        match message.kind:
            case "ready" if member.name in self._crew.members:
                self._log({"event": "joined", "worker": member.name})
                self._notes.append(f"worker {member.name} has joined")
                if member.kind == "rollout" and self._current is not None:
                    self._tell(member)
            case "holds":
                member.holds, member.loads = message.about["version"], message.about["seconds"]
                self._unproved.append((member, member.holds, message.about["digest"]))
            case "made" | "graded":
                self._desk.heard(member, message)

    def _tell(self, member: Member) -> None:
        assert self._current is not None
        version, handle = self._current
        member.worker.send(Message("publish", {"version": version}, handle=handle))

    def _prove(self) -> None:
        """Hold what workers have against what was published; one that has something else is not believed."""
        waiting = []
        for member, version, held in self._unproved:
            if version not in self._digests:
                waiting += [(member, version, held)] if self._current and version >= self._current[0] else []
            elif held == self._digests[version]:
                self._misread = 0
            elif member.name in self._crew.members:
                self._misread += 1
                if self._misread > len(self._crew.members):
                    raise RunFailed(f"no worker holds the weights of version {version} as they were published")
                self._crew.drop(member)
                self._part("died", member, f"it holds other weights than version {version}")
        self._unproved = waiting

    def _part(self, event: str, member: Member, why: str) -> None:
        self._log({"event": event, "worker": member.name, "why": why})
        self._notes.append(f"worker {member.name} {'has left' if event == 'left' else 'ended'}: {why}")
        self._desk.lost(member, why if event == "died" else "")
