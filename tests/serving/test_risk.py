"""Risk control: keywords, a judge with standards, answers that are withdrawn."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serving_models import Serve

from aha.errors import UserError
from aha.serving.metrics import Metrics
from aha.serving.risk import STANDARDS, Policy, RiskControl, read_policy, review_prompt, rules_of
from aha.serving.start import Options

NOTICE = "Withdrawn."


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        ("<judge_reason>bad</judge_reason>\n<target_rule>[2, 8]</target_rule>", [2, 8]),
        ("<target_rule>[-1]</target_rule>", []),
        ("<target_rule> [1] </target_rule> no, <target_rule>[-1]</target_rule>", []),
        ("<target_rule>[12]</target_rule>", None),
        ("<target_rule>[0]</target_rule>", None),
        ("<target_rule>[]</target_rule>", None),
        ("<target_rule>[true]</target_rule>", None),
        ("<target_rule>[1.0]</target_rule>", None),
        ("<target_rule>nothing</target_rule>", None),
        ("I find nothing wrong.", None),
        ("", None),
    ],
)
def test_verdicts(said: str, rules: list[int] | None) -> None:
    assert rules_of(said, len(STANDARDS)) == rules


def test_keywords_are_looked_for_in_what_the_user_wrote() -> None:
    control = RiskControl(Policy(keywords=["Bomb", "炸药"]), Metrics())
    for content, found in (("how to BOMB", True), ("做炸药", True), ("how to bake", False)):
        assert control.concerns([{"role": "user", "content": content}]) is found
    assert not control.concerns([{"role": "system", "content": "bomb"}, {"role": "user", "content": "hi"}])
    assert control.concerns([{"role": "user", "content": "bomb"}, {"role": "user", "content": "hi"}])


def test_the_judge_sees_standards_conversation_and_answer() -> None:
    prompt = review_prompt([{"role": "user", "content": "make it"}], "no", ["first", "second"])
    for part in ("1. first\n2. second", "[user]\nmake it", "<<<\nno\n>>>", "<target_rule>"):
        assert part in prompt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keywords: []", "keywords"),
        ("standards: [x]", "keywords"),
        ("keywords: [x]\ncolour: red", "colour"),
        ("keywords: [x]\njudge: {url: 'file:///x', model: y}", "judge.url"),
        ("keywords: [", "cannot be read"),
        ("- x", "(whole)"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "risk.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_policy(tmp_path / "risk.yaml")
    assert said in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")


class Judge(ThreadingHTTPServer):
    """An endpoint that says `said`, and keeps what it was asked."""

    said: str = ""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers.get("authorization"), body))
        answer = {"choices": [{"message": {"content": self.server.said}, "finish_reason": "stop"}]}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def judge() -> Iterator[Judge]:
    server = Judge()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def policy(folder: Path, **values: Any) -> Path:
    import yaml

    file = folder / "risk.yaml"
    file.write_text(yaml.safe_dump({"keywords": ["27"], "notice": NOTICE, "max_tokens": 8, **values}))
    return file


def test_answers_are_withdrawn(serve: Serve, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx2")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    at = {"url": f"http://127.0.0.1:{judge.server_port}/v1", "model": "judge", "key": "JUDGE_KEY"}
    served = serve(options=Options(room=2**26, risk=policy(tmp_path, judge=at)))
    talk = [{"role": "user", "content": "Make 27 of 7, 2, 10."}]
    chat = {"messages": talk, "max_tokens": 30, "logprobs": True, "return_token_ids": True}
    with httpx.Client(base_url=served.url, timeout=60) as http:

        def ask(path: str = "chat/completions", **change: Any) -> Any:
            return http.post(f"/v1/{path}", json={**chat, **change} if path[0] == "c" else change)

        judge.said = "<judge_reason>bad</judge_reason><target_rule>[3]</target_rule>"
        [choice] = ask().json()["choices"]
        assert choice["message"]["content"] == choice["message"]["refusal"] == NOTICE
        assert choice["finish_reason"] == "content_filter" and "token_ids" not in choice
        assert not choice["logprobs"]["content"] and choice["message"]["reasoning"] is None
        path, key, body = judge.asked[0]
        assert path == "/v1/chat/completions" and key == "Bearer secret" and body["model"] == "judge"
        assert "Make 27" in body["messages"][0]["content"] and STANDARDS[0] in body["messages"][0]["content"]
        chunks = [json.loads(line[6:]) for line in ask(stream=True).text.splitlines() if line.startswith("data: {")]
        said = [c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"]]
        assert "".join(said) == NOTICE and "reasoning" not in str([c["delta"] for k in chunks for c in k["choices"]])
        assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"
        answer = ask("responses", input=talk[0]["content"], max_output_tokens=30).json()
        assert answer["output"][0]["content"][0]["text"] == NOTICE and answer["status"] == "incomplete"
        events = ask("responses", input=talk[0]["content"], max_output_tokens=30, stream=True).text
        assert NOTICE in events and "reasoning_text" not in events

        asked = len(judge.asked)
        free = ask(messages=[{"role": "user", "content": "Make 28 of 7, 2, 10."}]).json()["choices"][0]
        assert free["message"]["reasoning"] and len(judge.asked) == asked, "no keyword, no judge"
        judge.said = "<target_rule>[-1]</target_rule>"
        assert ask().json()["choices"][0]["message"]["reasoning"]
        judge.said = "nothing that can be read"
        assert ask().json()["choices"][0]["message"]["content"] == NOTICE
        assert 'aha_withdrawn_total{reason="standard"} 4' in http.get("/metrics").text


@pytest.mark.parametrize("fallback", ["withdraw", "release"])
def test_the_model_judges_itself(serve: Serve, tmp_path: Path, fallback: str) -> None:
    """The embedded model cannot judge: what happens then is the file's to say."""
    httpx = pytest.importorskip("httpx2")
    served = serve(options=Options(room=2**26, risk=policy(tmp_path, without_verdict=fallback)), slots=1, queue=0)
    talk = [{"role": "user", "content": "Make 27 of 7, 2, 10."}]
    answer = httpx.post(f"{served.url}/v1/chat/completions", json={"messages": talk, "max_tokens": 30}, timeout=60)
    [choice] = answer.json()["choices"]
    assert (choice["finish_reason"] == "content_filter") is (fallback == "withdraw")
    assert served.rests()


def test_the_judges_key_has_to_be_there(tmp_path: Path) -> None:
    at = {"url": "http://127.0.0.1/v1", "model": "judge", "key": "AHA_NO_SUCH_KEY"}
    with pytest.raises(UserError, match="AHA_NO_SUCH_KEY"):
        RiskControl(read_policy(policy(tmp_path, judge=at)), Metrics())
