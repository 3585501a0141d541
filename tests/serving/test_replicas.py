"""Several engines in processes: answers as from one, and what happens when a process or a client goes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving_models import SECONDS, Served, serve_model

from aha.errors import UserError
from aha.serving import replicas
from aha.serving.engines import Wanted
from aha.serving.loop import STOPPED
from aha.serving.replicas import Replicas
from aha.serving.wire import frame

httpx = pytest.importorskip("httpx2")

TALK = [{"role": "user", "content": "Using each of 7, 2, 10 once and + - *, make 27."}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ASKED: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": TALK, "max_tokens": 60, "n": 3, "temperature": 1, "logprobs": True, "top_logprobs": 3}),
    (CHAT, {"messages": TALK, "max_tokens": 60, "temperature": 0}),
    (CHAT, {"messages": TALK, "max_tokens": 80, "thinking_token_budget": 5, "stop": ["1"]}),
    (CHAT, {"messages": TALK, "max_tokens": 40, "logit_bias": {"259": 3}, "presence_penalty": 1, "min_p": 0.01}),
    (TEXT, {"prompt": ["2+2=", "3*3"], "max_tokens": 12, "echo": True, "logprobs": 2, "top_k": 20}),
    (TEXT, {"prompt": "2+2=", "max_tokens": 0, "echo": True, "logprobs": 1}),
    ("/v1/responses", {"input": "2+2?", "max_output_tokens": 30, "temperature": 1}),
]
GUIDED = (CHAT, {"messages": TALK, "max_tokens": 90, "thinking_token_budget": 4, "response_format": {
    "type": "json_schema", "json_schema": {"schema": SCHEMA},
}})  # fmt: skip
CALLING = (CHAT, {"messages": TALK, "max_tokens": 120, "thinking_token_budget": 4, "tool_choice": "required",
    "parallel_tool_calls": False, "tools": [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}],
})  # fmt: skip
WANTED = Wanted("float32", 1, 4, 2**24)
LONG = {"messages": TALK, "max_tokens": 900, "ignore_eos": True, "thinking_token_budget": 10**6, "stream": True}


@pytest.fixture(scope="module")
def several() -> Iterator[Served]:
    served = serve_model(engines=2, slots=8)
    yield served
    served.stop()


def tell_all(loop: Any, number: signal.Signals) -> None:
    """Stop the engines' processes, or let them go on: nothing ends in between."""
    for replica in loop._all:
        if not replica.over:
            os.kill(replica.process.pid, number)


