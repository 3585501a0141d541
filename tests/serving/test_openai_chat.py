"""Chat completions through OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving_models import Served

openai = pytest.importorskip("openai")

QUESTION = [{"role": "user", "content": "Using each of 7, 2, 10 once and + - *, make 27."}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {**ADD["function"]["parameters"]}  # type: ignore[index]


@pytest.fixture(scope="session")
def client(tiny_server: Served) -> Any:
    return openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="none", timeout=60, max_retries=0)


def ask(client: Any, **settings: Any) -> Any:
    extra = settings.pop("extra_body", {})
    given = {"model": "tiny", "messages": QUESTION, "seed": 1, "max_tokens": 200, **settings}
    return client.chat.completions.create(**given, extra_body={"sample_index": 0, **extra})


def test_an_answer(client: Any) -> None:
    answer = ask(client, n=3)
    assert answer.object == "chat.completion" and answer.model == "tiny" and answer.id.startswith("chatcmpl-")
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        message = choice.message
        assert message.role == "assistant" and "<" not in (message.content or "")
        assert message.reasoning_content == message.reasoning and message.reasoning
        assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert len({choice.message.reasoning for choice in answer.choices}) > 1


def test_a_stream_is_the_answer(client: Any) -> None:
    """Deltas joined are the answer that comes without a stream, token ids and usage too."""
    whole = ask(client, n=2, extra_body={"return_token_ids": True})
    chunks = list(
        ask(client, n=2, stream=True, stream_options={"include_usage": True}, extra_body={"return_token_ids": True})
    )
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    for choice in whole.choices:
        parts = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert parts[0].delta.role == "assistant"
        assert "".join(c.delta.content or "" for c in parts) == (choice.message.content or "")
        for name in ("reasoning", "reasoning_content"):
            assert "".join(getattr(c.delta, name, None) or "" for c in parts) == choice.message.reasoning
        assert [c.finish_reason for c in parts if c.finish_reason] == [choice.finish_reason]
        assert [i for c in parts for i in c.token_ids] == choice.token_ids
    assert chunks[0].prompt_token_ids == whole.prompt_token_ids


def test_log_probs(client: Any) -> None:
    """One entry a token, that which ends the answer among them; whole and streamed."""
    asked = {"logprobs": True, "top_logprobs": 3, "temperature": 0}
    choice = ask(client, **asked).choices[0]
    entries = choice.logprobs.content
    assert len(entries) == ask(client, **asked).usage.completion_tokens
    assert entries[-1].token == "<|endoftext|>"
    text = b"".join(bytes(entry.bytes) for entry in entries).decode()
    assert choice.message.reasoning in text and choice.message.content in text
    for entry in entries:
        assert len(entry.top_logprobs) == 3 and entry.top_logprobs[0].logprob >= entry.logprob
        assert entry.top_logprobs[0].token == entry.token, "greedy"
    streamed = [
        e
        for chunk in ask(client, stream=True, **asked)
        for c in chunk.choices
        for e in (c.logprobs or c).__dict__.get("content") or []
    ]
    assert streamed == entries
    assert ask(client, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


def test_thinking_can_be_switched_off_and_bounded(client: Any) -> None:
    for extra in (
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"thinking": False}},
        {"thinking": {"type": "disabled"}},
        {"reasoning": {"enabled": False}},
        {"reasoning": {"effort": "none"}},
        {"reasoning_effort": "none"},
    ):
        answer = ask(client, max_tokens=20, extra_body=extra)
        assert answer.choices[0].message.reasoning is None
        assert answer.usage.completion_tokens_details.reasoning_tokens == 0
    for extra in ({"thinking_token_budget": 7}, {"reasoning": {"max_tokens": 7}}, {"thinking": {"budget_tokens": 7}}):
        answer = ask(client, extra_body=extra)
        assert answer.usage.completion_tokens_details.reasoning_tokens == 8, "and the tag that ends it"
    answer = ask(client, max_tokens=40, reasoning_effort="low", seed=5)
    assert answer.usage.completion_tokens_details.reasoning_tokens <= 11


def test_thinking_can_be_hidden_or_left_in_place(client: Any) -> None:
    seen = ask(client).choices[0].message
    for extra in ({"include_reasoning": False}, {"reasoning": {"exclude": True}}):
        answer = ask(client, extra_body=extra)
        message = answer.choices[0].message
        assert not hasattr(message, "reasoning") and message.content == seen.content
        assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    message = ask(client, extra_body={"separate_reasoning": False}).choices[0].message
    assert seen.reasoning in message.content and "</think><answer>" in message.content


def test_earlier_thinking_is_not_asked_again(client: Any, tiny_server: Served) -> None:
    first = ask(client).choices[0].message
    talk = [*QUESTION, first.model_dump(), {"role": "user", "content": "And 28?"}]
    bare = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And 28?"}]
    found = [ask(client, messages=m, extra_body={"return_token_ids": True}).prompt_token_ids for m in (talk, bare)]
    assert found[0] == found[1]
    assert first.reasoning not in tiny_server.service.vocabulary.join(found[0])


def test_where_it_stops(client: Any) -> None:
    whole = ask(client).choices[0].message.content
    stop = whole[2]
    choice = ask(client, stop=[stop, "never"]).choices[0]
    assert choice.message.content == whole.partition(stop)[0]
    assert choice.finish_reason == "stop" and choice.stop_reason == stop
    cut = ask(client, max_tokens=3)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 3
    assert cut.choices[0].message.content is None and cut.choices[0].message.reasoning
    assert ask(client, max_tokens=None, max_completion_tokens=3).usage.completion_tokens == 3


def test_settings_of_sampling(client: Any) -> None:
    greedy = {ask(client, temperature=0, seed=s).choices[0].message.content for s in (1, 2, 3)}
    assert len(greedy) == 1
    assert {ask(client, extra_body={"top_k": 1}, seed=s).choices[0].message.content for s in (1, 2)} == greedy
    assert {ask(client, temperature=1e-300, seed=s).choices[0].message.content for s in (1, 2)} == greedy
    assert {ask(client, top_p=1e-6, seed=s).choices[0].message.content for s in (1, 2)} == greedy
    token = str(ask(client, temperature=0, extra_body={"return_token_ids": True}).choices[0].token_ids[0])
    moved = ask(client, temperature=0, logit_bias={token: -100}, extra_body={"return_token_ids": True})
    assert moved.choices[0].token_ids[0] != int(token)
    answer = ask(client, max_tokens=30, extra_body={"ignore_eos": True, "min_p": 0.1, "repetition_penalty": 1.1})
    assert answer.usage.completion_tokens == 30
    ended = ask(client, temperature=0, extra_body={"stop_token_ids": [int(token)]})
    assert ended.usage.completion_tokens == 1 and ended.choices[0].stop_reason == int(token)


def test_seeds(client: Any) -> None:
    """The same request again draws the next sample of its seed: k requests are n=k. `sample_index` names one."""

    def drawn(**settings: Any) -> list[list[int]]:
        given = {"model": "tiny", "messages": QUESTION, "seed": 99, "max_tokens": 20, "temperature": 1.5, **settings}
        extra = {"return_token_ids": True, **given.pop("extra_body", {})}
        answer = client.chat.completions.create(**given, extra_body=extra)
        return [choice.token_ids for choice in answer.choices]

    four = drawn(n=4)
    single = [drawn()[0] for _ in range(4)]
    assert single == four and len(set(map(tuple, single))) == 4
    assert [drawn(extra_body={"sample_index": i})[0] for i in (2, 0)] == [four[2], four[0]]
    assert drawn(seed=None) != drawn(seed=None)
    assert drawn(user="somebody") not in ([x] for x in four), "who asks makes no other request"


def test_a_format_of_the_answer(client: Any) -> None:
    pytest.importorskip("llguidance")
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    budget = {"thinking_token_budget": 30}
    answer = ask(client, n=4, response_format=form, extra_body=budget)
    for choice in answer.choices:
        assert set(json.loads(choice.message.content)) == {"a"} and choice.finish_reason == "stop"
        assert choice.message.reasoning, "thinking is free"
    off = {"thinking": {"type": "disabled"}}
    assert set(json.loads(ask(client, response_format=form, extra_body=off).choices[0].message.content)) == {"a"}
    chosen = ask(client, extra_body={"structured_outputs": {"choice": ["red", "blue"]}, **budget})
    assert chosen.choices[0].message.content in ("red", "blue")
    matched = ask(client, extra_body={"structured_outputs": {"regex": "[0-9]{3}"}, **budget}).choices[0].message.content
    assert len(matched) == 3 and matched.isdigit()


def test_parsed_answers(client: Any) -> None:
    pytest.importorskip("llguidance")
    from pydantic import BaseModel, Field

    class Sum(BaseModel):
        left: int = Field(ge=0, le=99)
        right: int = Field(ge=0, le=99)

    answer = client.chat.completions.parse(
        model="tiny", messages=QUESTION, response_format=Sum, seed=3, extra_body={"thinking_token_budget": 10}
    )
    assert isinstance(answer.choices[0].message.parsed, Sum)


def test_tools(client: Any) -> None:
    pytest.importorskip("llguidance")
    budget = {"thinking_token_budget": 5}
    named = {"type": "function", "function": {"name": "add"}}
    for choice, stream in (("required", False), (named, False), (named, True)):
        answer = ask(
            client, tools=[ADD], tool_choice=choice, stream=stream, parallel_tool_calls=False, extra_body=budget
        )
        if stream:
            deltas = [c for chunk in answer for c in chunk.choices]
            calls = [call for c in deltas for call in c.delta.tool_calls or []]
            finish = deltas[-1].finish_reason
        else:
            calls, finish = answer.choices[0].message.tool_calls, answer.choices[0].finish_reason
        assert finish == "tool_calls" and len(calls) == 1
        assert calls[0].type == "function" and calls[0].function.name == "add" and calls[0].id.startswith("call_")
        assert 0 <= json.loads(calls[0].function.arguments)["a"] <= 99
    called = {"role": "assistant", "tool_calls": [calls[0].model_dump()], "reasoning_content": "let me add"}
    talk = [*QUESTION, called, {"role": "tool", "tool_call_id": calls[0].id, "content": "12"}]
    again = ask(client, messages=talk, tools=[ADD], extra_body={"return_token_ids": True})
    assert again.choices[0].finish_reason in ("stop", "length")
    assert ask(client, tools=[ADD], tool_choice="none").usage.prompt_tokens == ask(client).usage.prompt_tokens


def test_an_answer_is_continued(client: Any) -> None:
    begun = [*QUESTION, {"role": "assistant", "content": "<think> 2*10=20: 20+7="}]
    message = ask(client, messages=begun, temperature=0, extra_body={"continue_final_message": True}).choices[0].message
    assert message.reasoning.startswith("27")
    begun[-1] = {"role": "assistant", "content": "<answer>2*10+", "prefix": True}  # type: ignore[dict-item]
    message = ask(client, messages=begun, temperature=0).choices[0].message
    assert message.content.startswith("7") and message.reasoning is None


async def _many(url: str) -> list[Any]:
    import asyncio

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=60) as client:

        async def one(seed: int) -> tuple[str, str]:
            given = {"model": "tiny", "messages": QUESTION, "seed": seed, "max_tokens": 60}
            stream = await client.chat.completions.create(**given, stream=True, extra_body={"sample_index": 0})
            deltas = [c.delta async for chunk in stream for c in chunk.choices]
            return tuple("".join(getattr(d, k, None) or "" for d in deltas) for k in ("reasoning", "content"))  # type: ignore[return-value]

        return await asyncio.gather(*(one(seed) for seed in range(24)))


def test_alone_and_in_a_crowd(client: Any, tiny_server: Served) -> None:
    """24 streams at once, of which 16 run: each is what it is alone."""
    import asyncio

    together = asyncio.run(_many(tiny_server.url))
    for seed in (0, 7, 23):
        message = ask(client, seed=seed, max_tokens=60).choices[0].message
        assert together[seed] == (message.reasoning or "", message.content or "")
