"""The rewards as functions of a batch, for other trainers: the signature of TRL's `reward_funcs`.

    from aha.rewards import format_reward, math_accuracy
    trainer = GRPOTrainer(model, reward_funcs=[math_accuracy, format_reward], train_dataset=rows_with_answer)

`completions` are texts or lists of chat messages. Every other argument is a column of the data set: a list with one
value a completion, or one value for all. A reward is None where it has no opinion or its grader failed; such rows
should take no part in a mean, and failures are logged as warnings. Nothing here imports torch.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aha.errors import UserError, nearest
from aha.rewards.graders import find_reward, grade_row
from aha.types import Failed, Outcome, Score

Completions = Sequence[str | Sequence[dict[str, Any]]]
Rewards = list[float | None]

FORMS = {"r1-zero": "format", "r1": "format-r1"}

log = logging.getLogger("aha.rewards")


def outcomes(name: str, completions: Completions, columns: dict[str, Any], *, unsafe: bool = False) -> list[Outcome]:
    """The typed outcome, with its explanation, of each completion under the reward `name`.

    Raises UserError for an unknown reward, and for a column whose length is not the batch's.
    """
    reward = find_reward(name, unsafe=unsafe)
    values = {column: _spread(column, value, len(completions)) for column, value in columns.items()}
    rows = [{column: value[i] for column, value in values.items()} for i in range(len(completions))]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads:  # that wait for the graders' processes
        return list(threads.map(lambda completion, row: grade_row(reward, completion, row), completions, rows))


def _spread(name: str, value: Any, count: int) -> Sequence[Any]:
    """A column as one value a completion."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise UserError(f"column {name!r} has {len(value)} values for {count} completions; give one for each")
    return value


def _values(name: str, completions: Completions, **columns: Any) -> Rewards:
    found = outcomes(name, completions, columns)
    for reason, count in Counter(o.reason for o in found if isinstance(o, Failed)).items():
        log.warning("%s: %d of %d completions could not be graded: %s", name, count, len(found), reason)
    return [outcome.value if isinstance(outcome, Score) else None for outcome in found]


def math_accuracy(completions: Completions, answer: Any, **kwargs: Any) -> Rewards:
    """1 where the last finished `\\\\boxed{}` or `<answer>` means the same as `answer`, else 0."""
    return _values("math", completions, answer=answer)


def code_accuracy(
    completions: Completions, tests: Any, scoring: Any = "all", code_language: Any = "python", **kwargs: Any
) -> Rewards:
    """1 where the last fenced block passes all `tests` in the sandbox, else 0; their share with `scoring="share"`.

    A test is `{"call": "f(1, 2)", "expected": 3}` or `{"stdin": "1 2", "stdout": "3"}`; a completion's tests may be
    JSON text, since the columns of many data sets hold no values of different types.
    """
    return _values("code", completions, tests=tests, scoring=scoring, code_language=code_language)


def format_reward(completions: Completions, form: str = "r1-zero", prefilled: Any = False, **kwargs: Any) -> Rewards:
    """1 for `<think>..</think><answer>..</answer>` and nothing else ("r1-zero"), or for thinking and a summary ("r1").

    `prefilled`: the prompt ended with `<think>`. A text that was cut off cannot be told from one that ended.
    """
    if form not in FORMS:
        raise UserError(f"form {form!r} is not known{nearest(form, FORMS)}")
    return _values(FORMS[form], completions, prefilled=prefilled)


def language_consistency(completions: Completions, language: Any, **kwargs: Any) -> Rewards:
    """The share of the words of the chain of thought that are in `language` (zh, en, ...), told by script.

    A text without thinking tags is all chain of thought. None where it holds no prose.
    """
    return _values("language", completions, language=language)


def length_penalty(
    completions: Completions, completion_ids: Any, max_tokens: int = 20_480, cache_tokens: int = 4_096, **kwargs: Any
) -> Rewards:
    """0 up to `max_tokens - cache_tokens` tokens, then evenly down to -1 at `max_tokens`. DAPO, arXiv 2503.14476."""
    return _values(
        "length", completions, completion_ids=completion_ids, max_tokens=max_tokens, cache_tokens=cache_tokens
    )


def repetition_penalty(completions: Completions, **kwargs: Any) -> Rewards:
    """Minus the share of 10-grams that stood before in the text. None for an empty one."""
    return _values("repetition", completions)


def instruction_following(completions: Completions, instructions: Any, **kwargs: Any) -> Rewards:
    """The share of `instructions` that what follows the thinking keeps: lists of `{"id": ..., "kwargs": {...}}`.

    The kinds are IFEval's (arXiv 2311.07911); a completion's instructions may be JSON text.
    """
    return _values("instructions", completions, instructions=instructions)


def json_schema(completions: Completions, schema: Any, **kwargs: Any) -> Rewards:
    """1 where what follows the thinking is JSON that `schema` accepts (an object, or JSON text of one), else 0."""
    return _values("json-schema", completions, schema=schema)


def multiple_choice(completions: Completions, answer: Any, options: Any, **kwargs: Any) -> Rewards:
    """1 where the answer names the same of `options` as `answer`, by letter or text, else 0."""
    return _values("choice", completions, answer=answer, options=options)
