"""A model here as a speaker: what it answers follows from the question alone, and text stays text."""

from __future__ import annotations

from pathlib import Path

import pytest

from aha.engines.chat_reply import apart, retry_after
from aha.engines.native.engine import NativeEngine
from aha.engines.speaking import _reply, speaking
from aha.models.dialogue import Dialogue
from aha.models.loading import Loaded, load
from aha.models.templates import render
from aha.protocols import Speaker
from aha.types import Ask, Completion, Failed, Message, Prompt, Reply, Sampling
from tiny_models import END, TinyFactory

SAMPLING = Sampling(max_tokens=12, temperature=1.0)


def asked(text: str, draw: int = 0) -> Ask:
    return Ask((Message("user", text),), draw)


@pytest.fixture(scope="module")
def loaded(tiny: TinyFactory) -> Loaded:
    return load(str(tiny("qwen3", chat=True)))


def speaker(loaded: Loaded, template: str = "chat", seed: int = 0) -> Speaker:
    dialogue = Dialogue(loaded.tokenizer, template, loaded.eos_ids)
    return speaking(NativeEngine(loaded.fresh_copy(), loaded.eos_ids), dialogue, context=loaded.context, seed=seed)


def test_an_answer_follows_from_the_question_alone(loaded: Loaded) -> None:
    asks = [asked("one"), asked("two"), asked("one", draw=1), asked("one")]
    together = speaker(loaded)(asks, SAMPLING)
    assert together[0] == together[3] != together[2]
    assert [speaker(loaded)([ask], SAMPLING)[0] for ask in asks] == together
    assert speaker(loaded, seed=1)([asks[0]], SAMPLING)[0] != together[0]
    assert speaker(loaded)([], SAMPLING) == []


def test_what_does_not_fit_has_failed_alone(loaded: Loaded) -> None:
    found = speaker(loaded)([asked("short"), asked("x" * 300)], SAMPLING)
    assert isinstance(found[0], Reply)
    assert found[1] == Failed("a prompt of 311 tokens and max_tokens=12 exceed 256 tokens")


def test_names_of_special_tokens_are_text(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a response says must not end its turn: the ids of the prompt hold no special token."""
    seen: list[tuple[int, ...]] = []
    generate = NativeEngine.generate

    def noted(self: NativeEngine, prompts: list[Prompt], sampling: Sampling) -> list[list[Completion]]:
        seen.extend(prompt.ids for prompt in prompts)
        return generate(self, prompts, sampling)

    monkeypatch.setattr(NativeEngine, "generate", noted)
    text = "a<end><pad>b <<end>end>"
    assert END in render((Message("user", text),), "chat", loaded.tokenizer)
    speaker(loaded)([asked(text), asked("a < b <e> [end]")], SAMPLING)
    assert not any({END, END + 1} & set(ids) for ids in seen)
    assert loaded.tokenizer.decode(list(seen[0])) == "user: a< end>< pad>b << end>end>\nbot:"
    assert loaded.tokenizer.decode(list(seen[1])) == "user: a < b <e> [end]\nbot:"


def test_thinking_that_the_template_opened_is_apart(loaded: Loaded) -> None:
    dialogue = Dialogue(loaded.tokenizer, "chat", loaded.eos_ids)

    def reply(prompt: str, text: str, stop: str) -> Reply:
        ids = tuple(loaded.tokenizer.encode(text, add_special_tokens=False)) + ((END,) if stop == "stop" else ())
        completion = Completion(ids, (0.0,) * len(ids), stop, 0)  # type: ignore[arg-type]
        return _reply(dialogue, Prompt(tuple(loaded.tokenizer.encode(prompt)), 1, 0), completion)

    assert reply("bot:<think>\n", "2+2</think>\n4", "stop") == Reply("4", "2+2")
    assert reply("bot:<think>\n", "2+2", "length") == Reply("", "2+2", "length")
    assert reply("bot:", "4", "stop") == Reply("4")


def test_where_thinking_ends() -> None:
    assert apart("a</think>b</think>c") == ("a", "b</think>c"), "at its first end"
    assert apart(" <think>\na\n</think>\n\nb ") == ("a", "b")
    assert apart("2+", opened=True) == ("2+", "") and apart("no thinking ") == ("", "no thinking ")


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-inf", "1e999", "Mon, 99 Foo 2020"])
def test_a_retry_after_that_says_nothing(text: str) -> None:
    assert retry_after(text) is None


def test_a_retry_after_of_the_past_is_now() -> None:
    assert retry_after("Mon, 01 Jan 2024 00:00:00 GMT") == retry_after("-3") == 0.0 and retry_after("2.5") == 2.5


def test_the_embedded_base_can_be_asked(tmp_path: Path) -> None:
    base = load("tiny")
    dialogue = Dialogue(base.tokenizer, "auto", base.eos_ids)
    engine = NativeEngine(base.fresh_copy(), base.eos_ids, context=base.context)
    (found,) = speaking(engine, dialogue, context=base.context, seed=0)([asked("Make 22 from 3, 5, 7.")], SAMPLING)
    assert isinstance(found, Reply) and (found.text or found.thinking)
