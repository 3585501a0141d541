"""The ways in which the paper asks for cold-start data: plainly, with a long chain as an example, or for reflection.

Source: DeepSeek-R1, v1, section 2.3.1: few-shot prompting with a long chain of thought as an example, prompting
directly for detailed answers with reflection and verification, and readable outputs of R1-Zero. What is learned
afterwards has the plain question: the example and the request are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aha.errors import UserError, nearest
from aha.pipeline.conversations import Conversation
from aha.types import Message, Problem

ASK = {
    "en": "Think step by step, turn back where a way fails, and verify the answer before you give it.",
    "zh": "请一步一步思考，走不通就回头，给出答案之前先验证。",
}

# (problem, examples with long responses) -> the problem as it is put
Way = Callable[[Problem, Sequence[Conversation]], Problem]


def plain(problem: Problem, _: Sequence[Conversation]) -> Problem:
    """The question alone."""
    return problem


def few_shot(problem: Problem, examples: Sequence[Conversation]) -> Problem:
    """After earlier turns with long responses; the question alone where there is no example yet."""
    turns = [m for c in examples for m in (*c.messages, Message("assistant", c.response))]
    return replace(problem, messages=(*turns, *problem.messages))


def direct(problem: Problem, _: Sequence[Conversation]) -> Problem:
    """With a request to reflect and to verify."""
    *earlier, last = problem.messages
    asked = Message(last.role, f"{last.content} {ASK.get(problem.language, ASK['en'])}")
    return replace(problem, messages=(*earlier, asked))


WAYS: dict[str, Way] = {"plain": plain, "few-shot": few_shot, "direct": direct}


def check(ways: Mapping[str, float]) -> None:
    """Raises UserError for a way that does not exist."""
    if not ways or not all(share > 0 for share in ways.values()):
        raise UserError(f"ways {dict(ways)} to put a question: give at least one, each with a share above 0")
    for name in ways:
        if name not in WAYS:
            raise UserError(f"unknown way {name!r} to put a question{nearest(name, WAYS)}")
