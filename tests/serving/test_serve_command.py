"""`aha serve` as a process: its options, curl, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from serving_models import SECONDS, process

httpx = pytest.importorskip("httpx2")
pytest.importorskip("uvicorn")

LONG = {
    "messages": [{"role": "user", "content": "Make 27 of 7, 2, 10."}],
    "max_tokens": 700,
    "ignore_eos": True,
    "thinking_token_budget": 10**6,
    "stream": True,
}


@pytest.mark.slow
@pytest.mark.parametrize("engines", ["1", "2"])
def test_sigterm_finishes_what_runs(engines: str) -> None:
    """Streams under way come to their ends, nobody new is let in, and the process ends well with its engines."""
    with process("--engines", engines) as (running, url), httpx.Client(base_url=url, timeout=SECONDS) as http:
        own = psutil.Process(running.pid).children(recursive=True)
        assert len(own) == (2 if engines == "2" else 0)
        with http.stream("POST", "/v1/chat/completions", json=LONG) as stream:
            lines = stream.iter_lines()
            next(lines)
            running.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{url}/health", timeout=5)
            rest = list(lines)
        assert rest[-1] == "data: [DONE]" or rest[-2] == "data: [DONE]"
        finish = [json.loads(line[6:])["choices"][0]["finish_reason"] for line in rest if line.startswith("data: {")]
        assert finish[-1] == "length"
        assert running.wait(SECONDS) == 0
        assert not psutil.wait_procs(own, timeout=SECONDS)[1]


def read_to_the_end(lines: Iterator[str]) -> list[str]:
    """What still comes, where the other side may break off."""
    found: list[str] = []
    with suppress(httpx.TransportError):
        found.extend(lines)
    return found


@pytest.mark.slow
def test_a_second_signal_does_not_wait() -> None:
    asked = {**LONG, "n": 60, "max_tokens": 900}
    with (
        process("--drain", "100") as (running, url),
        httpx.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=SECONDS) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        for _ in range(2):
            running.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert running.wait(SECONDS) == 0
        assert "data: [DONE]" not in read_to_the_end(lines)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl() -> None:
    with process("--api-key", "a", "--name", "mine", AHA_API_KEY="unused") as (_, url):

        def curl(path: str, *options: str, key: str = "a") -> str:
            command = [
                "curl",
                "-sS",
                "-N",
                "--max-time",
                "60",
                "-H",
                f"Authorization: Bearer {key}",
                *options,
                f"{url}{path}",
            ]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout

        body = json.dumps({"model": "mine", "messages": LONG["messages"], "max_tokens": 20})
        json_type = ("-H", "Content-Type: application/json", "-d")
        answer: Any = json.loads(curl("/v1/chat/completions", *json_type, body))
        assert answer["choices"][0]["message"]["role"] == "assistant"
        streamed = curl("/v1/chat/completions", *json_type, body.replace("{", '{"stream": true, ', 1))
        assert streamed.endswith("data: [DONE]\n\n") and streamed.startswith("data: {")
        assert json.loads(curl("/v1/models"))["data"][0]["id"] == "mine"
        assert json.loads(curl("/v1/models", key="b"))["error"]["code"] == "invalid_api_key"
        assert "application/json" in json.loads(curl("/v1/chat/completions", "-d", body))["error"]["message"]
        assert "aha_requests_total" in curl("/metrics")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--thinking", "maybe"], "--thinking 'maybe'"),
        (["--reasoning-field", "both_of_them"], "--reasoning-field"),
        (["--port", "70000"], "65535"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot listen at 192.0.2.1"),
        (["--risk", "/nowhere.yaml"], "risk file"),
        (["--cache-gib", "0.000001"], "too little for keys and values"),
        (["--template", "none"], "unknown template"),
        (["--engine", "other"], "--engine 'other'"),
        (["--engine-url", "http://127.0.0.1:9"], "add --engine vllm"),
        (["--engine", "vllm", "--engines", "2"], "leave them out"),
        (["--engine", "vllm", "--engine-url", "127.0.0.1:9"], "--engine-url '127.0.0.1:9' is no address"),
        (["--engine", "vllm", "--engine-url", "http://127.0.0.1:9/v1/"], "no vLLM answers at http://127.0.0.1:9 ("),
    ],
)
def test_what_cannot_be_used_is_said(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    from aha.cli import main

    argv, sys.argv = sys.argv, ["aha", "serve", "tiny", "--port", "0", "--threads", "1", *options]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = argv
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
