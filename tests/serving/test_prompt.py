"""Messages as prompts: R1's rules, templates with switches and tools, and those without."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aha.models.loading import load
from aha.serving.calls import DEEPSEEK, HERMES
from aha.serving.errors import ApiError
from aha.serving.prompt import ChatForm
from tiny_models import tokenizer

# The parts of DeepSeek-R1's template (February 2025) that matter here; the earlier one ends without `<think>\n`.
R1 = (
    "{% set ns = namespace(system='') %}{% for m in messages if m['role'] == 'system' %}"
    "{% set ns.system = m['content'] %}{% endfor %}<s>{{ ns.system }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<U>' + m['content'] }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{% set content = m['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<A>' + content + '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<A><think>\\n' }}{% endif %}"
)
OLD_R1 = R1.replace("<A><think>\\n", "<A>")
# A template with a switch and tools, as Qwen3's.
SWITCHED = (
    "{% if tools %}<sys>{% for t in tools %}{{ t | tojson }}{% endfor %}</sys>{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'tool' %}<tool_response>{{ m['content'] }}</tool_response>{% else %}<{{ m['role'] }}>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}</tool_call>"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "<think>two and two</think>\n\n4", "reasoning_content": "two and two"},
    {"role": "user", "content": "3+3?"},
]
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALLED = [
    {"role": "user", "content": "1+2?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "I shall add",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
]


def form_of(template: str, **settings: Any) -> ChatForm:
    made = tokenizer()
    made.chat_template = template
    return ChatForm(made, **settings)


def test_r1_thinks_and_drops_what_it_thought() -> None:
    prompt = form_of(R1).prompt(TALK)
    assert prompt.text == "<s>Be short.<U>2+2?<A>4</s><U>3+3?<A><think>\n"
    assert prompt.begin == "inside"
    assert form_of(OLD_R1).prompt(TALK) == prompt, "the earlier template is completed"
    free = form_of(OLD_R1, forced=False).prompt(TALK)
    assert free.text.endswith("<A>") and free.begin == "before", "the tag may come, or be missing"


def test_thinking_off() -> None:
    for template in (R1, OLD_R1):
        prompt = form_of(template).prompt(TALK, thinking=False)
        assert prompt.text.endswith("<A><think>\n\n</think>\n\n") and prompt.begin == "outside"
    switched = form_of(SWITCHED)
    assert switched.prompt(TALK[:2], thinking=False).text.endswith("<assistant><think>\n\n</think>\n\n")
    assert switched.prompt(TALK[:2]).text.endswith("<assistant><think>\n")


def test_a_model_that_does_not_think() -> None:
    form = form_of("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}bot:")
    assert not form.thinks
    prompt = form.prompt(TALK)
    assert prompt.text.endswith("bot:") and prompt.begin == "outside"
    assert "two and two" not in prompt.text
    assert form_of("bot:", thinking="on").prompt(TALK).text == "bot:<think>\n"
    assert form_of(R1, thinking="off").thinks is False


def test_the_embedded_model() -> None:
    form = ChatForm(load("tiny").tokenizer)
    assert form.thinks
    assert form.prompt(TALK[1:2]).text == "User: 2+2?\nAssistant:<think>"
    assert form.prompt(TALK[1:2], thinking=False).text == "User: 2+2?\nAssistant:<think></think>"
    assert form.prompt(TALK).text == "Be short.\nUser: 2+2?\nAssistant: 4\nUser: 3+3?\nAssistant:<think>"


def test_answers_that_are_continued() -> None:
    begun = [*TALK, {"role": "assistant", "content": "It is"}]
    assert form_of(R1).prompt(begun, continued=True).text.endswith("<U>3+3?<A>It is")
    assert form_of(R1).prompt(begun, continued=True).begin == "outside"
    thinking = [*TALK, {"role": "assistant", "content": "<think>\nthree and"}]
    for template in (R1, OLD_R1):
        prompt = form_of(template).prompt(thinking, continued=True)
        assert prompt.text.endswith("<U>3+3?<A><think>\nthree and") and prompt.begin == "inside"
    closed = [*TALK, {"role": "assistant", "content": "<think>\nsix</think>It is"}]
    prompt = form_of(R1).prompt(closed, continued=True)
    assert prompt.text.endswith("<A><think>\nsix</think>It is") and prompt.begin == "outside"


def test_tools_in_a_template_that_knows_them() -> None:
    form = form_of(SWITCHED)
    assert form.knows_tools and form.calls is HERMES
    text = form.prompt(CALLED, tools=[ADD]).text
    assert text.startswith('<sys>{"type": "function", "function": {"name": "add"')
    assert '<think>I shall add</think><tool_call>add {"a": 1}</tool_call><tool_response>3</tool_response>' in text
    assert form_of(SWITCHED + "<｜tool▁call▁begin｜>").calls is DEEPSEEK


def test_a_template_that_wants_arguments_as_text() -> None:
    template = SWITCHED.replace("{{ c.function.arguments | tojson }}", "{{ 'x' + c.function.arguments }}")
    assert '<tool_call>add x{"a": 1}</tool_call>' in form_of(template).prompt(CALLED, tools=[ADD]).text


def test_tools_as_text_where_the_template_knows_none() -> None:
    text = form_of(R1).prompt([TALK[0], *CALLED], tools=[ADD]).text
    system, _, rest = text.partition("<U>")
    assert system.startswith("<s>Be short.\n\nYou may call") and json.dumps(ADD) in system
    assert '{"name": "add", "arguments": {"a": 1}}\n</tool_call></s>' in rest
    assert rest.endswith("<U><tool_response>\n3\n</tool_response><A><think>\n")
    plain = ChatForm(load("tiny").tokenizer).prompt(CALLED, tools=[ADD]).text
    assert "<think>\nI shall add\n</think>" in plain and "<tool_response>\n3\n</tool_response>" in plain


@pytest.mark.parametrize("name", ["chat_template", "tools", "messages", "tokenize", "add_generation_prompt", "colour"])
def test_settings_that_a_template_does_not_read(name: str) -> None:
    with pytest.raises(ApiError, match="chat template reads no"):
        form_of(SWITCHED).prompt(TALK, settings={name: "{{ 1 }}"})


def test_settings_that_it_reads() -> None:
    form = form_of("{{ colour }}{% for m in messages %}{{ m.content }}{% endfor %}")
    assert form.prompt(TALK[:2], settings={"colour": "red"}).text == "redBe short.2+2?"


def test_what_a_template_refuses_is_said() -> None:
    form = form_of("{% for m in messages %}{{ raise_exception('no ' + m.role) }}{% endfor %}")
    with pytest.raises(ApiError, match="refuses the messages: no system"):
        form.prompt(TALK)
