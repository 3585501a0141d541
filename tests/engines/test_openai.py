"""The client of OpenAI-compatible endpoints, against a real server that behaves and misbehaves."""

from __future__ import annotations

import email.utils
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aha.choices import EndpointChoice
from aha.engines import openai, post
from aha.engines.answers import Answers
from aha.engines.chat_reply import spoken
from aha.engines.openai import Endpoint
from aha.engines.post import Answer
from aha.errors import RunFailed, UserError
from aha.types import Ask, Failed, Message, Reply, Sampling
from stub_endpoint import Answering, Said, Stub, chat

SAMPLING = Sampling(max_tokens=100, temperature=0.5)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "FIRST_WAIT_S", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def asks(*texts: str) -> list[Ask]:
    return [Ask((Message("user", text),)) for text in texts]


def said(
    answering: Answering, questions: Sequence[Ask], tmp_path: Path, **changes: Any
) -> tuple[list[Reply | Failed], Stub, Endpoint]:
    """What comes of asking a server that answers like this."""
    with Stub(answering) as stub:
        endpoint = Endpoint(stub.choice(**changes), Answers(tmp_path / "answers.jsonl"))
        return endpoint(questions, SAMPLING), stub, endpoint


def test_answers_come_in_order_and_at_most_so_many_at_a_time(tmp_path: Path) -> None:
    def slow(body: dict[str, Any], number: int) -> Said:
        return Said(chat(body["messages"][0]["content"].upper()).body, wait_s=0.05 if number % 2 else 0.15)

    questions = asks(*"abcdefgh")
    found, stub, endpoint = said(slow, questions, tmp_path, concurrency=3)
    assert found == [Reply(letter) for letter in "ABCDEFGH"]
    assert 2 <= stub.most_at_a_time <= 3
    assert set(stub.paths) == {"/v1/chat/completions"}
    first = next(body for body in stub.asked if body["messages"][0]["content"] == "a")
    assert first == {
        "model": "stub", "messages": [{"role": "user", "content": "a"}], "max_tokens": 100, "temperature": 0.5,
        "top_p": 1.0,
    }  # fmt: skip
    assert endpoint.answers.usage.requests == 8 and endpoint.answers.usage.retries == 0
    assert (endpoint.answers.usage.tokens_in, endpoint.answers.usage.tokens_out) == (80, 40)


def test_more_fields_and_fewer(tmp_path: Path) -> None:
    extra = {"max_completion_tokens": 7, "max_tokens": None, "temperature": None}
    _, stub, _ = said(lambda *_: chat("x"), asks("a"), tmp_path, extra=extra)
    assert stub.asked[0]["max_completion_tokens"] == 7 and not {"max_tokens", "temperature"} & set(stub.asked[0])


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (chat("4", reasoning_content="2+2"), Reply("4", "2+2")),
        (chat("4", reasoning="2+2"), Reply("4", "2+2")),
        (chat("4", reasoning="2+2", reasoning_content="2+2"), Reply("4", "2+2")),
        (chat("<think>2+2</think>\n4"), Reply("4", "2+2")),
        (chat("2+2</think>4"), Reply("4", "2+2")),
        (chat("<think>2+2", stop="length"), Reply("", "2+2", "length")),
        (chat(None, reasoning_content="2+", stop="length"), Reply("", "2+", "length")),
        (chat("4", stop=None), Reply("4")),
        (chat([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]), Reply("42")),  # type: ignore[arg-type]
        (chat("half \ud800 of a character"), Reply("half ? of a character")),
    ],
)
def test_thinking_is_apart_in_every_dialect(answer: Said, reply: Reply, tmp_path: Path) -> None:
    found, _, endpoint = said(lambda *_: answer, asks("a"), tmp_path)
    assert found == [reply]
    assert endpoint.answers[next(iter(endpoint.answers._places))] == reply, "and survives its file"


