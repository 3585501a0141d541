"""The engine against a server that behaves and misbehaves: order, retries, versions, publishes that do not arrive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.choices import EngineChoice
from aha.engines.vllm import http, server
from aha.engines.vllm.engine import VLLMEngine
from aha.engines.vllm.http import Client, Refused
from aha.engines.vllm.server import Server
from aha.errors import RunFailed, UserError
from aha.types import Prompt, Sampling
from stub_endpoint import Said
from stub_vllm import EOS, GENERATE, RPC, SIZES, StubVLLM, weights, with_vllm

SAMPLING = Sampling(max_tokens=6)
PROMPTS = [Prompt((1, 2, 3), 4, seed=7), Prompt((5,), 3, seed=8)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(server, "RESET_WAIT_S", 0.01)
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield with_vllm(monkeypatch)


def engine_of(vllm: StubVLLM, published: float | None = 1.0, **changes: Any) -> VLLMEngine:
    """An engine of the stub, with weights of one value."""
    choice = EngineChoice(**{"kind": "vllm", "url": vllm.url, "timeout_s": 20.0, **changes})
    shapes = {name: tensor.shape for name, tensor in weights().items()}
    backend = Server(Client(choice.url, "", choice.timeout_s, choice.attempts), choice.connections)
    engine = VLLMEngine(
        backend, shapes, frozenset({EOS}), context=backend.description.context, dtype=torch.float32, choice=choice
    )
    if published is not None:
        engine.publish(weights(published), 3)
    return engine


def values(vllm: StubVLLM) -> set[float]:
    """All that is in the stub's parameters."""
    return {float(x) for worker in vllm.workers for p in worker.model.parameters() for x in p.flatten()}


def test_completions_come_in_order_with_their_log_probs_and_version() -> None:
    with StubVLLM() as vllm:
        found = engine_of(vllm).generate(PROMPTS, SAMPLING)
        asked = [body for path, body in zip(vllm.paths, vllm.asked, strict=True) if path == GENERATE]
    assert [len(group) for group in found] == [4, 3]
    for completion in (one for group in found for one in group):
        assert completion.policy_version == 3
        assert completion.logprobs == tuple(-0.25 * (token + 1) for token in completion.ids)
        assert (completion.ids[-1] == EOS) == (completion.stop_reason == "stop")
    assert len(asked) == 7 and {tuple(body["token_ids"]) for body in asked} == {(1, 2, 3), (5,)}
    assert {body["stream"] for body in asked} == {False}


def test_a_sample_does_not_depend_on_what_is_drawn_beside_it() -> None:
    with StubVLLM() as vllm:
        engine = engine_of(vllm)
        together = engine.generate(PROMPTS, SAMPLING)
        assert engine.generate([PROMPTS[1]], SAMPLING) == together[1:]
        assert engine.generate([Prompt((1, 2, 3), 2, seed=7)], SAMPLING)[0] == together[0][:2]
        assert len(set(together[0])) == 4


def test_finished_samples_come_before_others_have_ended() -> None:
    last = threading.Event()

    def slow(path: str, body: dict[str, Any], number: int) -> None:
        if path == GENERATE and body["token_ids"] == [5]:
            last.wait(20)

    with StubVLLM(rule=slow) as vllm:
        stream = engine_of(vllm).stream(PROMPTS, SAMPLING)
        assert [next(stream)[0] for _ in range(4)] == [0] * 4
        last.set()
        assert sorted((place, sample) for place, sample, _ in stream) == [(1, 0), (1, 1), (1, 2)]


def test_what_may_pass_is_asked_again() -> None:
    faults = [Said({"error": {"message": "busy"}}, 503), Said(b"{", cut=True), Said(b"no JSON"), Said({"choices": []})]

    def faulty(path: str, body: dict[str, Any], number: int) -> Said | None:
        return faults.pop() if path == GENERATE and faults else None

    with StubVLLM(rule=faulty) as vllm:
        engine = engine_of(vllm, attempts=5, connections=1)
        assert len(engine.generate([PROMPTS[0]], SAMPLING)[0]) == 4
        assert not faults and vllm.paths.count(GENERATE) == 8 and vllm.most_at_a_time == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"finish_reason": "abort"}, "for the reason 'abort'"),
        ({"logprobs": {"content": [{"token_id": 1, "logprob": -1.0}]}, "token_ids": [2]}, "log-probs are of other"),
        ({"logprobs": None}, "no JSON that is known"),
        (
            {"token_ids": [EOS, EOS], "logprobs": {"content": [{"token_id": EOS, "logprob": -1.0}] * 2}},
            "ends of a resp",
        ),
    ],
)
def test_what_is_no_sample_ends_the_run_with_a_sentence(changes: dict[str, Any], why: str) -> None:
    def bad(path: str, body: dict[str, Any], number: int) -> Said | None:
        return Said(vllm.drawn(body, **changes)) if path == GENERATE else None

    with StubVLLM(rule=bad) as vllm, pytest.raises(RunFailed, match=f"{GENERATE} gave no answer: .*{why}"):
        engine_of(vllm, attempts=2).generate([PROMPTS[1]], SAMPLING)


