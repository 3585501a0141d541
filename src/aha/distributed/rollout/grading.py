"""Graders of a worker: they judge completions in threads beside what samples, and the last of a group sends it off.

graders = Graders(collector, threads=4)
group = Group(question, problem, send)      # `send` gets the question, and its completions with their verdicts
graders.give(group, sample, completion)
graders.check()                             # raises what a grader has raised
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

from aha.distributed.exchange import Judged
from aha.distributed.rollout.questions import Question
from aha.rewards.compose import verdict
from aha.training.collect import Collector
from aha.types import Completion, Problem, Verdict

NO_VERDICT = Verdict({}, None)


@dataclass(slots=True)
class Group:
    """The completions of a question, until all are there; without a problem they get no verdicts."""

    question: Question
    problem: Problem | None
    send: Callable[[Question, Judged], None]
    found: dict[int, tuple[Completion, Verdict]] = field(default_factory=dict)

    def put(self, sample: int, completion: Completion, given: Verdict) -> None:
        """One more; the last sends all."""
        self.found[sample] = completion, given
        count = self.question.prompt.n
        if len(self.found) == count:
            self.send(self.question, [[self.found[i] for i in range(count)]])


class Graders:
    """`threads` that judge; with 0 the caller does."""

    def __init__(self, collector: Collector, threads: int) -> None:
        self._collector, self._threads = collector, threads
        self._jobs: SimpleQueue[tuple[Group, int, Completion] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._raised: BaseException | None = None
        # daemons: a reward that never returns must not keep the process from ending
        for _ in range(threads):
            threading.Thread(target=self._serve, daemon=True, name="aha-reward").start()

    def give(self, group: Group, sample: int, completion: Completion) -> None:
        """Judge a completion of `group`."""
        if group.problem is None or not self._threads:
            self._judge(group, sample, completion)
        else:
            self._jobs.put((group, sample, completion))

    def check(self) -> None:
        """Raise what a grader has raised."""
        if self._raised is not None:
            raise self._raised

    def close(self) -> None:
        """Let the threads end, once they have done what was given."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._judge(*job)
            except BaseException as error:
                self._raised = error

    def _judge(self, group: Group, sample: int, completion: Completion) -> None:
        given = NO_VERDICT
        if group.problem is not None:
            collector = self._collector
            rollout = collector.dialogue.read(group.problem, group.question.prompt.ids, completion)
            given = verdict(collector.task, rollout, collector.weights_of(group.problem))
        with self._lock:
            group.put(sample, completion, given)
