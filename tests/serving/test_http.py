"""Over the wire: errors, keys, limits, and clients that hang up, stall or send garbage."""

from __future__ import annotations

import json
import socket
import time
from functools import partial
from typing import Any

import pytest
from serving_models import Serve, Served

from aha.serving.start import Options

httpx = pytest.importorskip("httpx2")

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Make 27 of 7, 2, 10."}], "max_tokens": 8}
LONG = {**CHAT, "max_tokens": 900, "ignore_eos": True, "thinking_token_budget": 10**6}


@pytest.fixture(scope="module")
def http(tiny_server: Served) -> Any:
    with httpx.Client(base_url=tiny_server.url, timeout=60) as client:
        yield client


def post(http: Any, path: str, body: Any) -> Any:
    """One POST whose JSON may hold whatever Python's strings may."""
    return http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def refused(answer: Any, status: int, part: str, param: str | None = None, code: str | None = None) -> None:
    """An error of OpenAI's shape."""
    error = answer.json()["error"]
    assert answer.status_code == status and set(error) == {"message", "type", "param", "code"}, answer.text
    assert part in error["message"] and "\n" not in error["message"]
    assert (error["param"], error["code"]) == (param or error["param"], code or error["code"])


@pytest.mark.parametrize(
    ("path", "change", "part", "param"),
    [
        ("chat/completions", {"max_token": 3}, "did you mean 'max_tokens'", "max_token"),
        ("chat/completions", {"guided_json": {}}, "use response_format", "guided_json"),
        ("chat/completions", {"functions": []}, "use tools", "functions"),
        ("chat/completions", {"chat_template": "{{ 1 }}"}, "templates come from the model", "chat_template"),
        ("chat/completions", {"chat_template_kwargs": {"chat_template": "x"}}, "reads no", "chat_template_kwargs"),
        ("chat/completions", {"messages": []}, "at least 1 item", "messages"),
        ("chat/completions", {"messages": [{"role": "pope", "content": "x"}]}, "role", None),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "only text",
            "messages",
        ),
        ("chat/completions", {"temperature": -1}, "temperature", "temperature"),
        ("chat/completions", {"top_p": 0}, "top_p", "top_p"),
        ("chat/completions", {"n": 17}, "17 samples", None),
        ("chat/completions", {"n": 0}, "n", "n"),
        ("chat/completions", {"seed": 2**64}, "seed", "seed"),
        ("chat/completions", {"stop": [""]}, "stop", None),
        ("chat/completions", {"stop": ["a"] * 17}, "stop", None),
        ("chat/completions", {"top_logprobs": 3}, "needs logprobs", "top_logprobs"),
        ("chat/completions", {"logit_bias": {"9999": 1}}, "logit_bias", "logit_bias"),
        ("chat/completions", {"logit_bias": {"x": 1}}, "logit_bias", "logit_bias"),
        ("chat/completions", {"stop_token_ids": [9999]}, "token 9999", "stop_token_ids"),
        ("chat/completions", {"reasoning_effort": "utmost"}, "reasoning_effort", "reasoning_effort"),
        ("chat/completions", {"tool_choice": "required"}, "no tools", "tool_choice"),
        ("chat/completions", {"continue_final_message": True}, "assistant", "continue_final_message"),
        ("chat/completions", {"max_tokens": 1100}, "context is 1024", "messages"),
        ("chat/completions", {"response_format": {"type": "json_schema"}}, "response_format", "response_format"),
        ("chat/completions", {"modalities": ["audio"]}, "modalities", None),
        ("completions", {"prompt": []}, "prompt", None),
        ("completions", {"prompt": ""}, "empty prompt", "prompt"),
        ("completions", {"prompt": [[]]}, "prompt", None),
        ("completions", {"prompt": [70000]}, "token 70000", "prompt"),
        ("completions", {"prompt": "x", "suffix": "y"}, "suffix", "suffix"),
        ("completions", {"prompt": "x", "max_tokens": 0}, "echo", None),
        ("completions", {"prompt": "x", "max_tokens": 2000}, "context", "prompt"),
        ("completions", {"prompt": "\ud800"}, "surrogates", None),
        ("responses", {"input": "x", "previous_response_id": "resp_1"}, "stored", "previous_response_id"),
        ("responses", {"input": [{"type": "image_generation_call"}]}, "image_generation_call", "input"),
        ("responses", {"input": "x", "tools": [{"type": "web_search"}]}, "web_search", "tools"),
        ("responses", {"input": "x", "include": ["web_search_call.results"]}, "include", "include"),
        ("responses", {"input": "x", "n": 2}, "one answer", "n"),
        ("responses", {"input": [{"role": "pope", "content": "x"}]}, "role", None),
    ],
)
def test_what_cannot_be_served_is_said(
    http: Any, path: str, change: dict[str, Any], part: str, param: str | None
) -> None:
    base = CHAT if path.startswith("chat") else {"model": "tiny"}
    refused(post(http, f"/v1/{path}", {**base, **change}), 400, part, param)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "body"),
        (b"{", "JSON"),
        (b"[]", "JSON object"),
        (b"null", "body"),
        (b'{"messages": NaN}', ""),
        (b'{"model": "tiny", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}', "temperature"),
        (b"[" * 100_000, ""),
        (b'{"seed": ' + b"9" * 5000 + b"}", ""),
        (b"\xff\xfe", ""),
        (b'{"a": "' + b"x" * 1000 + b'"}', "field"),
    ],
)
def test_garbage_is_refused(http: Any, content: bytes, part: str) -> None:
    headers = {"content-type": "application/json"}
    refused(http.post("/v1/chat/completions", content=content, headers=headers), 400, part)