def test_a_request_that_is_refused_is_not_made_again() -> None:
    def refusing(path: str, body: dict[str, Any], number: int) -> Said | None:
        wrong = {"error": {"message": "Scale-out endpoints are disabled.\nRestart", "code": 403}}
        return Said(wrong, 403) if path == GENERATE else None

    with StubVLLM(rule=refusing) as vllm:
        engine = engine_of(vllm, connections=1)
        with pytest.raises(Refused, match=r"answers 403 Scale-out endpoints are disabled. Restart; see docs/"):
            engine.generate([Prompt((1,), 1, 0)], SAMPLING)
        assert vllm.paths.count(GENERATE) == 1


def test_a_dead_server_is_said_in_a_sentence() -> None:
    with StubVLLM() as vllm:
        engine = engine_of(vllm, attempts=2)
    with pytest.raises(RunFailed, match=r"vLLM at http://127.0.0.1:\d+/inference/v1/generate gave no answer: "):
        engine.generate([Prompt((1,), 1, 0)], SAMPLING)
    assert isinstance(engine.backend, Server)
    engine.backend.client._ended = lambda: "the server ended with status 1: MemoryError"
    with pytest.raises(RunFailed, match="gave no answer: the server ended with status 1: MemoryError"):
        engine.generate([Prompt((1,), 1, 0)], SAMPLING)


def test_a_server_that_is_not_there_is_a_mistake_of_the_users() -> None:
    with StubVLLM() as vllm:
        pass
    with pytest.raises(UserError, match=r"gave no answer: .*; start it, or let aha start one with engine.start=true"):
        engine_of(vllm, None, attempts=1)


def test_no_proxy_stands_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with StubVLLM() as vllm:
        assert engine_of(vllm, attempts=1).generate(PROMPTS, SAMPLING)


def test_a_stream_that_nobody_reads_on_is_given_up() -> None:
    hold, before = threading.Event(), threading.active_count()

    def slow(path: str, body: dict[str, Any], number: int) -> None:
        if path == GENERATE and body["token_ids"] == [5]:
            hold.wait(20)

    with StubVLLM(rule=slow) as vllm:
        stream = engine_of(vllm, connections=4).stream([PROMPTS[0], Prompt((5,), 64, 0)], SAMPLING)
        next(stream)
        stream.close()
        assert threading.active_count() < before + 20 and vllm.paths.count(GENERATE) < 20
        hold.set()


def test_samples_of_other_weights_are_refused() -> None:
    with StubVLLM() as vllm:
        mine, other = engine_of(vllm, 1.0), engine_of(vllm, 2.0)
        assert other.generate(PROMPTS, SAMPLING)
        with pytest.raises(RunFailed, match=r"drew a sample from weights \w+:1:3, where \w+:1:3 were published"):
            mine.generate(PROMPTS, SAMPLING)


def test_a_publish_reaches_all_workers_and_drops_what_earlier_weights_left() -> None:
    with StubVLLM(workers=2) as vllm:
        engine = engine_of(vllm, 2.0, bucket_mb=1)
        assert values(vllm) == {2.0} and vllm.resets == 1
        engine.publish(weights(5.0), 4)
        assert values(vllm) == {5.0} and vllm.resets == 2 and engine.version == 4
        assert vllm.rpcs == ["aha_describe", *(["aha_check", "aha_load", "aha_finish"] * 2)]
        tags = [tag.split(":", 1)[1] for tag in vllm.tags]
        assert tags == ["1:3 in part", "1:3", "2:4 in part", "2:4"]
        assert {c.policy_version for group in engine.generate(PROMPTS, SAMPLING) for c in group} == {4}


def test_wrong_names_and_shapes_are_refused_before_anything_is_sent() -> None:
    with StubVLLM() as vllm:
        engine = engine_of(vllm)
        for wrong in ({**weights(2.0), "more": torch.zeros(1)}, {**weights(2.0), "norm": torch.zeros(5)}):
            with pytest.raises(ValueError, match="1 published weights are not the engine's in name or shape"):
                engine.publish(wrong, 4)
        assert values(vllm) == {1.0} and engine.generate(PROMPTS, SAMPLING) and engine.version == 3


