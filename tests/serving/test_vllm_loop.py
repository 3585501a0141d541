"""aha's HTTP side over a vLLM server: what vLLM is asked for, what clients get of it, and what happens when it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from serving_models import SECONDS, Served, serve_model
from vllm_stub import CONTEXT, FORCED, OTHER, OWN, Stub

from aha.errors import UserError
from aha.models.loading import outline
from aha.serving import vllm_loop
from aha.serving.start import Options
from aha.serving.vllm_loop import VLLMLoop, greet
from aha.serving.vllm_meeting import Place
from aha.serving.vocabulary import Vocabulary

httpx = pytest.importorskip("httpx2")
pytest.importorskip("uvicorn")

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TALK = [{"role": "user", "content": "Make 27."}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
END, EOS = 1021, 0  # `</think>` and the end of a response


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Stub, Served]]:
    with pytest.MonkeyPatch.context() as patch, Stub() as stub:
        patch.setattr(vllm_loop, "WATCH_S", 0.2)
        served = serve_model(options=Options(vllm=Place(stub.url)))
        yield stub, served
        served.stop()


@pytest.fixture
def stub(pair: tuple[Stub, Served]) -> Iterator[Stub]:
    stub = pair[0]
    stub.bodies, stub.hung_up = [], 0
    yield stub
    stub.hold, stub.fault, stub.refusal, stub.script = None, None, "", lambda body: [5]


@pytest.fixture
def served(pair: tuple[Stub, Served]) -> Served:
    return pair[1]


def ask(served: Served, path: str, status: int = 200, **body: Any) -> Any:
    answer = httpx.post(served.url + path, json=body, timeout=SECONDS)
    assert answer.status_code == status, answer.text
    return answer.json()


def events(served: Served, **body: Any) -> list[Any]:
    with httpx.stream("POST", served.url + CHAT, json={**body, "stream": True}, timeout=SECONDS) as answer:
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]


def until(true: Callable[[], Any]) -> None:
    late = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < late
        time.sleep(0.02)


def test_answers_as_of_an_engine_here(stub: Stub, served: Served) -> None:
    """Thinking apart, whole and streamed; the prompt is that of the chat template, with the model's own defaults."""
    stub.script = lambda body: [*stub.ids("27 = 3 * 9"), END, *stub.ids("So 27."), EOS, 5, 5]
    found = ask(served, CHAT, messages=TALK)
    choice = found["choices"][0]
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == ("27 = 3 * 9", "So 27.")
    assert choice["finish_reason"] == "stop"
    deltas = [event["choices"][0]["delta"] for event in events(served, messages=TALK)]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "27 = 3 * 9"
    assert "".join(delta.get("content") or "" for delta in deltas) == "So 27."
    whole, streamed = stub.bodies
    prompt = ask(served, "/tokenize", messages=TALK)["tokens"]
    assert whole["prompt"] == streamed["prompt"] == prompt and found["usage"]["prompt_tokens"] == len(prompt)
    assert (whole["model"], whole["temperature"], whole["top_p"]) == ("served", 0.6, 0.95)
    assert whole["stop_token_ids"] == [EOS] and whole["ignore_eos"] and whole["max_tokens"] == CONTEXT - len(prompt)
    assert whole["stream_interval"] > streamed["stream_interval"] == 1
    assert "logprobs" not in whole and "logit_bias" not in whole and "structured_outputs" not in whole
    metrics = httpx.get(f"{served.url}/metrics").text
    assert f"aha_generation_tokens_total {2 * found['usage']['completion_tokens']}\n" in metrics


def test_settings_reach_vllm(stub: Stub, served: Served) -> None:
    asked = {
        "temperature": 0.5, "top_k": 9, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.2,
        "frequency_penalty": 0.3, "min_tokens": 2,
    }  # fmt: skip
    more = {"logit_bias": {"5": 1.5}, "allowed_token_ids": [6, 5], "stop_token_ids": [9], "ignore_eos": True}
    ask(served, TEXT, prompt=[3, 4], max_tokens=3, **asked, **more)
    [body] = stub.bodies
    assert {name: body[name] for name in asked} == asked
    assert body["logit_bias"] == {"5": 1.5} and body["allowed_token_ids"] == [5, 6] and body["stop_token_ids"] == [9]
    assert body["prompt"] == [3, 4] and body["max_tokens"] == 3


def test_every_sample_has_a_seed_of_its_own(stub: Stub, served: Served) -> None:
    for _ in range(2):
        ask(served, TEXT, prompt=[3], max_tokens=1, n=2, seed=11, temperature=1)
    assert len({body["seed"] for body in stub.bodies}) == 4
    stub.bodies = []
    for _ in range(2):
        ask(served, TEXT, prompt=[3], max_tokens=1, seed=12, sample_index=0, temperature=1)
    assert len({body["seed"] for body in stub.bodies}) == 1 and stub.bodies[0]["seed"] < 2**63


