"""A minute of clients of all kinds at once, and a fuzzer: whoever behaves is served, and nothing breaks."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from serving_models import Served, process

SECONDS, CLIENTS = float(os.environ.get("AHA_STORM_S", "60")), 200
KINDS = ["good"] * 12 + ["hangs up", "hangs up", "stalls", "sends garbage", "never asks"]
GARBAGE = [
    b"\x00\xff" * 50,
    b"GET / HTTP/x\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n",
]


def request(seed: int, tokens: int) -> bytes:
    body = {"messages": [{"role": "user", "content": "Make 27 of 7, 2, 10."}], "seed": seed, "sample_index": 0}
    content = json.dumps({**body, "max_tokens": tokens, "stream": True}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def client(port: int, kind: str, seed: int, chance: random.Random, until: float) -> tuple[str, bool, bytes]:
    """One visit: its kind, whether it was served as it should, and what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    answer = b""
    try:
        if kind == "sends garbage":
            writer.write(chance.choice(GARBAGE))
            answer = await asyncio.wait_for(reader.read(100), 30)
            return kind, not answer or answer.split(b" ")[1][:1] == b"4", answer
        if kind == "never asks":
            writer.write(request(seed, 40)[: chance.randrange(200)])
            await asyncio.sleep(chance.uniform(1, 4))
            return kind, True, b""
        writer.write(request(seed, 300 if kind == "stalls" else 60))
        if kind == "good":
            answer = await asyncio.wait_for(reader.read(-1), 120)
            return kind, answer.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in answer, answer
        answer = await asyncio.wait_for(reader.read(300), 120)
        if kind == "stalls":
            await asyncio.sleep(min(8.0, max(0.0, until - time.monotonic())))
        return kind, answer.startswith(b"HTTP/1.1 200"), answer
    finally:
        writer.transport.abort()


async def storm(port: int) -> tuple[Counter[tuple[str, bool]], dict[int, set[str]]]:
    """Visits by kind and success, and what well-behaved ones were told, by seed."""
    until, counts, told = time.monotonic() + SECONDS, Counter[tuple[str, bool]](), dict[int, set[str]]()

    async def visitor(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < until:
            kind, seed = chance.choice(KINDS), chance.randrange(20)
            kind, served, answer = await client(port, kind, seed, chance, until)
            counts[kind, served] += 1
            if kind == "good" and served:
                chunks = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith(b"data: {")]
                deltas = [c["delta"] for chunk in chunks for c in chunk["choices"]]
                text = "".join(
                    (d.get("reasoning") or "") + "|" * ("content" in d) + (d.get("content") or "") for d in deltas
                )
                told.setdefault(seed, set()).add(text.replace("|", ""))

    await asyncio.gather(*(visitor(number) for number in range(CLIENTS)))
    return counts, told


@pytest.mark.slow
@pytest.mark.parametrize("engines", ["1", "2"])
def test_a_storm_of_clients(engines: str) -> None:
    with process("--queue", "400", "--stall", "5", "--engines", engines) as (running, url):
        counts, told = asyncio.run(storm(int(url.rpartition(":")[2])))
        print(dict(counts))
        assert counts["good", True] > 20 and not [kind for kind, served in counts if not served]
        assert all(len(texts) == 1 for texts in told.values()), "a seed's answer is the same in any crowd"
        httpx = pytest.importorskip("httpx2")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
            if {"aha_num_requests_running 0", "aha_num_requests_waiting 0"} <= set(lines):
                break
            time.sleep(0.5)
        assert "aha_num_requests_running 0" in lines and "aha_num_requests_waiting 0" in lines
        assert running.poll() is None


@pytest.mark.slow
def test_a_fuzzer_finds_no_server_error(tiny_server: Served) -> None:
    """schemathesis against the server's own description. AHA_SCHEMATHESIS names the program where it is elsewhere."""
    beside = Path(sys.executable).with_name("schemathesis")
    program = os.environ.get("AHA_SCHEMATHESIS") or (str(beside) if beside.exists() else shutil.which("schemathesis"))
    if program is None:
        pytest.skip("schemathesis is not installed")
    command = [program, "run", f"{tiny_server.url}/openapi.json", "--checks", "not_a_server_error"]
    command += ["--max-examples", "100", "--max-time", "120", "--no-color"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert tiny_server.rests()
