"""Requests on their way: what has come of each sample, as pieces for a stream or whole.

    with service.begin([plan], streaming=True) as run:
        async for index, update in run.updates():
            update.pieces, update.ids, update.finish

Leaving the block takes back what has not ended: that is how a client that hangs up frees its rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from aha.engines.native.controls import Scored
from aha.engines.native.incremental import NOTHING_LEFT
from aha.engines.native.request import Limits, Sample
from aha.serving.calls import Call
from aha.serving.driver import Work
from aha.serving.errors import ApiError, invalid
from aha.serving.limits import Gate
from aha.serving.loop import Loop
from aha.serving.metrics import Metrics
from aha.serving.plan import Plan
from aha.serving.reader import Piece, Reader
from aha.serving.vocabulary import Vocabulary

Finish = Literal["stop", "length", "content_filter"]
KEEP_ALIVE_S = 15.0  # without news, after which a stream says that it is alive


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of one sample; `finish` with the last."""

    pieces: tuple[Piece | Call, ...]
    ids: tuple[int, ...]
    scores: tuple[Scored, ...]
    finish: Finish | None


@dataclass(slots=True, eq=False)
class Progress:
    """What has been read of one sample. `ids` end with the token that completes a stop string."""

    plan: Plan
    sample: Sample
    reader: Reader
    ids: list[int] = field(default_factory=list)
    scores: list[Scored] = field(default_factory=list)
    pieces: list[Piece | Call] = field(default_factory=list)
    finish: Finish | None = None
    stop: int | str | None = None  # the token or the string that it stopped at

    def look(self) -> Update | None:
        """Read on; None where there is nothing new. Raises ApiError for a sample that failed."""
        if self.finish is not None:
            return None
        reason = self.sample.reason  # set after the last token: read before them
        new = self.sample.ids[len(self.ids) :]
        if reason == "failed" and self.sample.fault == NOTHING_LEFT:
            raise invalid(NOTHING_LEFT)
        if reason == "failed" and self.sample.status == 400:
            raise invalid(self.sample.fault)
        if reason == "failed":
            raise ApiError(self.sample.status, f"the answer could not be made: {self.sample.fault}", code="failed")
        if not new and reason is None:
            return None
        ended = reason == "stop" and new and new[-1] in self.plan.controls.stop_ids
        found = self.reader.feed(new[:-1] if ended else new)
        if self.reader.stopped is not None:
            new = new[: self.reader.used - len(self.ids)]
            self.finish, self.stop = "stop", self.reader.stopped
        elif reason is not None:
            self.finish = "length" if reason == "length" else "stop"
            self.stop = new[-1] if ended and new[-1] not in self.plan.ends else None
        if self.finish is not None:
            found += self.reader.close()
        scores = self.sample.scores[len(self.scores) : len(self.scores) + len(new)]
        self.ids += new
        self.scores += scores
        self.pieces += found
        return Update(tuple(found), tuple(new), tuple(scores), self.finish)

    def text(self, kind: Literal["reasoning", "content"]) -> str:
        """All text of a kind until now."""
        return "".join(p.text for p in self.pieces if isinstance(p, Piece) and p.kind == kind)

    def withdraw(self, notice: str) -> None:
        """Put `notice` in the place of the answer."""
        self.pieces, self.finish, self.stop = [Piece("content", notice)], "content_filter", None
        self.scores = []

    @property
    def calls(self) -> list[Call]:
        """The calls of tools until now."""
        return [p for p in self.pieces if isinstance(p, Call)]


class Run:
    """Plans that run together, for one client. `progress` are their samples, those of the first plan first."""

    def __init__(
        self, plans: Sequence[Plan], loop: Loop, limits: Limits, vocabulary: Vocabulary, gate: Gate, metrics: Metrics,
        *, streaming: bool, timeout_s: float, passes: bool = False,
    ) -> None:  # fmt: skip
        self.plans, self._loop, self._gate, self._metrics = plans, loop, gate, metrics
        self._samples = 0 if passes else sum(plan.n for plan in plans)  # `passes`: it is a part of another one's work
        self._timeout_s, self._arrived = timeout_s, time.monotonic()
        self._changed = asyncio.Event()
        requests = [plan.request() for plan in plans]
        for request in requests:
            limits.check(request)
        self.progress = [
            Progress(plan, sample, plan.reader(vocabulary))
            for plan, request in zip(plans, requests, strict=True)
            for sample in request.samples
        ]
        gate.enter(self._samples)
        self.works: list[Work] = []
        try:
            for plan, request in zip(plans, requests, strict=True):
                self.works.append(loop.submit(request, plan.rules, streaming=streaming, changed=self._changed))
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave(self._samples)
        for work in self.works:
            if not work.request.ended:
                self._loop.cancel(work)
        self._measure()

    @property
    def over(self) -> bool:
        """True where all samples have been read to their ends."""
        return all(progress.finish is not None for progress in self.progress)

    async def updates(self) -> AsyncIterator[tuple[int, Update] | None]:
        """News by the sample's number; None from time to time where there is none. Raises ApiError."""
        until = self._arrived + self._timeout_s
        while not self.over:
            left = until - time.monotonic()
            if left <= 0:
                raise self._too_late()
            try:
                async with asyncio.timeout(min(left, KEEP_ALIVE_S)):
                    await self._changed.wait()
            except TimeoutError:
                yield None
                continue
            self._changed.clear()
            for index, progress in enumerate(self.progress):
                update = progress.look()
                if update is not None:
                    yield index, update

    async def whole(self) -> list[Progress]:
        """All samples, when the last has ended. Raises ApiError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not all(work.request.ended for work in self.works):
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError as error:
            raise self._too_late() from error
        for progress in self.progress:
            progress.look()
        return self.progress

    def _too_late(self) -> ApiError:
        return ApiError(504, f"the answer took longer than {self._timeout_s:g} s; ask for fewer tokens", code="timeout")

    def _measure(self) -> None:
        now, count, observe = time.monotonic(), self._metrics.count, self._metrics.observe
        for work in self.works:
            request = work.request
            count("prompt_tokens_total", len(request.ids))
            if request.began:
                observe("request_queue_time_seconds", request.began - work.submitted)
            if request.first:
                observe("time_to_first_token_seconds", request.first - work.submitted)
                steps = max((len(sample.ids) for sample in request.samples), default=0) - 1
                if steps > 0:
                    observe("inter_token_latency_seconds", (now - request.first) / steps)
        for progress in self.progress:
            count("generation_tokens_total", len(progress.sample.ids))
            count("reasoning_tokens_total", progress.reader.reasoning)
            count("request_success_total", finished_reason=progress.finish or "abort")
        observe("e2e_request_latency_seconds", now - self._arrived)
