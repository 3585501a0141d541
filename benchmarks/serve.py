"""A server's tokens a second at 64 concurrent requests against the engine offline, and its time to the first token.

    python benchmarks/serve.py [--model tiny] [--threads 2] [--engines 0] [--requests 512] [--json] [--quick]

Offline and server continue the same prompts under the same seeds, with as many threads and slots; that both draw as
many tokens is checked. They take turns, `--repeats` times; each share is of the offline run just before it, and the
median of them counts. The server runs in processes of its own, its clients in this one: both use the same cores, and
what either takes of them is said. A first token's time is from the request's first byte to the first chunk with text,
at an idle server, streaming, over one connection; it is compared with a prefill of the same prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from aha import runtime
from aha.engines.native.engine import NativeEngine
from aha.models.loading import Loaded, load
from aha.serving.prompt import ChatForm, tokens_of
from aha.types import Prompt, Sampling
from peers.questions import countdown
from results import cores, machine

READY_S, ANSWER_S = 120.0, 600.0
MAX_TOKENS = 256
PREFILLS = 20  # of which the median counts


@dataclass(frozen=True, slots=True)
class Question:
    """A chat and the ids that it becomes."""

    messages: list[dict[str, str]]
    ids: tuple[int, ...]
    seed: int


def main() -> None:
    """Measure and print."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="tiny")
    made.add_argument("--threads", type=int, default=cores())
    made.add_argument("--slots", type=int, default=64, help="concurrent requests, and rows that run together")
    made.add_argument("--requests", type=int, default=512)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--engines", type=int, default=0, help="of the server; 0: as it chooses")
    made.add_argument("--json", action="store_true")
    made.add_argument("--quick", action="store_true", help="a few requests: shows that it runs")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.requests, arguments.repeats = arguments.slots, 1
    where = machine()
    figures = measure(arguments)
    if arguments.json:
        print(json.dumps({"benchmark": "serve", "quick": arguments.quick, "machine": where, "figures": figures}))
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:,.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    print(", ".join(f"{name} {value}" for name, value in where.items()))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures by name."""
    chosen = runtime.choose("cpu", "auto", arguments.threads)
    runtime.apply(chosen)
    loaded = load(arguments.model)
    asked = questions(loaded, arguments.requests)
    longer = lengthened(loaded, asked[0], loaded.context // 2)
    engine = NativeEngine(loaded.fresh_copy(), loaded.eos_ids, slots=arguments.slots, context=loaded.context)
    engine.generate([Prompt(q.ids, 1, q.seed) for q in asked[: arguments.slots]], Sampling(16))  # warms up
    prefills = {name: prefill_s(engine, q) for name, q in (("short", asked[0]), ("long", longer))}
    with server(arguments) as (running, port):
        asyncio.run(crowd(port, asked[: arguments.slots], arguments.slots, stream=False))  # warms up
        turns = [turn(engine, running, port, asked, arguments.slots) for _ in range(arguments.repeats)]
        figures: dict[str, Any] = {name: statistics.median(found[name] for found in turns) for name in turns[0]}
        figures |= {name: all(found[name] for found in turns) for name in turns[0] if name.startswith("tokens as")}
        for name, question in (("short", asked[0]), ("long", longer)):
            first = statistics.median(asyncio.run(firsts(port, question)))
            figures[f"prompt tokens, {name}"] = len(question.ids)
            figures[f"first token ms, {name}"] = 1000 * first
            figures[f"prefill ms, {name}"] = 1000 * prefills[name]
            figures[f"first token / prefill, {name}"] = first / prefills[name]
    return figures


def turn(
    engine: NativeEngine, running: psutil.Process, port: int, asked: Sequence[Question], slots: int
) -> dict[str, float]:
    """The engine offline and then the server, with whole answers and with streams."""
    figures: dict[str, float] = {}
    for name, stream in (("whole", False), ("streaming", True)):
        rate, drawn = offline(engine, asked)
        before = cpu_s(running)
        rate_s, tokens = asyncio.run(crowd(port, asked, slots, stream=stream))
        server_s, clients_s = (now - then for now, then in zip(cpu_s(running), before, strict=True))
        seconds = tokens / rate_s
        figures["offline tokens/s"] = rate
        figures[f"server tokens/s, {name}"] = rate_s
        figures[f"share of offline, {name}"] = rate_s / rate
        figures[f"tokens as offline, {name}"] = tokens == drawn
        figures[f"cores of the server, {name}"] = server_s / seconds
        figures[f"cores of the clients, {name}"] = clients_s / seconds
    return figures


def cpu_s(running: psutil.Process) -> tuple[float, float]:
    """Seconds of CPU that the server's processes have used, and those of this one."""
    every = [running, *running.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in every), time.process_time()


