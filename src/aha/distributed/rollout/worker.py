"""A worker's loop, the same under every launcher.

    work(setup, take, say, read_weights)

`take(seconds)` is the next order, or None where none comes in time; `say` sends a word, from any thread;
`read_weights(handle)` reads what was handed out, None where newer weights have taken its place. It returns when it is
told to leave, and raises what ended it, once it has said so.

One that samples keeps its one engine full: questions join those that run, and weights are taken over between two
decoding steps. Questions that were asked for as a whole are drawn by themselves, in order: without deaths they draw
the same each time.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aha.distributed.exchange import Judged, packed, unpacked
from aha.distributed.rollout.channel import Message, Setup
from aha.distributed.rollout.digest import digest
from aha.distributed.rollout.grading import Graders, Group
from aha.distributed.rollout.questions import Kit, Question, problem_of, question_of
from aha.errors import UserError
from aha.protocols import Weights
from aha.types import Prompt, Sampling

BEAT_S = 1.0
PATIENCE_S = 1.0  # of one look for orders, while there is nothing else to do

Take = Callable[[float], Message | None]
Say = Callable[[Message], None]
ReadWeights = Callable[[Any], Weights | None]


class Leave(Exception):
    """The order to do so."""


@dataclass(frozen=True, slots=True)
class Draw:
    """An order to sample; `version` is the oldest that may do so."""

    questions: Sequence[Question]
    attempts: Sequence[int]
    sampling: Sampling
    whole: bool
    version: int


def work(setup: Setup, take: Take, say: Say, read_weights: ReadWeights) -> None:
    """Be the worker that `setup` describes, until told to leave."""
    voice = Voice(say)
    try:
        kit: Kit = setup.build(setup)
        voice.begin()
        worker = Grader(kit, take, voice) if setup.kind == "reward" else Sampler(kit, take, voice, read_weights)
        worker.run()
    except Leave:
        pass
    except BaseException as error:
        sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        voice.say("failed", {"why": sentence, "final": isinstance(error, UserError)})
        raise
    finally:
        voice.close()


class Voice:
    """What this worker says, from any of its threads; a thread says every second that it lives."""

    def __init__(self, say: Say) -> None:
        self._say, self._lock, self._over = say, threading.Lock(), threading.Event()
        self._works = False
        self._busy = self._idle = 0.0
        self._since = time.monotonic()
        self.tokens = self.rows = 0
        threading.Thread(target=self._beat, daemon=True, name="aha-beat").start()

    def begin(self) -> None:
        """It is made, and has nothing to do yet."""
        with self._lock:
            self._clock()
            self._idle = 0.0
        self.say("ready")

    def say(self, kind: str, about: dict[str, Any] | None = None, body: bytes = b"") -> None:
        """One word, with the clock as it stands."""
        with self._lock:
            self._say(Message(kind, {**(about or {}), "clock": self._clock()}, body))

    def busy(self, on: bool) -> None:
        """From here on there is something to do, or not."""
        with self._lock:
            self._clock()
            self._works = on

    def close(self) -> None:
        """Say nothing more by itself."""
        self._over.set()

    def _clock(self) -> dict[str, float]:
        now = time.monotonic()
        passed, self._since = now - self._since, now
        if self._works:
            self._busy += passed
        else:
            self._idle += passed
        return {"busy_s": self._busy, "idle_s": self._idle, "tokens": self.tokens, "rows": self.rows}

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            self.say("beat")


class Sampler:
    """A rollout worker."""

    def __init__(self, kit: Kit, take: Take, voice: Voice, read_weights: ReadWeights) -> None:
        assert kit.engine is not None, "a worker that samples has an engine"
        self._engine, self._collector = kit.engine, kit.collector
        self._take, self._voice, self._read_weights = take, voice, read_weights
        self._graders = Graders(kit.collector, kit.collector.stage.reward_threads)
        self._orders: deque[Draw] = deque()
        self._holds = -1  # the version that the engine has

    def run(self) -> None:
        """Until told to leave."""
        try:
            while True:
                self._listen(PATIENCE_S)
                while self._orders and self._may(self._orders[0]):
                    self._voice.busy(True)
                    self._draw(self._orders.popleft())
                    self._voice.busy(False)
        finally:
            self._graders.close()

    def _may(self, order: Draw) -> bool:
        """Whether the engine's weights are new enough; where they are not, newer ones are on their way."""
        return order.version <= self._holds

    def _listen(self, seconds: float) -> None:
        """Hear all orders there are; of several publications the last counts."""
        self._graders.check()
        newest: Message | None = None
        while (message := self._take(seconds)) is not None:
            seconds = 0.0
            match message.kind:
                case "publish":
                    newest = message
                case "draw":
                    self._orders.append(_draw_of(message))
                case "leave":
                    raise Leave
        if newest is not None:
            self._publish(newest)

    def _publish(self, message: Message) -> None:
        began, version = time.perf_counter(), int(message.about["version"])
        weights = self._read_weights(message.handle)
        if weights is None:
            return
        self._engine.publish(weights, version)
        self._holds, took = version, time.perf_counter() - began
        held = digest(self._engine.model.state_dict())
        self._voice.say("holds", {"version": version, "digest": held, "seconds": took})

    def _draw(self, first: Draw) -> None:
        """Sample an order, and those that may join it while it runs."""
        groups: dict[int, tuple[Group, set[int]]] = {}  # by place, with the samples that have not ended
        places = itertools.count()

        def begin(order: Draw) -> list[Prompt]:
            for question, attempt in zip(order.questions, order.attempts, strict=True):
                group = Group(question, problem_of(self._collector, question), self._sender(attempt))
                groups[next(places)] = group, set(range(question.prompt.n))
            return [question.prompt for question in order.questions]

        def more(free: int) -> list[Prompt]:
            self._voice.rows = self._engine.slots - free
            self._listen(0.0)
            joining: list[Prompt] = []
            while self._orders and not (order := self._orders[0]).whole and order.sampling == first.sampling:
                if not self._may(order):
                    break
                joining += begin(self._orders.popleft())
            return joining

        prompts, joining = begin(first), None if first.whole else more
        for place, sample, completion in self._engine.stream(prompts, first.sampling, joining):
            self._voice.tokens += len(completion.ids)
            group, left = groups[place]
            left.remove(sample)
            if not left:
                del groups[place]  # the call may go on for as long as the run
            self._graders.give(group, sample, completion)
        self._voice.rows = 0

    def _sender(self, attempt: int) -> Callable[[Question, Judged], None]:
        def send(question: Question, judged: Judged) -> None:
            tokens = sum(len(completion.ids) for completion, _ in judged[0])
            self._voice.say("made", {"question": question.name, "attempt": attempt, "tokens": tokens}, packed(judged))

        return send