def test_a_stop_string_hangs_up(stub: Stub, served: Served) -> None:
    stub.script = lambda body: [*stub.ids("so"), END, *stub.ids("12 . 34"), *[5] * 100]
    stub.hold = len(stub.ids("so")) + 1 + len(stub.ids("12 . 34"))
    found = events(served, messages=TALK, stop=["."], stream_options={"include_usage": True})
    assert "".join(e["choices"][0]["delta"].get("content") or "" for e in found if e["choices"]).strip() == "12"
    assert [e["choices"][0]["finish_reason"] for e in found if e["choices"]][-1] == "stop"
    until(lambda: stub.hung_up == 1)


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_budget_closes_thinking(stub: Stub, served: Served, logprobs: bool) -> None:
    """What is drawn beyond it is dropped; the rest follows the closed thinking, by a request with a seed of its own."""
    long, short = stub.ids("1 2 3 4 5 6 7 8 9"), [*stub.ids("27"), EOS]
    stub.script = lambda body: short if END in body["prompt"] else [*long, EOS]
    found = ask(served, CHAT, messages=TALK, thinking_token_budget=4, logprobs=logprobs, max_tokens=30)
    first, *forcing, last = stub.bodies
    assert last["prompt"] == [*first["prompt"], *long[:4], END]
    assert (first["max_tokens"], last["max_tokens"]) == (30, 25) and first["seed"] != last["seed"]
    choice = found["choices"][0]
    assert choice["message"]["content"] == "27" and choice["finish_reason"] == "stop"
    assert found["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5
    if not logprobs:
        assert forcing == []
        return
    [one] = forcing
    assert one["allowed_token_ids"] == [END] and one["max_tokens"] == 1 and one["prompt"] == last["prompt"][:-1]
    scores = [entry["logprob"] for entry in choice["logprobs"]["content"]]
    assert scores == [OWN] * 4 + [FORCED] + [OWN] * len(short)


def test_a_budget_that_is_the_whole_answer(stub: Stub, served: Served) -> None:
    stub.script = lambda body: [5] * 50
    choice = ask(served, CHAT, messages=TALK, thinking_token_budget=3, max_tokens=3)["choices"][0]
    assert choice["finish_reason"] == "length" and choice["message"]["content"] is None and len(stub.bodies) == 1


def test_a_grammar_holds_after_thinking(stub: Stub, served: Served) -> None:
    thought, made = stub.ids("1 2 3"), stub.ids('{"a": 1}')

    def script(body: dict[str, Any]) -> list[int]:
        return [*made, EOS] if "structured_outputs" in body else [EOS, *thought, END, 5, 5, 5]

    stub.script = script
    found = ask(served, CHAT, messages=TALK, response_format=FORMAT, max_tokens=50)
    assert found["choices"][0]["message"]["content"] == '{"a": 1}'
    checking, thinking, answering = stub.bodies
    assert checking["max_tokens"] == 1 and checking["structured_outputs"] == answering["structured_outputs"]
    assert {**answering["structured_outputs"]["json"], "x-guidance": None} == {**SCHEMA, "x-guidance": None}
    assert thinking["min_tokens"] == thinking["max_tokens"] == 50  # it does not end before the thinking does
    assert answering["prompt"] == [*thinking["prompt"], *thought, END] and answering["min_tokens"] == 0
    ask(served, CHAT, messages=TALK, response_format=FORMAT, max_tokens=50, ignore_eos=True)
    assert len(stub.bodies) == 5  # it has been checked already
    assert stub.bodies[-1]["stop_token_ids"] == [EOS]


def test_a_grammar_that_vllm_refuses(stub: Stub, served: Served) -> None:
    stub.refusal = "it has features that are not known"
    error = ask(served, TEXT, 400, prompt=[3], max_tokens=4, structured_outputs={"regex": "(?=a)"})["error"]
    assert error["message"] == "vLLM cannot use the regex grammar: it has features that are not known"
    stub.refusal = ""
    ask(served, TEXT, prompt=[3], max_tokens=4, structured_outputs={"choice": ["a", "b"]})
    assert stub.bodies[-1]["structured_outputs"] == {"grammar": 'start: "a" | "b"'}


def test_log_probs(stub: Stub, served: Served) -> None:
    stub.script = lambda body: [5, 6, EOS]
    found = ask(served, TEXT, prompt=[3, 9, 4], max_tokens=4, logprobs=1, echo=True, return_token_ids=True)["choices"]
    scoring, drawing = stub.bodies
    assert scoring["prompt_logprobs"] == drawing["logprobs"] == 1 and "stream" not in scoring
    shown = found[0]["logprobs"]
    assert found[0]["token_ids"] == [5, 6, EOS]
    assert shown["token_logprobs"] == [None, -9.0, -4.0, OWN, OWN, OWN]
    names = [served.service.vocabulary.name(token) for token in (7, 4, 5)]
    assert shown["top_logprobs"][2] == {names[0]: OTHER, names[1]: -4.0}  # the likeliest one, and the prompt's own
    assert shown["top_logprobs"][3] == {names[2]: OWN}
    stub.bodies = []
    found = ask(served, TEXT, prompt=[3, 9], max_tokens=0, logprobs=0, echo=True)["choices"]
    assert found[0]["logprobs"]["token_logprobs"] == [None, -9.0] and len(stub.bodies) == 1


@pytest.mark.parametrize(("code", "status"), [(400, 400), (500, 503)])
def test_what_vllm_says_of_a_request_is_told(stub: Stub, served: Served, code: int, status: int) -> None:
    stub.fault = {"message": "temperature must be in [0, 2], got 3.0.", "code": code}
    error = ask(served, TEXT, status, prompt=[3], max_tokens=4, temperature=3)["error"]
    assert "temperature must be in [0, 2]" in error["message"]


def test_who_hangs_up_frees_his_samples(stub: Stub, served: Served) -> None:
    stub.script, stub.hold = lambda body: [5] * 100, 3
    body = {"messages": TALK, "n": 4, "stream": True}
    with httpx.stream("POST", served.url + CHAT, json=body, timeout=SECONDS) as answer:
        assert any(line.startswith("data: {") for line in answer.iter_lines())
        until(lambda: served.service.loop.running == 4)
    until(lambda: stub.hung_up == 4 and not served.service.gate.inside and not served.service.loop.running)


def test_vllm_goes_and_comes_back(stub: Stub, served: Served) -> None:
    until(lambda: served.service.loop.usage == 0.25)
    stub.script, stub.hold = lambda body: [5] * 100, 3
    body, faults = {"messages": TALK, "stream": True}, served.service.loop.faults
    with httpx.stream("POST", served.url + CHAT, json=body, timeout=SECONDS) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: {"))
        next(lines)
        stub.stop()
        error = json.loads(list(lines)[-1][6:])["error"]
    assert f"vLLM at {stub.url} does not answer" in error["message"]
    until(lambda: httpx.get(f"{served.url}/health").status_code == 503)
    assert "does not answer" in httpx.get(f"{served.url}/health").json()["status"]
    assert ask(served, CHAT, 503, messages=TALK)["error"]["code"] == "engine_stopped"
    assert served.service.loop.faults == faults + 1
    stub.hold, stub.extra = None, "?"
    stub.start()
    until(lambda: "makes other tokens" in httpx.get(f"{served.url}/health").json()["status"])  # as another model
    stub.extra = ""
    until(lambda: httpx.get(f"{served.url}/health").status_code == 200)
    assert ask(served, CHAT, messages=TALK, max_tokens=4)["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": "?"}, "makes other tokens of a text than the tokenizer of 'tiny'; serve the model that it runs"),
        ({"root": "some/model", "model": "other/model"}, "runs 'some/model' and not 'other/model'"),
        ({"processed": True}, "--logprobs-mode raw_logprobs"),
        ({"root": "/nowhere/model"}, ""),  # a folder of another machine
    ],
)
def test_another_server_is_refused(change: dict[str, Any], said: str) -> None:
    found = outline("tiny")
    vocabulary = Vocabulary(found.tokenizer, found.vocabulary)
    with Stub() as stub:
        for name, value in change.items():
            setattr(stub, name, value)
        if not said:
            assert greet(Place(stub.url), vocabulary, "tiny").context == CONTEXT
            return
        with pytest.raises(UserError) as refused:
            greet(Place(stub.url), vocabulary, change.get("model", "tiny"))
        assert said in str(refused.value) and stub.url in str(refused.value)


def test_there_is_no_vllm(served: Served) -> None:
    found = outline("tiny")
    vocabulary = Vocabulary(found.tokenizer, found.vocabulary)
    with pytest.raises(UserError, match=r"no vLLM answers at http://127.0.0.1:9 \(ConnectError"):
        greet(Place("http://127.0.0.1:9"), vocabulary, "tiny")
    with pytest.raises(UserError, match="answers 404"):  # a server of another kind
        greet(Place(f"{served.url}/page"), vocabulary, "tiny")
    with pytest.raises(UserError, match="is no address"):
        Place("127.0.0.1:8000")
    assert isinstance(served.service.loop, VLLMLoop) and found.eos_ids == {EOS} and found.vocabulary == 1024
