"""A plain template and its chat template give the same ids."""

from __future__ import annotations

import pytest

from aha.models.chat_template import as_chat_template
from aha.models.templates import TEMPLATES, render
from aha.types import Message
from tiny_models import tokenizer

PLAIN = [name for name, row in TEMPLATES.items() if row.text]
TALKS = [
    (Message("user", "Make 22 from 3, 5, 7."),),
    (Message("user", "What is 2+2"),),
    (Message("user", "用3、5各一次。"),),
    (
        Message("system", " Be brief. "),
        Message("user", 'He said "no" {x}?'),
        Message("assistant", "4"),
        Message("user", "why"),
    ),
]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("talk", TALKS)
def test_same_ids(name: str, talk: tuple[Message, ...]) -> None:
    made = tokenizer()
    expected = render(talk, name, made)
    made.chat_template = as_chat_template(TEMPLATES[name], made)
    assert render(talk, "chat", made) == expected
    assert render(talk, "auto", made) == expected