def test_the_kind_of_a_body_is_asked_for(http: Any) -> None:
    refused(http.post("/v1/chat/completions", content=json.dumps(CHAT)), 400, "application/json")


def test_a_request_that_leaves_nothing_to_draw(http: Any) -> None:
    asked = {**CHAT, "allowed_token_ids": [0], "stop_token_ids": [0], "min_tokens": 2}
    refused(post(http, "/v1/chat/completions", asked), 400, "no token to be drawn")


def test_other_paths_and_models(http: Any) -> None:
    refused(http.get("/v1/nothing"), 404, "/v1/nothing")
    refused(http.get("/v1/chat/completions"), 405, "GET")
    refused(http.post("/v1/chat/completions", json={**CHAT, "model": "gpt"}), 404, "'gpt'", "model", "model_not_found")
    refused(http.get("/v1/models/gpt"), 404, "'gpt'", code="model_not_found")
    assert http.get("/").status_code == 200 and "/v1" in http.get("/").text
    assert http.get("/version").json()["version"]
    assert "/v1/chat/completions" in http.get("/openapi.json").json()["paths"]


def test_halves_of_characters_go_no_further(http: Any) -> None:
    talk = [{"role": "user", "content": "a\ud800"}]
    refused(post(http, "/v1/chat/completions", {**CHAT, "messages": talk}), 400, "surrogates")
    refused(post(http, "/v1/chat/completions", {**CHAT, "\ud800": 1}), 400, "")


def test_health_and_metrics(http: Any) -> None:
    http.post("/v1/chat/completions", json=CHAT)
    assert http.get("/health").json() == {"status": "ok"} == http.get("/ping").json()
    lines = http.get("/metrics").text.splitlines()
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    assert values['aha_requests_total{path="/v1/chat/completions",status="200"}'] >= 1
    assert values["aha_generation_tokens_total"] >= 8 and values["aha_prompt_tokens_total"] > 8
    assert values["aha_time_to_first_token_seconds_count"] >= 1
    assert values['aha_request_success_total{finished_reason="length"}'] >= 1