class Grader:
    """A reward worker: it grades what others have sampled."""

    def __init__(self, kit: Kit, take: Take, voice: Voice) -> None:
        self._collector, self._take, self._voice = kit.collector, take, voice
        self._graders = Graders(kit.collector, max(1, kit.collector.stage.reward_threads))
        self._lock, self._left = threading.Lock(), 0

    def run(self) -> None:
        """Until told to leave."""
        try:
            while True:
                message = self._take(PATIENCE_S)
                self._graders.check()
                if message is not None and message.kind == "leave":
                    raise Leave
                if message is not None and message.kind == "grade":
                    self._grade(message)
        finally:
            self._graders.close()

    def _grade(self, message: Message) -> None:
        question = question_of(message.about["question"])
        about = {"question": question.name, "attempt": message.about["attempt"]}
        self._count(1)

        def send(_: Question, judged: Judged) -> None:
            self._voice.say("graded", about, packed(judged))
            self._count(-1)

        group = Group(question, problem_of(self._collector, question), send)
        for sample, (completion, _) in enumerate(unpacked(message.body)[0]):
            self._graders.give(group, sample, completion)

    def _count(self, change: int) -> None:
        with self._lock:
            self._left += change
            self._voice.busy(self._left > 0)


def _draw_of(message: Message) -> Draw:
    about = message.about
    questions = [question_of(plain) for plain in about["questions"]]
    return Draw(questions, about["attempts"], Sampling(*about["sampling"]), about["whole"], about["version"])