BROKEN = [
    Said({"error": {"message": "busy"}}, status=503),
    Said({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"}),
    Said(b"<html>bad gateway</html>", status=502),
    Said({}, status=408),
    Said({}, status=409),
    Said(b"{not json"),
    Said(b""),
    Said({"choices": []}),
    Said({"choices": [{"message": {"content": 3}}]}),
    Said({"choices": [{"message": None}]}),
    Said([1, 2]),
    Said(b"\xff\xfe\xfa"),
    Said(b"[" * 100_000),
    Said({"error": {"message": "upstream", "code": 502}}),
    Said({"choices": []}, cut=True),
]


@pytest.mark.parametrize("first", BROKEN, ids=lambda s: f"{s.status}-{str(s.body)[:20]}")
def test_what_may_pass_is_asked_again(first: Said, tmp_path: Path) -> None:
    found, stub, endpoint = said(lambda _, number: first if number < 2 else chat("4"), asks("a"), tmp_path)
    assert found == [Reply("4")] and len(stub.asked) == 3
    assert (endpoint.answers.usage.requests, endpoint.answers.usage.retries) == (3, 2)


@pytest.mark.parametrize("always", [BROKEN[0], BROKEN[5]], ids=["503", "garbage"])
def test_what_does_not_pass_is_a_failure_of_its_own(always: Said, tmp_path: Path) -> None:
    def one_fails(body: dict[str, Any], _: int) -> Said:
        return always if body["messages"][0]["content"] == "bad" else chat("4")

    found, stub, endpoint = said(one_fails, asks("good", "bad", "also good"), tmp_path, attempts=3)
    assert isinstance(found[1], Failed) and found[0] == found[2] == Reply("4")
    assert stub.texts().count("bad") == 3 and endpoint.answers.usage.requests == 5
    assert stub.url in found[1].reason


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Said({"error": {"message": "too long"}}, status=400), "400 too long"),
        (Said({"error": "too\nlong"}, status=413), "413 too long"),
        (Said({"error": {"message": "your input was flagged"}}, status=403), "403 your input was flagged"),
        (chat(None, refusal="I will not"), "gave no text: I will not"),
        (chat("", stop="content_filter"), "content_filter"),
        (Said(b"x" * (post.MOST_BYTES + 1)), f"more than {post.MOST_BYTES} bytes"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(answer: Said, why: str, tmp_path: Path) -> None:
    found, stub, _ = said(lambda *_: answer, asks("a"), tmp_path)
    assert isinstance(found[0], Failed) and why in found[0].reason and len(stub.asked) == 1


@pytest.mark.parametrize("status", [401, 402, 404, 405])
def test_an_endpoint_that_refuses_everybody_ends_the_run(status: int, tmp_path: Path) -> None:
    body = {"error": {"message": f"no {'k' * 20}"}}
    with pytest.raises(UserError, match=f"answers {status} no k") as caught:
        said(lambda *_: Said(body, status=status), asks(*"abcdef"), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_the_key_nowhere(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_KEY", "sk-0123456789abcdef")
    with Stub(lambda *_: chat("stolen")) as other:
        away = Said({}, status=status, headers={"Location": f"{other.url}/chat/completions"})
        with pytest.raises(UserError, match="sends requests elsewhere"):
            said(lambda *_: away, asks("a"), tmp_path, key="STUB_KEY")
        assert not other.asked


def test_the_key_is_sent_and_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-0123456789abcdef"
    monkeypatch.setenv("STUB_KEY", key + "\n")

    def indiscreet(body: dict[str, Any], _: int) -> Said:
        if body["messages"][0]["content"] == "a":
            return chat(f"your key is {key}")
        return Said({"error": {"message": f"Incorrect API key provided: {key}"}}, status=400)

    found, stub, endpoint = said(indiscreet, asks("a", "b"), tmp_path, key="STUB_KEY")
    assert all(headers["Authorization"] == f"Bearer {key}" for headers in stub.headers)
    assert found[0] == Reply("your key is ***") and isinstance(found[1], Failed)
    assert key not in found[1].reason and key not in endpoint.answers.file.read_text()
    assert key not in stub.choice(key="STUB_KEY").model_dump_json()


@pytest.mark.parametrize(("value", "sentence"), [(None, "has no STUB_KEY"), ("a\nb", "holds what no API key can")])
def test_a_key_that_cannot_be_used(
    value: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUB_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("STUB_KEY", value)
    with pytest.raises(UserError, match=sentence) as caught:
        Endpoint(EndpointChoice(url="http://x/v1", model="m", key="STUB_KEY"), Answers(tmp_path / "a.jsonl"))
    assert value is None or value not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        {"url": "ftp://host/v1"}, {"url": "host/v1"}, {"url": "http://user:pass@host/v1"}, {"url": "http://h/v1?k=1"},
        {"url": "http://h:port/v1"}, {"key": "sk-abc"}, {"most_dollars": 1.0}, {"extra": {"messages": []}},
        {"extra": {"stream": True}}, {"extra": {"temperature": 2}}, {"attempts": 0}, {"timeout_s": 0},
    ],
    ids=str,
)  # fmt: skip
def test_choices_that_cannot_work(fault: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EndpointChoice(**{"url": "http://host/v1", "model": "m", **fault})
    whole = EndpointChoice(url="https://host/v1/chat/completions/", model="m")
    assert whole.url == "https://host/v1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries({"content": JSON}, optional={"refusal": JSON, "reasoning": JSON}) | JSON,
    JSON, st.fixed_dictionaries({"prompt_tokens": JSON, "completion_tokens": JSON}) | JSON,
)  # fmt: skip
def test_whatever_comes_is_a_reply_or_a_reason(message: Any, ended: Any, usage: Any) -> None:
    body = {"choices": [{"message": message, "finish_reason": ended}], "usage": usage}
    for said_in_all in (body, {**body, "choices": message}, message):
        found = spoken(Answer(200, {}, json.dumps(said_in_all).encode()))
        assert (found.reply is None) == bool(found.reason)
        assert found.tokens is None or sum(found.tokens) * 1.5 < 1e10
        (found.reply.text + found.reply.thinking if found.reply else found.reason).encode()


def test_requests_keep_to_so_many_a_minute(tmp_path: Path) -> None:
    began: list[float] = []

    def noted(*_: Any) -> Said:
        began.append(time.monotonic())
        return chat("4")

    said(noted, asks(*"abcd"), tmp_path, requests_a_minute=300, concurrency=4)
    assert max(began) - min(began) >= 3 * 0.2 - 0.15, "the first may be late by what a connection takes"


@pytest.mark.parametrize("header", ["0.4", "date"])
def test_retry_after_is_waited_for_by_all(header: str, tmp_path: Path) -> None:
    began = time.time()
    asked_at: list[float] = []
    text = email.utils.formatdate(began + 2, usegmt=True) if header == "date" else header

    def busy(_: dict[str, Any], number: int) -> Said:
        asked_at.append(time.time())
        return Said({}, status=429, headers={"Retry-After": text}) if number == 0 else chat("4")

    found, stub, _ = said(busy, asks("a", "b"), tmp_path, concurrency=1)
    assert found == [Reply("4")] * 2 and len(stub.asked) == 3
    assert asked_at[1] - asked_at[0] >= (0.4 if header == "0.4" else int(began) + 2 - asked_at[0] - 0.01)


@pytest.mark.parametrize("slow", [Said({}, wait_s=30.0), Said(b"x" * 1000, drip_s=0.05)], ids=["silent", "dripping"])
def test_no_answer_is_waited_for_longer_than_its_time(slow: Said, tmp_path: Path) -> None:
    """Neither a silent server nor one that sends a byte now and then, which resets the socket's own clock."""
    began = time.monotonic()
    found, stub, endpoint = said(lambda *_: slow, asks("a"), tmp_path, timeout_s=0.4, attempts=2)
    assert isinstance(found[0], Failed) and "no whole answer in 0.4 s" in found[0].reason
    assert len(stub.asked) == 2 and time.monotonic() - began < 10
    assert endpoint.answers.usage.tokens_out == 200, "what may have been paid for is booked at its most"


def test_nobody_there(tmp_path: Path) -> None:
    with Stub(lambda *_: chat("4")) as stub:
        choice = stub.choice(attempts=2, dollars_a_million_out=1e6, most_dollars=1e9)
    endpoint = Endpoint(choice, Answers(tmp_path / "a.jsonl"))
    (found,) = endpoint(asks("a"), SAMPLING)
    assert isinstance(found, Failed) and "ConnectionRefusedError" in found.reason
    assert endpoint.answers.usage.requests == 2 and endpoint.answers.usage.dollars == 0


def test_when_all_fail_the_run_ends(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"20 answers in a row have failed, the last for: .*400 no such parameter"):
        said(
            lambda *_: Said({"error": {"message": "no such parameter"}}, status=400),
            asks(*map(str, range(50))), tmp_path, concurrency=2,
        )  # fmt: skip


PRICES = {"dollars_a_million_in": 0.0, "dollars_a_million_out": 1e6}  # a dollar for each token of an answer


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_run_ends_before_the_cap_is_passed(concurrency: int, tmp_path: Path) -> None:
    """An answer may cost 100 and costs 30: with 250 to spend, the one after the sixth (180) could pass it."""
    with Stub(lambda *_: chat("4", tokens=(1, 30))) as stub:
        answers = Answers(tmp_path / "answers.jsonl")
        endpoint = Endpoint(stub.choice(concurrency=concurrency, most_dollars=250, **PRICES), answers)
        with pytest.raises(RunFailed, match=r"180 dollars are spent, .*of up to 100, could pass most_dollars=250"):
            endpoint(asks(*"abcdefghij"), SAMPLING)
        assert len(stub.asked) == 6 and answers.usage.dollars == 180
        again = Answers(tmp_path / "answers.jsonl")
        assert again.usage.dollars == 180, "a new process knows what was spent"
        with pytest.raises(RunFailed, match="180 dollars are spent"):
            Endpoint(stub.choice(most_dollars=250, **PRICES), again)(asks(*"abcdefghij"), SAMPLING)
        assert len(stub.asked) == 6
        found = Endpoint(stub.choice(most_dollars=1000, **PRICES), again)(asks(*"abcdefghij"), SAMPLING)
        assert found == [Reply("4")] * 10 and len(stub.asked) == 10, "and asks for none again"
        assert again.usage.dollars == 300


def test_answers_without_usage_cost_the_most_that_they_may(tmp_path: Path) -> None:
    _, _, endpoint = said(lambda *_: chat("4", tokens=None), asks("a"), tmp_path, most_dollars=1000, **PRICES)
    assert endpoint.answers.usage.dollars == 100


def test_what_was_answered_is_never_asked_again(tmp_path: Path) -> None:
    with Stub(lambda _, number: chat(str(number))) as stub:
        file = tmp_path / "answers.jsonl"
        first = Endpoint(stub.choice(concurrency=1), Answers(file))(asks("a", "b", "a"), SAMPLING)
        assert first == [Reply("0"), Reply("1"), Reply("0")] and len(stub.asked) == 2, "nor twice in one breath"
        with file.open("ab") as torn:
            torn.write(b'{"key": "half a li')
        again = Endpoint(stub.choice(concurrency=1), Answers(file))
        assert again(asks("b", "a"), SAMPLING) == [Reply("1"), Reply("0")] and len(stub.asked) == 2
        other = [Ask(asks("a")[0].messages, draw=1)]
        assert again(other, SAMPLING) == [Reply("2")], "another draw is another answer"
        assert again(asks("a"), Sampling(max_tokens=50)) == [Reply("3")], "and so is another request"
        assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == ["0", "1", "2", "3"]
    file.write_text('{"key": 3}\n' + file.read_text())
    with pytest.raises(UserError, match=r"line 1 of .* is damaged"):
        Answers(file)


def test_a_run_that_is_stopped_leaves_at_once_and_keeps_what_came(tmp_path: Path) -> None:
    class Asked(BaseException):
        pass

    def alive() -> None:
        raise Asked

    with Stub(lambda _, number: Said(chat("4").body, wait_s=0 if number == 0 else 30.0)) as stub:
        answers = Answers(tmp_path / "answers.jsonl")
        began = time.monotonic()
        with pytest.raises(Asked):
            Endpoint(stub.choice(concurrency=3, timeout_s=60), answers, alive)(asks(*"abcdef"), SAMPLING)
        assert time.monotonic() - began < 15
        assert len(answers._places) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aha-endpoint")]


def test_a_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Stub(lambda *_: chat("by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("//", "//user:word@"))
        choice = EndpointChoice(url="http://nowhere.invalid/v1", model="m")
        assert Endpoint(choice, Answers(tmp_path / "a"))(asks("a"), SAMPLING) == [Reply("by proxy")]
    assert proxy.paths == ["http://nowhere.invalid/v1/chat/completions"]
    assert (
        proxy.headers[0]["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"
        and proxy.headers[0]["Host"] == "nowhere.invalid"
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is for the host that it is meant for: a server that cannot prove its name gets no request."""
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", *kind, *named, "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Stub(lambda *_: chat("4"), tls) as stub:
        at_home = stub.url.replace("127.0.0.1", "localhost")
        for trusted, url, fine in ((False, at_home, False), (True, at_home, True), (True, stub.url, False)):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem") if trusted else os.devnull)
            answers = Answers(tmp_path / f"{trusted}-{fine}.jsonl")
            (found,) = Endpoint(stub.choice(url=url, attempts=1), answers)(asks("a"), SAMPLING)
            if fine:
                assert found == Reply("4")
            else:
                assert isinstance(found, Failed) and "CERTIFICATE_VERIFY_FAILED" in found.reason
        assert len(stub.asked) == 1
