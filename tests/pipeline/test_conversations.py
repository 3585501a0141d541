"""Conversations: their files, other programs' rows, and what of a conversation is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha.errors import UserError
from aha.models.dialogue import Dialogue
from aha.models.loading import load
from aha.pipeline.conversations import Conversation, read, sample_of, write
from aha.types import Message

TALK = Conversation("p-1", "countdown", (Message("user", "3+4?"),), "<think>3+4=7</think><answer>7</answer>", "en", 9)


def test_round_trip(tmp_path: Path) -> None:
    rows = [TALK, Conversation("q", "", (Message("system", "s"), Message("user", "你好\u2028?")), "好", "zh")]
    write(tmp_path / "data.jsonl", rows)
    assert read(tmp_path / "data.jsonl") == rows


def test_rows_of_other_programs(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    lines = [
        {"messages": [*turns, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]},
        {"prompt": "a", "completion": "b"},
        {"question": "a", "response": "b", "id": 7},
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second, third = read(file)
    assert [m.content for m in first.messages] == ["a", "b", "c"] and first.response == "d" and first.id == "mine-1"
    assert second.messages == (Message("user", "a"),) and (third.id, third.response) == ("7", "b")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "row 1 is not JSON"),
        ("[]", "row 1 is no JSON object"),
        ('{"prompt": "a"}', "row 1 has no text under 'response'"),
        ('{"messages": [{"role": "user"}], "response": "b"}', "row 1 has a message without a role"),
        ('{"messages": [{"role": "assistant", "content": "b"}]}', "row 1 has no message before the response"),
        ('{"response": "b"}', "row 1 has no text under 'prompt'"),
    ],
)
def test_what_is_no_conversation_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / "x.jsonl")
    with pytest.raises(UserError, match="no file"):
        read(tmp_path / "y.jsonl")


def test_the_response_and_its_end_are_trained_and_the_prompt_is_not() -> None:
    loaded = load("tiny")
    dialogue = Dialogue(loaded.tokenizer, "short", loaded.eos_ids)
    sample = sample_of(TALK, dialogue)
    trained = [i for i, on in zip(sample.ids, sample.loss_mask, strict=True) if on]
    rest = [i for i, on in zip(sample.ids, sample.loss_mask, strict=True) if not on]
    assert loaded.tokenizer.decode(rest) == "User: 3+4?\nAssistant:"
    assert loaded.tokenizer.decode(trained) == TALK.response + "<|endoftext|>"
    assert sample.loss_mask == (0,) * len(rest) + (1,) * len(trained)


def test_thinking_that_the_template_opens_is_not_opened_twice(tiny) -> None:
    loaded = load(str(tiny("qwen3", chat=True)))
    tokenizer = loaded.tokenizer
    tokenizer.chat_template = tokenizer.chat_template.replace("bot:", "bot:<think>")
    sample = sample_of(TALK, Dialogue(tokenizer, "chat", loaded.eos_ids))
    assert tokenizer.decode(sample.ids).count("<think>") == 1
