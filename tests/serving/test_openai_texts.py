"""Completions and responses through OpenAI's own client, and log-probs against plain `transformers`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from serving_models import Served
from transformers import AutoModelForCausalLM

from aha.models.loading import resolve

openai = pytest.importorskip("openai")

QUESTION = "Using each of 7, 2, 10 once and + - *, make 27."
PROMPT = f"User: {QUESTION}\nAssistant:"


@pytest.fixture(scope="module")
def client(tiny_server: Served) -> Any:
    return openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="none", timeout=60, max_retries=0)


def complete(client: Any, prompt: Any, **settings: Any) -> Any:
    extra = settings.pop("extra_body", {})
    given = {"model": "tiny", "prompt": prompt, "seed": 1, "max_tokens": 24, **settings}
    return client.completions.create(**given, extra_body={"sample_index": 0, **extra})


def test_four_forms_of_prompts(client: Any, tiny_server: Served) -> None:
    ids = tiny_server.service.vocabulary.encode(PROMPT)
    expected = complete(client, PROMPT).choices[0].text
    assert expected and complete(client, ids).choices[0].text == expected
    for prompts in ([PROMPT, "Hi"], [ids, tiny_server.service.vocabulary.encode("Hi")]):
        answer = complete(client, prompts, n=2)
        assert [c.index for c in answer.choices] == [0, 1, 2, 3]
        assert answer.choices[0].text == expected != answer.choices[1].text
        assert answer.usage.prompt_tokens == len(ids) + len(tiny_server.service.vocabulary.encode("Hi"))
    assert complete(client, PROMPT, max_tokens=None, extra_body={"ignore_eos": True}).usage.completion_tokens == 16


def test_streams_echo_and_stop(client: Any) -> None:
    whole = complete(client, PROMPT, echo=True, logprobs=2, n=2)
    chunks = list(
        complete(client, PROMPT, echo=True, logprobs=2, n=2, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        assert choice.text.startswith(PROMPT)
        parts = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert "".join(c.text for c in parts) == choice.text
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert [x for c in parts for x in getattr(c.logprobs, name)] == getattr(choice.logprobs, name), name
    text = complete(client, PROMPT, max_tokens=60).choices[0].text
    stopped = complete(client, PROMPT, max_tokens=60, stop="</think>").choices[0]
    assert "</think>" in text and stopped.text == text.partition("</think>")[0]
    assert stopped.finish_reason == "stop" and stopped.stop_reason == "</think>"


def test_log_likelihoods_are_those_of_transformers(client: Any, tiny_server: Served) -> None:
    """As evaluation harnesses ask: the prompt is echoed with log-probs, and one token follows."""
    stock = AutoModelForCausalLM.from_pretrained(resolve("tiny"), dtype=torch.float32, attn_implementation="eager")
    texts = [f"{PROMPT}<think> 2*10=20: 20+7=27 yes!</think><answer>2*10+7</answer>", PROMPT + "é 我 17", "x"]
    prompts = [tiny_server.service.vocabulary.encode(text) for text in texts]
    answer = complete(client, prompts, echo=True, logprobs=1, max_tokens=1, temperature=0)
    for ids, text, choice in zip(prompts, texts, answer.choices, strict=True):
        found = choice.logprobs
        assert choice.text.startswith(text)
        assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(ids) + 1
        assert found.token_logprobs[0] is None and found.top_logprobs[0] is None
        with torch.no_grad():
            logits = stock(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
        expected = torch.log_softmax(logits, -1)
        own = expected[torch.arange(len(ids) - 1), torch.tensor(ids[1:], dtype=torch.long)].tolist()
        np.testing.assert_allclose(found.token_logprobs[1:-1], own, atol=1e-3)
        greedy = [int(row.argmax()) == following for row, following in zip(logits[:-1], ids[1:], strict=True)]
        pairs = zip(found.token_logprobs[1:-1], found.top_logprobs[1:-1], strict=True)
        assert [value == max(top.values()) for value, top in pairs] == greedy
        assert found.text_offset[0] == 0 and found.text_offset == sorted(found.text_offset)


def test_a_prompt_is_scored_alone(client: Any) -> None:
    choice = complete(client, PROMPT, echo=True, logprobs=0, max_tokens=0).choices[0]
    assert choice.text == PROMPT and len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs)
    assert all(len(top) == 1 for top in choice.logprobs.top_logprobs[1:])


def respond(client: Any, **settings: Any) -> Any:
    extra = {"seed": 1, "sample_index": 0, **settings.pop("extra_body", {})}
    given = {"model": "tiny", "input": QUESTION, "max_output_tokens": 200, **settings}
    return client.responses.create(**given, extra_body=extra)


def test_a_response(client: Any) -> None:
    answer = respond(client)
    assert [item.type for item in answer.output] == ["reasoning", "message"] and answer.status == "completed"
    chat = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": QUESTION}], seed=1, max_tokens=200,
        extra_body={"sample_index": 0},
    ).choices[0]  # fmt: skip
    assert answer.output_text == chat.message.content
    assert answer.output[0].content[0].text == chat.message.reasoning
    assert answer.usage.output_tokens_details.reasoning_tokens > 0
    cut = respond(client, max_output_tokens=5)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    assert respond(client, reasoning={"effort": "none"}, max_output_tokens=9).output[0].type == "message"


def test_a_response_as_a_stream(client: Any) -> None:
    whole, events = respond(client), list(respond(client, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert [e.type for e in events[:3]] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert events[-1].type == "response.completed"
    joined = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert joined == whole.output_text == events[-1].response.output_text
    thought = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
    assert thought == whole.output[0].content[0].text
    opened = [e.item.type for e in events if e.type == "response.output_item.added"]
    assert opened == [e.item.type for e in events if e.type == "response.output_item.done"] == ["reasoning", "message"]
    with client.responses.stream(model="tiny", input=QUESTION, max_output_tokens=30, extra_body={"seed": 1}) as stream:
        assert list(stream)[-1].type in ("response.completed", "response.incomplete")


def test_tools_and_formats_of_responses(client: Any) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "name": "add", "parameters": schema, "strict": True}
    brief = {"effort": "low"}
    answer = respond(client, tools=[tool], tool_choice="required", parallel_tool_calls=False, reasoning=brief)
    call = answer.output[-1]
    assert call.type == "function_call" and call.name == "add" and "a" in json.loads(call.arguments)
    events = list(
        respond(client, tools=[tool], tool_choice={"type": "function", "name": "add"}, reasoning=brief, stream=True)
    )
    assert [e.name for e in events if e.type == "response.function_call_arguments.done"] == ["add"]
    talk = [
        {"role": "user", "content": QUESTION},
        *[item.model_dump(exclude_none=True) for item in answer.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "12"},
    ]
    assert respond(client, input=talk, tools=[tool], max_output_tokens=9).status in ("incomplete", "completed")
    form = {"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": True}}
    assert set(json.loads(respond(client, text=form, reasoning=brief).output_text)) == {"a"}


def test_tokens_and_text(client: Any, tiny_server: Served) -> None:
    import httpx2 as httpx

    with httpx.Client(base_url=tiny_server.url) as http:
        found = http.post("/tokenize", json={"prompt": "7*8 é", "return_token_strs": True}).json()
        assert found["count"] == len(found["tokens"]) == len(found["token_strs"]) and found["max_model_len"] == 1024
        assert http.post("/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "7*8 é"}
        talk = http.post("/tokenize", json={"messages": [{"role": "user", "content": QUESTION}]}).json()
        assert tiny_server.service.vocabulary.join(talk["tokens"]) == PROMPT + "<think>"
        facts = http.get("/tokenizer_info").json()
        assert facts["eos_token"] == "<|endoftext|>" and "User: " in facts["chat_template"]
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").max_model_len == 1024
