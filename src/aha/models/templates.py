"""Prompt templates and the views of a response: messages become token ids, text becomes reasoning and answer.

    ids = render(problem.messages, "r1-zero", tokenizer)
    parse("<think>3*5=15</think><answer>15</answer>")   # Parsed("3*5=15", "15", well_formed=True)

A plain template is text that stands before the response. "chat" is the tokenizer's own chat template; "auto" is "chat"
where the tokenizer has one, else "r1-zero".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from aha.errors import UserError, nearest
from aha.rewards.maths.extract import final_answer
from aha.types import Message, Parsed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION = "{question}"


@dataclass(frozen=True, slots=True)
class Template:
    """`text` with `{question}` in it; empty where the tokenizer's chat template is used.

    A full stop right after `{question}` is left out where the question ends its own sentence.
    """

    name: str
    text: str = ""


TEMPLATES: dict[str, Template] = {
    # DeepSeek-R1, arXiv 2501.12948 v1, table 1; its word "prompt" stands for the question.
    "r1-zero": Template(
        "r1-zero",
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
        "assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
        "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
        "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
        "User: {question}. Assistant:",
    ),
    "short": Template("short", "User: {question}\nAssistant:"),  # of the tiny family
    "chat": Template("chat"),
    "auto": Template("auto"),
}

SENTENCE_ENDS = (".", "?", "!", ":", ";", "…", "。", "？", "！", "：", "；")
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def choose(template: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The row that `template` names for this tokenizer; "auto" is resolved.

    Raises UserError for an unknown name, and for "chat" where the tokenizer has no chat template.
    """
    if template not in TEMPLATES:
        raise UserError(f"unknown template {template!r}{nearest(template, TEMPLATES)}")
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if template == "auto":
        return TEMPLATES["chat" if has_chat else "r1-zero"]
    if template == "chat" and not has_chat:
        raise UserError("template 'chat' needs a chat template, and the tokenizer has none; use 'r1-zero' or 'auto'")
    return TEMPLATES[template]


def render(messages: Sequence[Message], template: str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The prompt's ids: all messages, ready for the assistant's next turn.

    A plain template gets the BOS token that the tokenizer itself would put first, and no other special token. A chat
    template writes its own. Raises UserError as `choose` does, and where the chat template refuses the messages.
    """
    row = choose(template, tokenizer)
    if row.text:
        ids: list[int] = tokenizer.encode(fill(row, messages), add_special_tokens=False)
        return (*_bos(tokenizer, ids), *ids)
    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        chat = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    except TemplateError as error:
        raise UserError(f"the tokenizer's chat template refuses the messages ({error}); use 'r1-zero'") from error
    return tuple(chat)


def fill(template: Template, messages: Sequence[Message]) -> str:
    """The text of a plain template with `messages` in it; what stands before `User:` comes once, system turns first."""
    preamble, user, turn = template.text.partition("User:")
    between = "\n" if "\n" in turn else " "
    system = "".join(m.content.strip() + between for m in messages if m.role == "system")
    text = ""
    for message in messages:
        content = message.content.strip()
        if message.role == "user":
            dotted = not content.endswith(SENTENCE_ENDS)
            place = turn if dotted else turn.replace(QUESTION + ".", QUESTION)
            text += user + place.replace(QUESTION, content)
        elif message.role == "assistant":
            text += " " + content + between
    return preamble + system + text


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True where the tokenizer itself puts a BOS token before a text."""
    bos = tokenizer.bos_token_id
    plain, special = (tokenizer.encode("a", add_special_tokens=on)[:1] for on in (False, True))
    return bos is not None and special == [bos] != plain


def _bos(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> tuple[int, ...]:
    """The BOS token where the tokenizer would add it and the text does not begin with it already."""
    bos = tokenizer.bos_token_id
    return (bos,) if adds_bos(tokenizer) and ids[:1] != [bos] else ()


def parse(text: str, *, prefilled: bool = False) -> Parsed:
    """The views of a response; one pass, whatever the text holds.

    `reasoning` is what stands in `<think>..</think>`: to the end where the tag is never closed, from the beginning
    where it is only closed (a template may have opened it). `answer` is the last `<answer>..</answer>`, else the last
    `\\boxed{..}`; None where that last one is unfinished or empty, whatever came before it. `well_formed`: the four
    tags once each and in order, neither part empty, only white space outside. `prefilled` says that the prompt ended
    with `<think>`.
    """
    whole = "<think>" + text if prefilled else text
    return Parsed(_reasoning(whole), final_answer(whole) or None, _well_formed(whole))


def _reasoning(text: str) -> str:
    _, opened, after = text.partition("<think>")
    if opened:
        return after.partition("</think>")[0]
    inside, closed, _ = text.partition("</think>")
    return inside if closed else ""


def _well_formed(text: str) -> bool:
    if any(text.count(tag) != 1 for tag in _TAGS):
        return False
    text = text.strip()
    reasoning, closed, rest = text.removeprefix("<think>").partition("</think>")
    answer = rest.strip().removeprefix("<answer>").removesuffix("</answer>")
    return (
        text == f"<think>{reasoning}{closed}{rest}"
        and rest.strip() == f"<answer>{answer}</answer>"
        and bool(reasoning.strip())
        and bool(answer.strip())
    )
