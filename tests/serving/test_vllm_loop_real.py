"""`aha serve --engine vllm` with a real vLLM, of the environment that `benchmarks/peers/install.py vllm` makes.

    .venv/bin/pytest -m slow tests/serving/test_vllm_loop_real.py

It takes minutes before the first test: vLLM starts, and on a CPU alone it imports for a minute.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_models import SECONDS, Served, serve_model

from aha.models.loading import resolve
from aha.serving.start import Options
from aha.serving.vllm_meeting import Place

httpx = pytest.importorskip("httpx2")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".peers" / "vllm" / "bin" / "python"
START_S = 3000.0
FLAGS = [
    "--enforce-eager", "--dtype", "float32", "--kv-cache-memory-bytes", str(2**28), "--max-num-seqs", "16",
    "--structured-outputs-config.backend", "guidance", "--host", "127.0.0.1",
]  # fmt: skip
ENVIRONMENT = {
    "TORCHDYNAMO_DISABLE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}  # fmt: skip
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TALK = [{"role": "user", "content": "Using each of 7, 2, 10 once and + - *, make 27."}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON.exists(), reason=f"there is no {PYTHON}")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    # `vllm serve` asks for its version under a name that builds for CPUs do not have
    command = [str(PYTHON), "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", resolve("tiny")]
    command += ["--port", str(port), *FLAGS]
    with log.open("wb") as sink:
        running = subprocess.Popen(
            command, stdout=sink, stderr=sink, env={**os.environ, **ENVIRONMENT}, start_new_session=True
        )
    try:
        until = time.monotonic() + START_S
        while not healthy(f"http://127.0.0.1:{port}/health"):
            assert running.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(1.0)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        try:
            running.wait(SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(SECONDS)


def healthy(url: str) -> bool:
    try:
        return bool(httpx.get(url, timeout=5).status_code == 200)
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def both(url: str) -> Iterator[tuple[Served, Served]]:
    """The same model, drawn by vLLM and by the native engine."""
    servers = [serve_model(options=Options(vllm=Place(url))), serve_model()]
    yield servers[0], servers[1]
    for served in servers:
        served.stop()


def ask(served: Served, path: str, **body: Any) -> Any:
    answer = httpx.post(served.url + path, json=body, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "more",
    [{}, {"thinking_token_budget": 5}, {"stop": ["1"], "thinking_token_budget": 5}, {"logit_bias": {"259": 3}},
     {"repetition_penalty": 1.3}, {"min_tokens": 30}],
)  # fmt: skip
def test_greedy_answers_are_the_native_engines(both: tuple[Served, Served], more: dict[str, Any]) -> None:
    asked = {"messages": TALK, "max_tokens": 60, "temperature": 0, "logprobs": True, "top_logprobs": 2, **more}
    theirs, ours = (ask(served, CHAT, **asked) for served in both)
    assert theirs["usage"] == ours["usage"]
    assert theirs["choices"][0]["message"] == ours["choices"][0]["message"]
    pairs = zip(theirs["choices"][0]["logprobs"]["content"], ours["choices"][0]["logprobs"]["content"], strict=True)
    for there, here in pairs:
        assert there["token"] == here["token"] and math.isclose(there["logprob"], here["logprob"], abs_tol=1e-3)
        assert there["top_logprobs"][0]["token"] == here["top_logprobs"][0]["token"]


def test_scores_of_a_prompt_are_the_native_engines(both: tuple[Served, Served]) -> None:
    asked = {"prompt": "2+2=4 and 3*3=9", "max_tokens": 0, "echo": True, "logprobs": 1}
    theirs, ours = (ask(served, TEXT, **asked)["choices"][0]["logprobs"] for served in both)
    assert theirs["tokens"] == ours["tokens"]
    for there, here in zip(theirs["token_logprobs"][1:], ours["token_logprobs"][1:], strict=True):
        assert math.isclose(there, here, abs_tol=1e-3)


def test_answers_to_a_grammar(both: tuple[Served, Served]) -> None:
    served = both[0]
    thought = {"messages": TALK, "max_tokens": 120, "thinking_token_budget": 4}
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    choice = ask(served, CHAT, **thought, response_format=form)["choices"][0]
    assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["message"]["content"])["a"], int)
    choice = ask(served, CHAT, **thought, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)["choices"][0]
    assert choice["finish_reason"] == "length" or choice["message"]["tool_calls"][0]["function"]["name"] == "add"
    found = ask(served, TEXT, prompt="2+2=", max_tokens=9, structured_outputs={"regex": "[0-9]{3}"})["choices"][0]
    assert found["finish_reason"] == "stop" and len(found["text"]) == 3 and found["text"].isdigit()


def test_samples_differ_and_come_again(both: tuple[Served, Served]) -> None:
    asked = {"prompt": "2+2=", "max_tokens": 12, "temperature": 1, "seed": 5, "sample_index": 0}
    first = [choice["text"] for choice in ask(both[0], TEXT, **asked, n=4)["choices"]]
    assert len(set(first)) > 1
    assert [choice["text"] for choice in ask(both[0], TEXT, **asked, n=4)["choices"]] == first
