"""Every reward on plain text: a completion, the columns that stand beside it, an outcome.

grade_row(find_reward("math"), "so \\\\boxed{3/4}", {"answer": "0.75"})     # Score(1.0, "...")

What a column must hold is said by each function; docs/rewards.md has an example of each. A column that is missing or
of another type is Failed, one that is null Abstain: the data's fault is never a score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aha.errors import UserError, boundary, nearest
from aha.types import Abstain, Completion, Failed, Outcome, Problem, Rollout, Score, StopReason

if TYPE_CHECKING:
    from aha.protocols import Task

Columns = Mapping[str, Any]
RowReward = Callable[[str, Columns], Outcome]


def find_reward(name: str, *, unsafe: bool = False) -> RowReward:
    """The reward `name`; `unsafe` lets code run without a sandbox. Raises UserError for an unknown one."""
    from aha.rewards.table import REWARDS

    known = {name: partial(of_rollout, name) for name in REWARDS if name not in NOT_OF_ROWS} | ROW_REWARDS
    if name not in known:
        raise UserError(f"unknown reward {name!r}{nearest(name, known)}")
    if unsafe and name != "code":
        raise UserError(f"reward {name!r} runs nothing, so that --unsafe means nothing to it; leave it out")
    return partial(code, unsafe=True) if unsafe else known[name]


def grade_row(reward: RowReward, completion: Any, columns: Columns) -> Outcome:
    """The outcome of one completion, a text or a list of chat messages; what is wrong with the row is Failed."""

    def outcome() -> Outcome:
        try:
            return reward(text_of(completion), columns)
        except UserError as error:
            return Failed(str(error))

    return boundary(outcome, "reward")


def text_of(completion: Any) -> str:
    """The text of a completion: itself, or what the assistant's messages of a list say (not a tool's, not a user's)."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence) and all(isinstance(message, Mapping) for message in completion):
        own = [message for message in completion if message.get("role", "assistant") == "assistant"]
        return "".join(_content(message.get("content")) for message in own)
    raise UserError(f"the completion is a {type(completion).__name__}; give a text or a list of chat messages")


