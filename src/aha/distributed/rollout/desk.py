"""Which question is with which worker. No threads and no clock of its own here: the pool calls it between its looks.

desk.ask(questions, sampling, whole=False)
desk.hand_out(version)             # to workers that have room
desk.heard(member, message)        # "made", "graded"
desk.lost(member, why)             # its questions wait again, before all others
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace

from aha.distributed.exchange import unpacked
from aha.distributed.rollout.books import Books
from aha.distributed.rollout.channel import Message
from aha.distributed.rollout.crew import Crew, Member
from aha.distributed.rollout.questions import Question, plain_of
from aha.errors import RunFailed
from aha.types import Completion, Sampling, Verdict

GRADED_EACH = 4  # groups that a reward worker has at a time
MOST_DEATHS = 10  # of workers that had one question
BOTH = 2  # attempts at a question that may go on at the same time


@dataclass(slots=True)
class Attempt:
    """A question with one worker. `bare`: without verdicts, for a reward worker to grade."""

    worker: str
    since: float
    bare: bool


@dataclass(slots=True)
class Job:
    """A question that was asked for, until it is taken."""

    question: Question
    sampling: Sampling
    out: dict[int, Attempt] = field(default_factory=dict)
    drawn: tuple[int, bytes] | None = None  # the attempt whose completions wait for verdicts
    grader: str = ""
    graded_since: float = 0.0
    body: bytes | None = None
    deaths: int = 0


class Desk:
    """Questions on their way."""

    def __init__(self, books: Books, crew: Crew, slots: int, question_s: float) -> None:
        self._books, self._crew, self._slots, self._question_s = books, crew, slots, question_s
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[str] = deque()
        self._wholes: deque[list[str]] = deque()
        self._ungraded: deque[str] = deque()
        self.made: dict[str, None] = {}  # not taken yet, in the order in which they came

    def ask(self, questions: Sequence[Question], sampling: Sampling, whole: bool) -> None:
        """`questions` are wanted; as a `whole` they are divided once among the workers that there are."""
        for question in questions:
            if question.name not in self._books.entries:
                self._books.asked(question.name, question.prompt.n)
            self._jobs[question.name] = Job(question, sampling)
        names = [question.name for question in questions]
        if whole:
            self._wholes.append(names)
        else:
            self._waiting.extend(names)

    def look(self, name: str) -> list[tuple[Completion, Verdict]]:
        """What was made of a question."""
        body = self._jobs[name].body
        assert body is not None, "only what was made can be looked at"
        return unpacked(body)[0]

    def take(self, name: str, step: int) -> list[tuple[Completion, Verdict]]:
        """The same, for `step`; the question is done with."""
        found = self.look(name)
        self._books.taken(name, step)
        del self._jobs[name], self.made[name]
        return found

    def heard(self, member: Member, message: Message) -> None:
        """A group has come."""
        name, attempt = message.about["question"], int(message.about["attempt"])
        job = self._jobs.get(name)
        if message.kind == "graded":
            self._crew.done("reward")
            if job is None or job.body is not None or job.drawn is None or job.drawn[0] != attempt:
                self._books.late(name, attempt)
                return
        else:
            self._crew.done("rollout")
            if job is not None and (now := job.out.get(attempt)) is not None and now.bare and job.body is None:
                self._bare(name, job, attempt, message.body)
                return
        judged = unpacked(message.body)
        tokens = sum(len(completion.ids) for group in judged for completion, _ in group)
        if self._books.made(name, attempt, tokens):
            assert job is not None, "what is in the books is on the desk"
            if [len(group) for group in judged] != [job.question.prompt.n]:
                raise RunFailed(f"worker {member.name} made {[*map(len, judged)]} rollouts of {job.question.prompt.n}")
            job.body = message.body
            self.made[name] = None

    def lost(self, member: Member, why: str) -> None:
        """A worker is gone; where `why` says for what fault, a question that it happens to too often ends the run."""
        for name, job in self._jobs.items():
            for attempt in [a for a, its in job.out.items() if its.worker == member.name]:
                if job.body is None and not (job.drawn and job.drawn[0] == attempt):
                    self._put_back(name, job, attempt, why)
            if job.grader == member.name and job.body is None:
                job.grader = ""
                self._ungraded.appendleft(name)

    def hand_out(self, version: int) -> None:
        """Give what waits to workers that have room, and what takes too long to a second one."""
        members = self._crew.ready("rollout")
        if self._wholes and self._crew.settled:
            for names in self._wholes:
                for place, member in enumerate(members):
                    self._give(names[place :: len(members)], member, version, whole=True)
            self._wholes.clear()
        load = {member.name: 0 for member in members}
        for job in self._jobs.values():
            for its in job.out.values() if job.body is None and job.drawn is None else ():
                if its.worker in load:
                    load[its.worker] += job.question.prompt.n
        late = self._late()
        while members and (late or self._waiting):
            name = (late or self._waiting)[0]
            job = self._jobs[name]
            having = {its.worker for its in job.out.values()}
            others = [member for member in members if member.name not in having]
            if others and min(load[member.name] for member in others) > self._slots:
                return
            (late or self._waiting).popleft()
            if others:
                member = min(others, key=lambda one: load[one.name])
                self._give([name], member, version, whole=False)
                load[member.name] += job.question.prompt.n

    def hand_out_to_graders(self) -> None:
        """Give completions to reward workers that have room."""
        graders = [member for member in self._crew.members.values() if member.kind == "reward"]
        ready = self._crew.ready("reward")
        having = [job.grader for job in self._jobs.values() if job.body is None]
        load = {member.name: having.count(member.name) for member in ready}
        while self._ungraded:
            job = self._jobs.get(self._ungraded[0])
            if job is None or job.body is not None or job.drawn is None:  # a grader that was slow has answered
                self._ungraded.popleft()
                continue
            attempt, body = job.drawn
            if not graders and not self._crew.wanted["reward"]:  # there will be none: they are sampled again
                self._put_back(self._ungraded.popleft(), job, attempt, "")
                continue
            member = min(ready, key=lambda m: load[m.name], default=None)
            if member is None or load[member.name] >= GRADED_EACH:
                return
            self._ungraded.popleft()
            job.grader, job.graded_since = member.name, time.monotonic()
            load[member.name] += 1
            member.worker.send(Message("grade", {"question": plain_of(job.question), "attempt": attempt}, body))

    def _give(self, names: Sequence[str], member: Member, version: int, *, whole: bool) -> None:
        """Questions of the same sampling to one worker."""
        if not names:
            return
        bare = self._crew.wanted["reward"] > 0
        questions, attempts = [], []
        for name in names:
            job = self._jobs[name]
            attempts.append(self._books.given(name, member.name, version))
            job.out[attempts[-1]] = Attempt(member.name, time.monotonic(), bare and job.question.graded)
            questions.append(plain_of(replace(job.question, index=-1) if bare else job.question))
        about = {
            "questions": questions, "attempts": attempts, "sampling": astuple(self._jobs[names[0]].sampling),
            "whole": whole, "version": version,
        }  # fmt: skip
        member.worker.send(Message("draw", about))

    def _late(self) -> deque[str]:
        """Questions that one worker alone has had for too long; those with a grader go to another grader."""
        if not self._question_s:
            return deque()
        before = time.monotonic() - self._question_s
        found: deque[str] = deque()
        for name, job in self._jobs.items():
            if job.body is not None:
                continue
            if job.grader and job.graded_since < before:
                job.grader = ""
                self._ungraded.append(name)
            elif job.drawn is None and 0 < len(job.out) < BOTH and all(a.since < before for a in job.out.values()):
                found.append(name)
        return found

    def _bare(self, name: str, job: Job, attempt: int, body: bytes) -> None:
        """Completions without verdicts: the first attempt's are graded."""
        if job.drawn is None:
            job.drawn = attempt, body
            self._ungraded.append(name)
        else:
            del job.out[attempt]
            self._books.lost(name, attempt)
            self._books.late(name, attempt)

    def _put_back(self, name: str, job: Job, attempt: int, why: str) -> None:
        """An attempt comes to nothing; where it was the only one, the question waits again."""
        del job.out[attempt]
        job.drawn = None if job.drawn and job.drawn[0] == attempt else job.drawn
        self._books.lost(name, attempt)
        if job.out or job.drawn:
            return
        self._waiting.appendleft(name)
        job.deaths += bool(why)
        if job.deaths > MOST_DEATHS:
            raise RunFailed(f"{job.deaths} workers that had question {name} ended; the last one: {why}")
