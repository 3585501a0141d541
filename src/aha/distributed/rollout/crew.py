"""Who works: workers are started, heard, missed and replaced.

    crew = Crew(launcher, setups, choice, wanted)
    crew.fill()                                   # starts those that are missing
    for member, message in crew.words(): ...
    for member, why in crew.gone(): ...           # ended, silent or late; those that are too many

A worker that ends before it has done anything is followed by the next one after a pause that doubles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aha.choices import WorkersChoice
from aha.distributed.rollout.channel import Kind, Launcher, Message, Setup, Worker
from aha.errors import RunFailed, UserError

KINDS: tuple[Kind, ...] = ("rollout", "reward")
LONGEST_PAUSE_S = 30.0
FAILURES_EACH = 5  # in a row, for each worker that is wanted, before the run ends


@dataclass(slots=True)
class Member:
    """A worker as it was last heard."""

    worker: Worker
    kind: Kind
    started: float
    heard: float
    ready: bool = False
    failed: str = ""  # what it said when it ended
    final: bool = False  # the next one would fail in the same way
    clock: Mapping[str, float] = field(default_factory=dict)
    holds: int = -1  # the version of its weights
    loads: float = 0.0  # seconds that they took

    @property
    def name(self) -> str:
        return self.worker.name


class Crew:
    """The workers that there are, and those that should be."""

    def __init__(
        self, launcher: Launcher, setups: Mapping[Kind, Setup], choice: WorkersChoice,
        wanted: Callable[[], Mapping[Kind, int]],
    ) -> None:  # fmt: skip
        self._launcher, self._setups, self._choice, self._wanted = launcher, setups, choice, wanted
        self.members: dict[str, Member] = {}
        self._ending: list[Member] = []  # taken for dead; what they still say is late
        self._started = dict.fromkeys(KINDS, 0)
        self._failures, self._not_before = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0.0)
        self._first: set[str] = set()
        self.retired: list[Mapping[str, float]] = []  # clocks of rollout workers that are gone

    @property
    def wanted(self) -> Mapping[Kind, int]:
        """How many of each kind."""
        return self._wanted()

    def ready(self, kind: Kind) -> list[Member]:
        """Those that take orders, in order of their names."""
        return [member for member in self.members.values() if member.kind == kind and member.ready]

    @property
    def settled(self) -> bool:
        """Whether all of the first workers have come or failed, and one that samples is there."""
        waiting = any(not member.ready for name, member in self.members.items() if name in self._first)
        return bool(self._first) and not waiting and bool(self.ready("rollout"))

    def words(self) -> list[tuple[Member, Message]]:
        """What all have said, in order of each; of those taken for dead too."""
        found: list[tuple[Member, Message]] = []
        for member in [*self.members.values(), *self._ending]:
            for message in member.worker.received():
                member.heard = time.monotonic()
                member.clock = message.about.get("clock", member.clock)
                if message.kind == "failed":
                    member.failed, member.final = message.about["why"], message.about["final"]
                elif message.kind == "ready":
                    member.ready = True
                found.append((member, message))
        self._ending = [member for member in self._ending if not member.worker.ended()]
        return found

    def done(self, kind: Kind) -> None:
        """One of them has done something."""
        self._failures[kind] = 0

    def gone(self) -> list[tuple[Member, str]]:
        """Those that are not there any more since the last call, and why. Raises RunFailed where none stays, UserError
        where none can be made."""
        found = [(member, why) for member in self.members.values() if (why := self._end_of(member))]
        for member, why in found:
            self.drop(member)
            if member.final:
                raise UserError(f"worker {member.name}: {member.failed}")
            self._missed(member.kind, member.name, why)
        return found

    def drop(self, member: Member) -> None:
        """End a worker, whatever it does."""
        member.worker.end()
        del self.members[member.name]
        self._ending.append(member)
        self.retired += [member.clock] if member.kind == "rollout" else []

    def surplus(self) -> list[Member]:
        """Those that are too many, newest first; they are told to leave and are dropped."""
        found: list[Member] = []
        for kind in KINDS:
            present = [member for member in self.members.values() if member.kind == kind]
            more = len(present) - self.wanted[kind]
            found += sorted(present, key=lambda m: (m.ready, -m.started))[: max(0, more)]
        for member in found:
            member.worker.send(Message("leave"))
            self.drop(member)
        return found

    def fill(self) -> None:
        """Start those that are missing."""
        now = time.monotonic()
        for kind in KINDS:
            present = sum(member.kind == kind for member in self.members.values())
            for _ in range(self.wanted[kind] - present if now >= self._not_before[kind] else 0):
                name = f"{kind}-{self._started[kind]}"
                self._started[kind] += 1
                self.members[name] = Member(self._launcher.start(name, self._setups[kind]), kind, now, now)
        self._first = self._first or set(self.members)

    def _end_of(self, member: Member) -> str:
        now = time.monotonic()
        if member.failed:
            return member.failed
        if why := member.worker.ended():
            return why
        if not member.ready and now - member.started > self._choice.start_s:
            return f"it was not ready within {self._choice.start_s:g} s"
        if member.ready and now - member.heard > self._choice.heartbeat_s:
            return f"it gave no sign of life for {self._choice.heartbeat_s:g} s"
        return ""

    def _missed(self, kind: Kind, name: str, why: str) -> None:
        self._failures[kind] += 1
        failures = self._failures[kind]
        if failures > FAILURES_EACH * max(1, self.wanted[kind]):
            raise RunFailed(f"{failures} {kind} workers in a row ended before they had done anything; {name}: {why}")
        pause = 0.0 if failures == 1 else min(LONGEST_PAUSE_S, 2.0 ** (failures - 2))
        self._not_before[kind] = time.monotonic() + pause