def test_a_bucket_that_does_not_arrive_whole_leaves_the_weights_that_were(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubVLLM() as vllm:
        engine = engine_of(vllm)
        write = Path.write_bytes
        monkeypatch.setattr(Path, "write_bytes", lambda file, data: write(file, data[:-1] + b"\7"))
        with pytest.raises(
            RunFailed, match=r"took over nothing of weights .*: bucket 00000.safetensors has the digest"
        ):
            engine.publish(weights(2.0), 4)
        assert values(vllm) == {1.0}
        found = engine.generate(PROMPTS, SAMPLING)
        assert {c.policy_version for group in found for c in group} == {3}, "they are whole, and sampled from"


@pytest.mark.parametrize("at", ["aha_load", "aha_finish", "/reset_prefix_cache", "/update_weight_version"])
def test_nothing_is_sampled_after_a_publish_that_broke_off(at: str) -> None:
    broken = threading.Event()

    def breaking(path: str, body: dict[str, Any], number: int) -> Said | None:
        if not broken.is_set() or at not in (path, body.get("method")):
            return None
        return Said({"results": [{"fault": "out of memory"}]} if path == RPC else {"success": False})

    with StubVLLM(rule=breaking) as vllm:
        engine = engine_of(vllm, attempts=2)
        broken.set()
        with pytest.raises(RunFailed, match=r"out of memory|keeps its prefix cache|gave no answer"):
            engine.publish(weights(2.0), 4)
        with pytest.raises(RunFailed, match="holds no whole set of weights"):
            engine.generate(PROMPTS, SAMPLING)
        broken.clear()
        engine.publish(weights(3.0), 5)
        assert values(vllm) == {3.0} and engine.generate(PROMPTS, SAMPLING)[0][0].policy_version == 5


def test_a_call_whose_answer_was_lost_may_be_made_again() -> None:
    lost: list[str] = []

    def losing(path: str, body: dict[str, Any], number: int) -> Said | None:
        method = str(body.get("method"))
        if path == RPC and method in ("aha_load", "aha_finish") and method not in lost:
            lost.append(method)
            answer = [getattr(one, method)(*body["args"]) for one in vllm.workers]
            return Said({"results": answer}, cut=True)
        return None

    with StubVLLM(rule=losing) as vllm:
        engine_of(vllm, 4.0)
        assert values(vllm) == {4.0} and lost == ["aha_load", "aha_finish"]


def test_the_prefix_cache_is_waited_for() -> None:
    answers = [True, False, False]

    def held(path: str, body: dict[str, Any], number: int) -> Said | None:
        return Said({"success": answers.pop()}) if path == "/reset_prefix_cache" else None

    with StubVLLM(rule=held) as vllm:
        engine_of(vllm)
        assert not answers


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"detail": "Not Found"}),
        (500, {"error": {"message": "'CPUWorker' object has no attribute 'aha_describe'", "code": 500}}),
    ],
)
def test_a_server_that_was_not_started_for_training_is_named(status: int, body: dict[str, Any]) -> None:
    with (
        StubVLLM(rule=lambda *_: Said(body, status)) as vllm,
        pytest.raises(UserError, match=r"was not started for training .*; start it with VLLM_SERVER_DEV_MODE=1"),
    ):
        engine_of(vllm, None, attempts=1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"logprobs_mode": "raw_logprobs"}, "gives raw_logprobs.*--logprobs-mode processed_logprobs"),
        ({"dtype": torch.bfloat16}, "runs in bfloat16 where float32 is asked for; set engine.dtype=bfloat16"),
        ({"hf_text_config": None}, r"vocab_size, .* \[None, None, None\], and \[3, 4, 1\] is to be sampled from"),
        ({}, "sleep mode"),
    ],
)
def test_a_server_that_runs_otherwise_is_refused(changes: dict[str, Any], why: str) -> None:
    with StubVLLM(**changes) as vllm, pytest.raises(UserError, match=why):
        engine = engine_of(vllm, None)
        assert isinstance(engine.backend, Server)
        engine.backend.description.can("float32", SIZES, sleep=not changes)


def test_it_sleeps_between_calls_where_it_is_to() -> None:
    nap: list[str] = []
    states = {"/sleep": "sleeping", "/wake_up": "awake"}

    def napping(path: str, body: dict[str, Any], number: int) -> Said | None:
        if path in ("/sleep", "/wake_up", GENERATE, RPC):
            nap.append(path)
        return Said({"status": states[path]}) if path in states else None

    with StubVLLM(rule=napping, enable_sleep_mode=True) as vllm:
        engine = engine_of(vllm, sleep=True)
        engine.generate(PROMPTS, SAMPLING)
        assert nap == [RPC, "/wake_up", *[RPC] * 3, "/wake_up", *[GENERATE] * 7, "/sleep"]
        states["/wake_up"] = "sleeping"
        with pytest.raises(RunFailed, match="'sleeping' and is not awake"):
            engine.generate(PROMPTS, SAMPLING)