def test_keys_are_asked_for(serve: Serve) -> None:
    served = serve(options=Options(room=2**24, keys=("secret", "other")))
    with httpx.Client(base_url=served.url, timeout=60) as http:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}):
            for path in ("/v1/models", "/openapi.json", "/tokenizer_info"):
                refused(http.get(path, headers=headers), 401, "Authorization", code="invalid_api_key")
            refused(http.post("/v1/chat/completions", json=CHAT, headers=headers), 401, "key")
        for value in (b"Bearer ", b"\xff"):
            with raw(served, b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: " + value + b"\r\n\r\n") as sock:
                assert sock.recv(100).startswith(b"HTTP/1.1 401")
        for key in ("secret", "other"):
            headers = {"authorization": f"Bearer {key}"}
            assert http.post("/v1/chat/completions", json=CHAT, headers=headers).status_code == 200
        assert http.get("/health").status_code == http.get("/metrics").status_code == http.get("/").status_code == 200


def test_limits_are_kept_to(serve: Serve) -> None:
    served = serve(slots=2, queue=1, most_body=2000, stall_s=2.0)
    with httpx.Client(base_url=served.url, timeout=60) as http:
        refused(http.post("/v1/chat/completions", json={**CHAT, "user": "x" * 3000}), 413, "2000 bytes")
        refused(http.post("/v1/chat/completions", content=(b"x" * 500 for _ in range(9))), 413, "2000 bytes")
        stream = partial(http.stream, "POST", "/v1/chat/completions")
        with stream(json={**LONG, "n": 2, "stream": True}), stream(json={**LONG, "stream": True}):
            answer = http.post("/v1/chat/completions", json=CHAT)
            refused(answer, 429, "samples run or wait", code="rate_limit_exceeded")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert served.rests(), "streams that were left have freed their slots"
        assert http.post("/v1/chat/completions", json=CHAT).status_code == 200


def raw(served: Served, data: bytes) -> socket.socket:
    """A connection on which `data` was sent."""
    sock = socket.create_connection(served.sock.getsockname(), timeout=60)
    sock.sendall(data)
    return sock


def request(body: dict[str, Any], length: int | None = None, header: str = "accept: */*") -> bytes:
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}{header}\r\ncontent-length: {length or len(content)}\r\n\r\n".encode() + content


def test_clients_that_hang_up_free_their_slots(tiny_server: Served) -> None:
    engine = tiny_server.service.loop.engine
    for stream in (True, False):
        socks = [raw(tiny_server, request({**LONG, "stream": stream})) for _ in range(3)]
        until = time.monotonic() + 60
        while engine.running < 3 and time.monotonic() < until:
            time.sleep(0.01)
        assert engine.running == 3
        for sock in socks:
            sock.close()
        assert tiny_server.rests()


