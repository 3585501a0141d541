"""A running vLLM server as a server's engine: prompts, answers and the rest of HTTP are here, tokens come from there.

    place = Place("http://127.0.0.1:8000")
    loop = VLLMLoop(place, greet(place, vocabulary, "tiny"), "tiny", taught, slots=64, timeout_s=600)
    await loop.attach()                                     # in the event loop
    loop.submit(request, rules, streaming=True, changed=event)

Each sample is a stream of its own, `slots` of them at a time; a request that is taken back hangs up, which frees its
rows there. Where vLLM goes, what it draws fails and `trouble` says so; when it is back, and is the same, requests are
served again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aha.engines.native.request import Reason, Request, Sample
from aha.errors import UserError
from aha.serving.driver import MESSAGES_A_SECOND, Work
from aha.serving.guide import Rules
from aha.serving.loop import STOPPED
from aha.serving.vllm_asking import COMPLETIONS, Fault, Part, part_of, prompt_scores_of, refused
from aha.serving.vllm_drawing import Drawing, Taught
from aha.serving.vllm_meeting import Met, Place, meet, reason_of
from aha.serving.vocabulary import Vocabulary

WATCH_S = 2.0  # between two looks at whether it serves
HEALTH_S = 20.0  # for it to say so: where cores are few it may be slow
DATA, DONE = "data: ", "[DONE]"
USAGE = re.compile(r"^vllm:kv_cache_usage_perc(?:\{[^\n]*\})? (\S+)$", re.MULTILINE)

log = logging.getLogger("aha.serving")


def greet(place: Place, vocabulary: Vocabulary, model: str) -> Met:
    """As `meet`, where no event loop runs yet."""

    async def met() -> Met:
        async with place.client(HEALTH_S) as client:
            return await meet(client, place, vocabulary, model)

    return asyncio.run(met())


@dataclass(slots=True, eq=False, kw_only=True)
class Sent(Work):
    """A request whose samples vLLM draws."""

    rules: Rules
    changed: asyncio.Event
    task: asyncio.Task[None] | None = field(default=None)

    def end(self, reason: Reason, fault: str = "", status: int = 500) -> None:
        """End the samples that have not ended."""
        for sample in self.request.samples:
            if sample.reason is None:
                sample.fault, sample.status, sample.reason = fault, status, reason
        self.changed.set()


class VLLMLoop:
    """A `Loop`. `model` is what the server was started with here, `met` what it was found to be there."""

    def __init__(self, place: Place, met: Met, model: str, taught: Taught, *, slots: int, timeout_s: float) -> None:
        self.place, self._met, self._model, self._taught = place, met, model, taught
        self._slots = asyncio.Semaphore(slots)
        self._client = place.client(timeout_s)
        self._look = asyncio.Event()
        self._works: dict[int, Sent] = {}  # by their identity
        self._watching: asyncio.Task[None] | None = None
        self._running, self._faults, self._usage = 0, 0, 0.0
        self._trouble = ""
        self._stopped = False

    @property
    def faults(self) -> int:
        """As `Loop`."""
        return self._faults

    @property
    def running(self) -> int:
        """As `Loop`."""
        return self._running

    @property
    def usage(self) -> float:
        """As `Loop`: what vLLM says of itself; 0 where it keeps no count."""
        return self._usage

    @property
    def alive(self) -> bool:
        """As `Loop`."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """As `Loop`."""
        return STOPPED if self._stopped else self._trouble

    def start(self) -> None:
        """As `Loop`: it has been started."""

    async def attach(self) -> None:
        """As `Loop`."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def submit(self, request: Request, rules: Rules, *, streaming: bool, changed: asyncio.Event) -> Work:
        """As `Loop`."""
        work = Sent(request=request, rules=rules, streaming=streaming, changed=changed)
        work.task = asyncio.get_running_loop().create_task(self._serve(work))
        self._works[id(work)] = work
        work.task.add_done_callback(lambda task: self._works.pop(id(work)))
        return work

    def cancel(self, work: Work) -> None:
        """As `Loop`."""
        assert isinstance(work, Sent) and work.task is not None
        work.request.cancelled = True
        work.task.cancel()

    def stop(self, timeout_s: float = 10.0) -> None:
        """As `Loop`. The event loop, when it ends, ends what is under way."""
        self._stopped = True

    async def _serve(self, work: Sent) -> None:
        """See a request to its end. Nobody is left without an answer."""
        request = work.request
        try:
            if request.prompt_scores is not None:
                async with self._slot(request):
                    request.scored += await self._scores(request, request.prompt_scores)
            async with asyncio.TaskGroup() as group:
                for sample in request.samples:
                    group.create_task(self._sample(work, sample))
        except asyncio.CancelledError:
            work.end("cancelled")
            raise
        except Fault as fault:
            work.end("failed", str(fault), fault.status)
        except Exception as error:
            log.exception("a request to vLLM failed")
            self._faults += 1
            work.end("failed", f"the engine failed ({type(error).__name__})")

    @contextlib.asynccontextmanager
    async def _slot(self, request: Request) -> AsyncIterator[None]:
        async with self._slots:
            request.began = request.began or time.monotonic()
            self._running += 1
            try:
                yield
            finally:
                self._running -= 1

    async def _sample(self, work: Sent, sample: Sample) -> None:
        """Draw a sample to its end."""
        drawing = Drawing(
            work.request, sample, work.rules, self._taught, model=self._met.name, streaming=work.streaming
        )
        try:
            async with self._slot(work.request):
                while (body := drawing.body()) is not None:
                    await self._draw(work, drawing, body)
                    self._tell(work)
            sample.reason = drawing.reason
        except Fault as fault:
            sample.fault, sample.status, sample.reason = str(fault), fault.status, "failed"
        work.changed.set()

    async def _draw(self, work: Sent, drawing: Drawing, body: dict[str, Any]) -> None:
        """One request of a sample, until it has what it wants of it."""
        async with contextlib.aclosing(self._parts(body, work.request.controls.logprobs)) as parts:
            async for part in parts:
                if part.ids and not work.request.first:
                    work.request.first = time.monotonic()
                if drawing.take(part):
                    return
                self._tell(work)
        raise Fault(f"vLLM at {self.place.url} ended an answer before its end", 503)

    def _tell(self, work: Sent) -> None:
        """Wake who waits for a stream, so often that all streams together bear it."""
        now = time.monotonic()
        if work.streaming and now >= work.due:
            work.due = now + len(self._works) / MESSAGES_A_SECOND
            work.changed.set()

    async def _parts(self, body: dict[str, Any], most: int | None) -> AsyncGenerator[Part, None]:
        """A stream's messages. Raises Fault."""
        import httpx2

        try:
            async with self._client.stream("POST", COMPLETIONS, json=body) as answer:
                if answer.status_code != 200:
                    raise refused(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    if line.startswith(DATA) and line != DATA + DONE:
                        yield part_of(line.removeprefix(DATA), most)
        except httpx2.HTTPError as error:
            raise self._gone(error) from error

    async def _scores(self, request: Request, most: int) -> Any:
        """What a prompt's tokens score. vLLM gives it with an answer of one token, that is not streamed."""
        import httpx2

        body = {
            "model": self._met.name, "prompt": list(request.ids), "max_tokens": 1, "temperature": 0,
            "prompt_logprobs": most,
        }  # fmt: skip
        try:
            answer = await self._client.post(COMPLETIONS, json=body)
            if answer.status_code != 200:
                raise refused(answer.status_code, answer.content)
            return prompt_scores_of(answer.json(), request.ids, most)
        except httpx2.HTTPError as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> Fault:
        """What is told of a connection that failed; whether vLLM is there is looked at at once."""
        self._look.set()
        return Fault(f"vLLM at {self.place.url} does not answer ({reason_of(error)})", 503)

    async def _watch(self) -> None:
        """Look from time to time whether vLLM serves."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_S):
                        await self._look.wait()
                self._look.clear()
                trouble = await self._found()
                if trouble != self._trouble:
                    log.error("%s", trouble or f"vLLM at {self.place.url} serves again")
                    self._faults += bool(trouble and not self._trouble)
                self._trouble = trouble
        except Exception:
            log.exception("nobody looks after vLLM any more")
            self._stopped = True
        finally:
            await self._client.aclose()

    async def _found(self) -> str:
        """What is wrong; "" where vLLM serves. One that was gone has to be the same as before."""
        import httpx2

        url = self.place.url
        try:
            async with asyncio.timeout(HEALTH_S):
                answer = await self._client.get("/health")
                if answer.status_code != 200:
                    return f"vLLM at {url} says of itself that it does not serve ({answer.status_code})"
                counts = [float(value) for value in USAGE.findall((await self._client.get("/metrics")).text)]
            self._usage = sum(counts) / max(1, len(counts))
            if self._trouble:
                again = await meet(self._client, self.place, self._taught.vocabulary, self._model)
                if again.name != self._met.name or again.context < self._met.context:
                    return f"vLLM at {url} is back as {again.name!r} with {again.context} tokens; start this one anew"
            return ""
        except UserError as error:
            return str(error)
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            return f"vLLM at {url} does not answer ({reason_of(error)})"