def questions(loaded: Loaded, count: int) -> list[Question]:
    """Problems of countdown, as chats."""
    form, found = ChatForm(loaded.tokenizer), []
    for index in range(count):
        messages = [{"role": m.role, "content": m.content} for m in countdown().problem("train", index).messages]
        found.append(Question(messages, tuple(tokens_of(form, form.prompt(messages).text)), index))
    return found


def lengthened(loaded: Loaded, question: Question, tokens: int) -> Question:
    """The same question again and again, in one turn."""
    form, content = ChatForm(loaded.tokenizer), question.messages[0]["content"]
    times = max(1, tokens // len(question.ids))
    messages = [{"role": "user", "content": " ".join([content] * times)}]
    return Question(messages, tuple(tokens_of(form, form.prompt(messages).text)), 0)


def offline(engine: NativeEngine, asked: Sequence[Question]) -> tuple[float, int]:
    """Tokens a second of `generate`, and how many there were."""
    prompts = [Prompt(q.ids, 1, q.seed) for q in asked]
    begun = time.perf_counter()
    drawn = sum(len(c.ids) for [c] in engine.generate(prompts, Sampling(MAX_TOKENS)))
    return drawn / (time.perf_counter() - begun), drawn


def prefill_s(engine: NativeEngine, question: Question) -> float:
    """Seconds from a prompt to its first token."""
    taken = []
    for _ in range(PREFILLS):
        begun = time.perf_counter()
        engine.generate([Prompt(question.ids, 1, 0)], Sampling(1))
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


@contextmanager
def server(arguments: argparse.Namespace) -> Iterator[tuple[psutil.Process, int]]:
    """`aha serve` in a process of its own; gives it and its port."""
    command = [sys.executable, "-m", "aha", "serve", arguments.model, "--port", "0", "--device", "cpu"]
    command += ["--threads", str(arguments.threads), "--slots", str(arguments.slots)]
    command += ["--engines", str(arguments.engines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            said = running.stdout.readline() if select.select([running.stdout], [], [], READY_S)[0] else ""
            found = re.search(r"at http://[^:]+:(\d+)/", said)
            assert found is not None, "the server did not start"
            yield psutil.Process(running.pid), int(found[1])
        finally:
            running.terminate()
            running.wait(READY_S)


def body_of(question: Question, stream: bool, max_tokens: int = MAX_TOKENS) -> bytes:
    """A request that draws what `generate` does."""
    body: dict[str, Any] = {"messages": question.messages, "seed": question.seed, "sample_index": 0}
    body |= {"max_tokens": max_tokens, "temperature": 1, "top_p": 1}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    return f"{head}{len(content)}\r\n\r\n".encode() + content


class Client:
    """One connection, with as little of HTTP as it takes: the clients are not to be what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> tuple[bytes, float]:
        """The whole answer, and the seconds until the first chunk with text."""
        begun, first = time.perf_counter(), 0.0
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None:
            return await self._reader.readexactly(int(length[1])), time.perf_counter() - begun
        parts = []
        while size := int((await self._reader.readuntil(b"\r\n"))[:-2], 16):
            parts.append((await self._reader.readexactly(size + 2))[:-2])
            if not first and (b'"reasoning"' in parts[-1] or b'"finish_reason":"' in parts[-1]):
                first = time.perf_counter() - begun
        await self._reader.readexactly(2)
        return b"".join(parts), first


async def crowd(port: int, asked: Sequence[Question], clients: int, *, stream: bool) -> tuple[float, int]:
    """Tokens a second and tokens, of `clients` that each ask again as soon as they are answered."""
    waiting, drawn = list(asked), 0

    async def one() -> None:
        nonlocal drawn
        client = Client(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))
        while waiting:
            answer, _ = await client.ask(body_of(waiting.pop(0), stream))
            drawn += int(re.findall(rb'"completion_tokens":(\d+)', answer)[-1])

    begun = time.perf_counter()
    async with asyncio.timeout(ANSWER_S):
        await asyncio.gather(*(one() for _ in range(clients)))
    return drawn / (time.perf_counter() - begun), drawn


async def firsts(port: int, question: Question) -> list[float]:
    """Seconds to the first token, one request after the other."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))
    async with asyncio.timeout(ANSWER_S):
        return [(await client.ask(body_of(question, True, 2)))[1] for _ in range(PREFILLS)]


if __name__ == "__main__":
    main()