def _content(content: Any) -> str:
    """A message's text; parts that are no text (pictures, calls of tools) hold none."""
    if isinstance(content, list):
        return "".join(_content(part.get("text")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def column(columns: Columns, name: str, *kinds: type, otherwise: Any = ...) -> Any:
    """The value under `name`, of one of `kinds`; `otherwise` where there is none. Raises UserError."""
    value = columns.get(name)
    if value is None and otherwise is not ...:
        return otherwise
    if name not in columns:
        raise UserError(f"the row has no {name!r}")
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"the row has a {type(value).__name__} under {name!r}; give {wanted}")
    return value


def math(text: str, columns: Columns) -> Outcome:
    """1 where the last finished box or answer tag means the same as "answer", a text or a number."""
    from aha.rewards.maths import grade
    from aha.rewards.maths.extract import final_answer

    if columns.get("answer", "") is None:
        return Abstain("the row has no answer to compare with")
    gold = str(column(columns, "answer", str, int, float))
    answer = final_answer(text)
    return Score(0.0, "no finished \\boxed{} or <answer>") if answer is None else grade(answer, gold)


def code(text: str, columns: Columns, *, unsafe: bool = False) -> Outcome:
    """1 where the last fenced block passes all "tests" (their share with "scoring": "share").

    "tests" is a list of `{"call", "expected"}` and `{"stdin", "stdout"}`, or such a list as JSON text;
    "code_language" is python or cpp.
    """
    from aha.rewards.code import grade_code

    if columns.get("tests", "") is None:
        return Abstain("the row has no tests")
    return grade_code(
        text,
        _tests(_parsed(column(columns, "tests", list, str), "tests")),
        scoring=column(columns, "scoring", str, otherwise="all"),
        language=column(columns, "code_language", str, otherwise="python"),
        unsafe=unsafe,
    )


def _tests(tests: Any) -> list[dict[str, Any]]:
    """The tests without the keys that a table's rows have only because other rows need them."""
    if not isinstance(tests, list) or not all(isinstance(test, Mapping) for test in tests):
        raise UserError("the row's 'tests' are no list of objects; give [{\"call\": \"f(1)\", \"expected\": 2}, ...]")
    return [{key: test[key] for key in test if test[key] is not None or _expects_none(test, key)} for test in tests]


def _expects_none(test: Mapping[str, Any], key: str) -> bool:
    return key == "expected" and test.get("call") is not None


def _parsed(value: Any, name: str) -> Any:
    """`value`, read as JSON where it is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the row's {name!r} is no JSON ({error})") from error


def choice(text: str, columns: Columns) -> Outcome:
    """1 where the answer names the same option as "answer"; "options" are texts, lettered from A, or texts by letter.

    The answer is the last finished box or answer tag; in a text that begins neither, what follows the thinking.
    """
    from aha.rewards.choice import grade_choice, read_choice
    from aha.rewards.maths.extract import final_answer

    options, gold = column(columns, "options", list, dict), column(columns, "answer", str)
    reference = read_choice(gold, options)
    if reference is None:
        raise UserError(f"the row's answer {gold[:60]!r} names none of its options")
    marked = any(mark in text for mark in ("\\boxed", "\\fbox", "<answer>"))
    answer = final_answer(text) if marked else text.rpartition("</think>")[2].strip()
    return grade_choice(answer, options, reference)


def length(text: str, columns: Columns) -> Outcome:
    """0 down to -1 as a text of "tokens" tokens (or of "completion_ids") nears and passes "max_tokens".

    The penalty begins "cache_tokens" before it; both are DAPO's own where the row has none.
    """
    from aha.rewards.length import SoftOverlong, soft_overlong

    ids = column(columns, "completion_ids", list, tuple, otherwise=None)
    tokens = column(columns, "tokens", int) if ids is None else len(ids)
    usual = SoftOverlong()
    limits = SoftOverlong(
        column(columns, "max_tokens", int, otherwise=usual.maximum),
        column(columns, "cache_tokens", int, otherwise=usual.cache),
    )
    value = soft_overlong(tokens, maximum=limits.maximum, cache=limits.cache)
    return Score(value, f"{tokens} tokens; free up to {limits.maximum - limits.cache}, -1 at {limits.maximum}")


def of_rollout(name: str, text: str, columns: Columns) -> Outcome:
    """The reward `name` of the table, on a rollout that holds the text and the columns.

    "language" is the problem's. "stop_reason": "length" says that the limit cut the text off, "prefilled": true that
    the prompt ended with `<think>`.
    """
    from aha.models.templates import parse
    from aha.rewards.table import REWARDS

    needed = NEEDED.get(name)
    if needed and needed in columns and columns[needed] is None:
        return Abstain(f"the row has no {needed}")
    hidden = {needed: _parsed(column(columns, needed, list, dict, str), needed)} if needed in PARSED else {}
    language = column(columns, "language", str, otherwise=... if needed == "language" else "en")
    stop: StopReason = "length" if columns.get("stop_reason") == "length" else "stop"
    thinks = "<think>" in text or "</think>" in text
    prefilled = column(columns, "prefilled", bool, otherwise=needed == "language" and not thinks)
    rollout = Rollout(
        Problem("row", "row", (), "", language, hidden), (), Completion((), (), stop, policy_version=0), text,
        parse(text, prefilled=prefilled),
    )  # fmt: skip
    return REWARDS[name](cast("Task", None), rollout)


ROW_REWARDS: dict[str, RowReward] = {"math": math, "code": code, "choice": choice, "length": length}
NOT_OF_ROWS = ("accuracy",)  # needs a task
PARSED = ("instructions", "schema")  # columns that may be JSON text
NEEDED = {  # the column that a reward of the table cannot do without
    "language": "language",
    "language-detected": "language",
    "instructions": "instructions",
    "instructions-all": "instructions",
    "json-schema": "schema",
}
