"""A plain template as a chat template, so that a trained model is asked by every server as it was in training."""

from __future__ import annotations

import json

from transformers import PreTrainedTokenizerBase

from aha.models.templates import QUESTION, SENTENCE_ENDS, Template, adds_bos, choose


def remember_template(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Make the template `name`, where it is a plain one, the tokenizer's own chat template."""
    row = choose(name, tokenizer)
    if row.text:
        tokenizer.chat_template = as_chat_template(row, tokenizer)


def as_chat_template(template: Template, tokenizer: PreTrainedTokenizerBase) -> str:
    """The Jinja text under which `apply_chat_template` gives the ids that `render` gives for a plain `template`."""
    preamble, user, turn = template.text.partition("User:")
    between = "\n" if "\n" in turn else " "
    before, after = turn.split(QUESTION)
    dotless = after.removeprefix(".")
    ends = "[" + ", ".join(map(json.dumps, SENTENCE_ENDS)) + "]"
    closing = f"({_text(dotless)} if content[-1:] in {ends} else {_text(after)})"
    return (
        ("{{ bos_token }}" if adds_bos(tokenizer) else "")
        + f"{{{{ {_text(preamble)} }}}}"
        + "{% for m in messages if m['role'] == 'system' %}"
        + f"{{{{ m['content'] | trim + {_text(between)} }}}}"
        + "{% endfor %}{% for m in messages %}{% set content = m['content'] | trim %}{% if m['role'] == 'user' %}"
        + f"{{{{ {_text(user + before)} + content + {closing} }}}}"
        + "{% elif m['role'] == 'assistant' %}"
        + f"{{{{ ' ' + content + {_text(between)} }}}}"
        + "{% endif %}{% endfor %}"
    )


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