def test_clients_that_stall_are_cut_off(serve: Serve) -> None:
    """One never ends its body, one never ends its head, one (behind a proxy) never reads: the rest is served, and they
    are gone."""
    served = serve(stall_s=1.0, slots=4)
    cut, cuts = served.service.cut, []
    served.service.cut = lambda scope: (cuts.append(scope), cut(scope))[1]
    body = raw(served, request(CHAT, length=1000))
    head = raw(served, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    reader.connect(served.sock.getsockname())
    reader.settimeout(60)
    long = {**LONG, "stream": True, "logprobs": True, "top_logprobs": 20}
    reader.sendall(request(long, header="x-forwarded-for: 192.0.2.1") * 3)
    with httpx.Client(base_url=served.url, timeout=60) as http:
        assert http.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert body.recv(1000).startswith(b"HTTP/1.1 408")
    assert head.recv(1000) == b""

    def left() -> bool:
        connected = [connection.client for connection in list(served.server.server_state.connections)]
        return bool(served.service.gate.inside) or reader.getsockname() in connected

    until = time.monotonic() + 90
    while left() and time.monotonic() < until:
        time.sleep(0.05)
    assert not left() and len(cuts) == 1
    for sock in (body, head, reader):
        sock.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\x03" * 100,
        b"GET\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_harms_nobody(tiny_server: Served, data: bytes) -> None:
    with raw(tiny_server, data) as sock:
        sock.shutdown(socket.SHUT_WR)
        found = sock.recv(100)
    assert found == b"" or found.split(b" ")[1][:1] == b"4"
    assert httpx.get(f"{tiny_server.url}/health").status_code == 200


def test_an_answer_that_takes_too_long(serve: Serve) -> None:
    served = serve(timeout_s=0.05)
    with httpx.Client(base_url=served.url, timeout=60) as http:
        refused(http.post("/v1/chat/completions", json=LONG), 504, "longer than", code="timeout")
        text = http.post("/v1/chat/completions", json={**LONG, "stream": True}).text
        assert json.loads(text.strip().splitlines()[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        assert "[DONE]" not in text and served.rests()


def test_an_engine_that_fails(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run end with an error, later ones are served; one that keeps failing is reported dead."""
    served = serve()
    engine = served.service.loop.engine
    step, left = engine.step, [1]

    def broken() -> Any:
        if left[0]:
            left[0] -= 1
            raise MemoryError("no room")
        return step()

    monkeypatch.setattr(engine, "step", broken)
    with httpx.Client(base_url=served.url, timeout=60) as http:
        refused(http.post("/v1/chat/completions", json=CHAT), 500, "MemoryError")
        assert http.post("/v1/chat/completions", json=CHAT).status_code == 200
        left[0] = 10**6
        for _ in range(3):
            assert http.post("/v1/chat/completions", json=CHAT).status_code in (500, 503)
        until = time.monotonic() + 60
        while http.get("/health").status_code == 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert http.get("/health").status_code == 503
        refused(http.post("/v1/chat/completions", json=CHAT), 503, "engine has stopped")


def test_a_bug_of_ours_is_an_error_in_shape(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve()
    monkeypatch.setattr("aha.serving.chat.ask", lambda *_: 1 / 0)
    refused(httpx.post(f"{served.url}/v1/chat/completions", json=CHAT), 500, "log", code="internal_error")


def test_seeds_can_be_taken_at_their_word(serve: Serve) -> None:
    served = serve(strict_seeds=True, reasoning_fields=("reasoning",))
    asked = {**CHAT, "seed": 7, "temperature": 1.5, "max_tokens": 20, "return_token_ids": True}
    with httpx.Client(base_url=served.url, timeout=60) as http:
        found = [http.post("/v1/chat/completions", json=asked).json()["choices"][0] for _ in range(2)]
    assert found[0]["token_ids"] == found[1]["token_ids"]
    assert "reasoning" in found[0]["message"] and "reasoning_content" not in found[0]["message"]


def test_a_model_that_does_not_think(serve: Serve, tiny: Any) -> None:
    """A random model of bytes: broken characters come the same whole and in parts, and nothing is called thinking."""
    served = serve(str(tiny("qwen2", chat=True)), name="bytes")
    asked = {"messages": CHAT["messages"], "max_tokens": 120, "temperature": 1.3, "seed": 5, "sample_index": 0, "n": 3}
    with httpx.Client(base_url=served.url, timeout=60) as http:
        whole = http.post("/v1/chat/completions", json=asked).json()
        lines = http.post("/v1/chat/completions", json={**asked, "stream": True}).text.splitlines()
        prompt = http.post("/tokenize", json={"messages": CHAT["messages"], "return_token_strs": True}).json()
    assert "".join(prompt["token_strs"]) == "user: Make 27 of 7, 2, 10.\nbot:"
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    for choice in whole["choices"]:
        assert not {"reasoning", "reasoning_content"} & set(choice["message"])
        parts = [
            c["delta"].get("content") or ""
            for chunk in chunks
            for c in chunk["choices"]
            if c["index"] == choice["index"]
        ]
        assert "".join(parts) == choice["message"]["content"] and "\ufffd" in choice["message"]["content"]
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
