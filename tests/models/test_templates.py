"""Templates become ids exactly; responses are read exactly, in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from aha.errors import UserError
from aha.models.templates import TEMPLATES, parse, render
from aha.types import Message

PAPER = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>. User: prompt. Assistant:"
)
CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
PARTS = ("<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "{", "\\", " ", "x")


def tokenizer(*, bos: bool = False, eos: bool = False, chat: str | None = None) -> PreTrainedTokenizerFast:
    """Bytes as tokens; `bos` and `eos` are put around a text where special tokens are wanted."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, "<s>", "</s>"])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<s>", "</s>"])
    single = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
    core.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 256), ("</s>", 257)])
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    made.chat_template = chat
    return made


def shown(template: str, *messages: Message, **kind: object) -> str:
    t = tokenizer(**kind)  # type: ignore[arg-type]
    return str(t.decode(list(render(messages, template, t)), skip_special_tokens=False))


def user(text: str) -> Message:
    return Message("user", text)


def test_r1_zero_is_the_papers_text() -> None:
    assert TEMPLATES["r1-zero"].text == PAPER.replace("User: prompt.", "User: {question}.")
    assert shown("r1-zero", user("Add 3 and 5")) == PAPER.replace("prompt", "Add 3 and 5")


@pytest.mark.parametrize("question", ["How many?", "Compute 3+5.", "计算3+5。"])
def test_r1_zero_adds_no_second_full_stop(question: str) -> None:
    assert shown("r1-zero", user(question)).endswith(f"</answer>. User: {question} Assistant:")


def test_short_and_its_next_turn() -> None:
    assert shown("short", user("Compute 3+5.")) == "User: Compute 3+5.\nAssistant:"
    turns = (user("1+1"), Message("assistant", "2"), user("2+2"))
    assert shown("short", *turns) == "User: 1+1\nAssistant: 2\nUser: 2+2\nAssistant:"
    assert shown("short", Message("system", "Be brief."), user("1+1")) == "Be brief.\nUser: 1+1\nAssistant:"


def test_a_question_may_hold_the_placeholder() -> None:
    assert shown("short", user("{question}{0}")) == "User: {question}{0}\nAssistant:"


@pytest.mark.parametrize(("bos", "eos"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_plain_template_gets_the_tokenizers_bos_and_nothing_else(bos: bool, eos: bool) -> None:
    ids = render((user("1+1"),), "short", tokenizer(bos=bos, eos=eos))
    assert ids.count(256) == bos and (ids[0] == 256) == bos and 257 not in ids


@pytest.mark.parametrize("template", ["chat", "auto"])
def test_chat_is_the_tokenizers_own_with_one_bos(template: str) -> None:
    assert shown(template, user("1+1"), bos=True, eos=True, chat=CHAT) == "<s>[user]1+1[assistant]"


def test_auto_without_a_chat_template_is_r1_zero() -> None:
    assert shown("auto", user("1+1")) == shown("r1-zero", user("1+1"))


def test_errors_name_the_remedy() -> None:
    with pytest.raises(UserError, match="did you mean 'short'"):
        render((user("1"),), "shrt", tokenizer())
    with pytest.raises(UserError, match="has none; use 'r1-zero'"):
        render((user("1"),), "chat", tokenizer())
    with pytest.raises(UserError, match=r"refuses the messages .*no system"):
        render((user("1"),), "chat", tokenizer(chat="{{ raise_exception('no system') }}"))


@pytest.mark.parametrize(
    ("text", "reasoning", "answer", "well_formed"),
    [
        ("<think>3*5=15</think><answer>15</answer>", "3*5=15", "15", True),
        (" <think>a</think>\n\n<answer> 15 </answer>\n", "a", "15", True),
        ("<think>a</think><answer>15", "a", None, False),
        ("<think>a</think><answer>1</answer><answer>2", "a", None, False),
        ("<think>a</think><answer>1</answer><answer>2</answer>", "a", "2", False),
        ("<think>a</think>so <answer>1</answer>", "a", "1", False),
        ("<think>a</think><answer>1</answer>.", "a", "1", False),
        ("<think> </think><answer>1</answer>", " ", "1", False),
        ("<think>a</think><answer> </answer>", "a", None, False),
        ("<answer>1</answer><think>a</think>", "a", "1", False),
        ("<think>a<answer>1</answer>", "a<answer>1</answer>", "1", False),
        ("<think>a<answer>1</answer></think>", "a<answer>1</answer>", "1", False),
        ("a</think><answer>1</answer>", "a", "1", False),
        ("<think>a<think>b</think><answer>1</answer>", "a<think>b", "1", False),
        ("<think>a", "a", None, False),
        ("It is 15.", "", None, False),
        ("", "", None, False),
        ("<think>a</think><answer>so \\boxed{15}</answer>", "a", "15", True),
        ("<think>a</think><answer>so \\boxed{15</answer>", "a", None, True),
        ("<think>a</think> \\boxed{\\frac{1}{2}}", "a", "\\frac{1}{2}", False),
        ("First \\boxed{3}, no wait \\boxed{5}.", "", "5", False),
        ("\\boxed{3} \\boxed{", "", None, False),
        ("\\boxed{3} and \\boxed{5", "", None, False),
        ("\\boxed{}", "", None, False),
        ("\\boxed{\\boxed{5}}", "", "5", False),
        ("\\boxed{\\{1, 2\\}}", "", "\\{1, 2\\}", False),
        ("\\boxed {7}", "", "7", False),
        ("\\boxed{3}<answer>4</answer>", "", "4", False),
        ("\\boxed{3}<answer>4", "", None, False),
    ],
)
def test_parse(text: str, reasoning: str, answer: str | None, well_formed: bool) -> None:
    parsed = parse(text)
    assert (parsed.reasoning, parsed.answer, parsed.well_formed) == (reasoning, answer, well_formed)


def test_parse_after_a_prompt_that_opened_the_tag() -> None:
    assert parse("a</think><answer>1</answer>", prefilled=True).well_formed
    assert parse("a, cut off", prefilled=True).reasoning == "a, cut off"
    assert not parse("<think>a</think><answer>1</answer>", prefilled=True).well_formed


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
def test_parse_never_crashes_and_well_formed_text_has_one_shape(text: str) -> None:
    parsed = parse(text)
    if parsed.well_formed:
        assert [text.count(part) for part in PARTS[:4]] == [1] * 4
        assert text.strip() == text[text.index("<think>") : text.index("</answer>") + len("</answer>")]
        assert text[text.index("</think>") + len("</think>") : text.index("<answer>")].strip() == ""
    if parsed.answer is not None:
        assert parsed.answer == parsed.answer.strip() != ""


@pytest.mark.parametrize("part", [*PARTS, "<", "\\boxed ", "<think></think>", "<answer>\\boxed{", "{\\boxed{"])
def test_parse_is_linear(part: str) -> None:
    text = part * (200_000 // len(part))
    began = time.perf_counter()
    parse(text)
    assert time.perf_counter() - began < 1.0