def answers(served: Served, asked: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What comes of requests that are made at once."""

    def ask(given: tuple[str, dict[str, Any]]) -> Any:
        body = {**given[1], "seed": 5, "sample_index": 0}
        answer = httpx.post(served.url + given[0], json=body, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        return plain(answer.json())

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(ask, asked))


def plain(value: Any) -> Any:
    """An answer without names and times, its numbers rounded."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("id", "created", "created_at", "model")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def test_the_same_answers_as_from_one_engine(tiny_server: Served, several: Served) -> None:
    assert answers(several, ASKED * 2) == answers(tiny_server, ASKED) * 2


def test_grammars_hold(tiny_server: Served, several: Served) -> None:
    pytest.importorskip("llguidance")
    found = answers(several, [GUIDED] * 3)
    assert found == answers(tiny_server, [GUIDED]) * 3
    assert set(json.loads(found[0]["choices"][0]["message"]["content"])) == {"a"}


def test_tools_that_have_to_be_called(tiny_server: Served, several: Served) -> None:
    pytest.importorskip("llguidance")
    [found] = answers(several, [CALLING])
    [call] = found["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "add" and set(json.loads(call["function"]["arguments"])) == {"a"}
    assert found == answers(tiny_server, [CALLING])[0]


def test_streams_and_clients_that_hang_up(several: Served) -> None:
    loop: Any = several.service.loop
    body = {"messages": TALK, "max_tokens": 60, "seed": 5, "sample_index": 0, "temperature": 1}
    with httpx.Client(base_url=several.url, timeout=SECONDS) as http:
        whole = http.post(CHAT, json=body).json()["choices"][0]["message"]
        lines = http.post(CHAT, json={**body, "stream": True}).text.splitlines()
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
        assert "".join(delta.get("content", "") for delta in deltas) == (whole["content"] or "")
        assert "".join(delta.get("reasoning", "") for delta in deltas) == whole["reasoning"]
        tell_all(loop, signal.SIGSTOP)
        with (
            http.stream("POST", CHAT, json=LONG),
            http.stream("POST", CHAT, json={**LONG, "n": 3}),
            http.stream("POST", CHAT, json={**LONG, "n": 2}),
        ):
            assert [replica.samples for replica in loop._all] == [3, 3], "each went where there were fewest"
            tell_all(loop, signal.SIGCONT)
        assert several.rests(), "what nobody reads is taken back"
        assert [replica.samples for replica in loop._all] == [0, 0] and loop.usage == 0
        assert "aha_num_requests_running 0" in http.get("/metrics").text.splitlines()


def test_what_cannot_run_is_refused_by_the_server_itself(several: Served) -> None:
    answer = httpx.post(several.url + CHAT, json={"messages": TALK, "n": 9}, timeout=SECONDS)
    assert answer.status_code == 400 and "8 slots" in answer.json()["error"]["message"]


def healthy(http: Any, status: str) -> Any:
    """What /health says, as soon as it says `status`."""
    until = time.monotonic() + SECONDS
    while (found := http.get("/health")).json()["status"] != status and time.monotonic() < until:
        time.sleep(0.05)
    return found


def kill_what_runs(loop: Any, http: Any) -> str:
    """Kill the process that runs a stream; what the client is told."""
    with http.stream("POST", CHAT, json={**LONG, "n": 2}) as stream:
        [replica] = [replica for replica in loop._all if replica.works]
        os.kill(replica.process.pid, signal.SIGKILL)
        last = [line for line in stream.iter_lines() if line][-1]
    return str(json.loads(last.removeprefix("data: "))["error"]["message"])


def test_a_process_that_is_killed_fails_what_it_ran(several: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one serves, and another takes its place; not in the place of one that could not load the model. Comes
    last: the server is not of use after it."""
    loop: Any = several.service.loop
    first = list(loop._all)
    body = {"messages": TALK, "max_tokens": 4}
    with httpx.Client(base_url=several.url, timeout=SECONDS) as http:
        assert http.get("/health").json() == {"status": "ok"}
        tell_all(loop, signal.SIGSTOP)
        assert kill_what_runs(loop, http) == "the answer could not be made: an engine's process has ended"
        tell_all(loop, signal.SIGCONT)
        found = http.get("/health")
        assert (found.status_code, found.json()["status"]) == (200, "1 of 2 engines serve")
        assert http.post(CHAT, json=body).status_code == 200
        assert healthy(http, "ok").status_code == 200
        assert answers(several, [(CHAT, body)] * 4) and several.rests()
        assert "aha_engine_failures 1" in http.get("/metrics").text.splitlines()
        monkeypatch.setattr(replicas, "_started", lambda fd, threads: subprocess.Popen(["false"]))
        for left in ("1 of 2 engines serve", STOPPED):
            kill_what_runs(loop, http)
            assert healthy(http, left).json()["status"] == left
        assert http.get("/health").status_code == 503
        found = http.post(CHAT, json=body)
        assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_stopped")
    several.stop()
    assert all(each.process.poll() is not None for each in [*first, *loop._all]), "all have ended"


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Replicas]:
    loop = Replicas(1, str(tmp_path), "auto", WANTED)
    yield loop
    loop.stop()


def test_a_model_that_cannot_be_loaded_is_one_sentence(broken: Replicas, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        broken.meet()
    broken.stop()
    assert all(each.process.poll() is not None for each in broken._all)
    assert "Traceback" not in capfd.readouterr().err


def test_a_process_that_ends_too_soon_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "_started", lambda fd, threads: subprocess.Popen(["false"]))
    loop = Replicas(1, "tiny", "auto", WANTED)
    with pytest.raises(UserError, match="has ended with status 1 while it loaded the model"):
        loop.meet()
    loop.stop()


def test_a_process_that_is_never_ready_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "READY_S", 0.2)
    monkeypatch.setattr(replicas, "_started", lambda fd, threads: subprocess.Popen(["sleep", "1000"], pass_fds=(fd,)))
    loop = Replicas(1, "tiny", "auto", WANTED)
    with pytest.raises(UserError, match=r"not loaded the model in 0.2 s"):
        loop.meet()
    loop.stop(0.1)
    assert loop._all[0].process.poll() == -signal.SIGKILL


START = """
import socket, subprocess, sys, time
ours, theirs = socket.socketpair()
command = [sys.executable, "-m", "aha.serving.replica", str(theirs.fileno())]
print(subprocess.Popen(command, pass_fds=(theirs.fileno(),)).pid, flush=True)
theirs.close()
time.sleep(1000)
"""


def test_the_processes_end_where_the_server_is_killed() -> None:
    """Which has no time to say so. They may be at anything: at their imports, here."""
    with subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        left = psutil.Process(int(server.stdout.readline()))
        server.kill()
    assert not psutil.wait_procs([left], timeout=SECONDS)[1]


HANG = """
import sys, time
from types import SimpleNamespace
from aha.serving import replica
class Stuck:
    facts, driver = None, SimpleNamespace(run=lambda: time.sleep(1000), stop=lambda: None)
replica.GRACE_S, replica.loaded, replica.Worker = 0.1, str, lambda link, given: Stuck()
replica.main(int(sys.argv[1]))
"""


def test_a_process_that_hangs_ends_with_the_server() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        hanging = subprocess.Popen([sys.executable, "-c", HANG, str(theirs.fileno())], pass_fds=(theirs.fileno(),))
    ours.settimeout(SECONDS)
    ours.sendall(frame({}))
    assert ours.recv(100) == frame("None")  # type: ignore[arg-type]  # it serves
    ours.close()
    assert hanging.wait(SECONDS) == 1
