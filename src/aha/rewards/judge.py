"""A model as a judge, where no rule can check: an answer beside its reference, or two answers beside each other.

    judge_answers(speaker, [Case(messages, "Paris", "It is Paris.")], sampling)     # [Score(1.0, "same city")]
    compare(speaker, [Contest(messages, one, other)], sampling)                     # [1.25]: the first is better

A judge's answer is one JSON object, or it is asked once more; after that it is `Failed`. No verdict is never a 0.

Sources: DeepSeek-R1, arXiv 2501.12948 v1, 2.3.3 and v2, listing 4 (the ground truth and the model's answer are put to
DeepSeek-V3); v2, section 3.1 and B.2 (pairs judged four times with their order changed, scores averaged).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NoReturn, TypeVar

from aha.protocols import Speaker
from aha.rewards.judge_prompts import AGAIN, COMPARE, CORRECT, question_of, shown
from aha.types import Abstain, Ask, Failed, Message, Outcome, Reply, Sampling, Score

LONGEST = 20_000  # characters of a judge's answer that is read
# The paper does not print how its five labels become numbers.
LABELS = {"A>>B": 2.0, "A>B": 1.0, "A=B": 0.0, "B=A": 0.0, "B>A": -1.0, "B>>A": -2.0}
JUDGEMENTS = 4  # of a pair

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """A response, as a user reads it, with what is right."""

    messages: tuple[Message, ...]
    reference: str
    response: str


@dataclass(frozen=True, slots=True)
class Contest:
    """Two responses to the same messages, as a user reads them."""

    messages: tuple[Message, ...]
    first: str
    second: str


def judge_answers(speaker: Speaker, cases: Sequence[Case], sampling: Sampling) -> list[Outcome]:
    """1 for a correct response, 0 for another or none at all; no opinion where there is no reference."""
    found: list[Outcome | None] = [
        Abstain("no reference to judge by") if not case.reference.strip()
        else Score(0.0, "no answer") if not case.response.strip() else None
        for case in cases
    ]  # fmt: skip
    open_places = [place for place, outcome in enumerate(found) if outcome is None]
    prompts = [
        CORRECT.format(question=question_of(c.messages), reference=shown(c.reference), response=shown(c.response))
        for c in (cases[place] for place in open_places)
    ]
    verdicts = _verdicts(speaker, [(prompt, 0) for prompt in prompts], sampling, read_correct)
    for place, verdict in zip(open_places, verdicts, strict=True):
        found[place] = verdict if isinstance(verdict, Failed) else Score(float(verdict[0]), verdict[1])
    return [outcome for outcome in found if outcome is not None]


def compare(
    speaker: Speaker, contests: Sequence[Contest], sampling: Sampling, judgements: int = JUDGEMENTS
) -> list[float | Failed]:
    """How much better the first response is, from -2 to 2: the mean of all judgements, every other one of which sees
    the second response first. Failed where one of them has failed: what is left would favour a place."""
    asked = []
    for contest in contests:
        texts = [shown(contest.first), shown(contest.second)]
        for draw in range(judgements):
            first, second = reversed(texts) if draw % 2 else texts
            prompt = COMPARE.format(question=question_of(contest.messages), first=first, second=second)
            asked.append((prompt, draw))
    verdicts = _verdicts(speaker, asked, sampling, read_preference)
    return [_mean(verdicts[n * judgements : (n + 1) * judgements]) for n in range(len(contests))]


def _mean(verdicts: Sequence[float | Failed]) -> float | Failed:
    numbers = []
    for draw, verdict in enumerate(verdicts):
        if isinstance(verdict, Failed):
            return verdict
        numbers.append(-verdict if draw % 2 else verdict)
    return fmean(numbers)


def _verdicts(
    speaker: Speaker, asked: Sequence[tuple[str, int]], sampling: Sampling, read: Callable[[str], T | None]
) -> list[T | Failed]:
    """What is read from the answers to (prompt, draw); one that cannot be read is asked for once more."""
    found: dict[int, T | Failed] = {}
    for again in ("", AGAIN):
        places = [place for place in range(len(asked)) if place not in found]
        asks = [Ask((Message("user", asked[place][0] + again),), asked[place][1]) for place in places]
        replies = speaker(asks, sampling) if asks else []
        for place, reply in zip(places, replies, strict=True):
            outcome = reply if isinstance(reply, Failed) else read(reply.text)
            if outcome is not None:
                found[place] = outcome
            elif again:
                found[place] = Failed(f"the judge gave no verdict but {_start(reply)!r}")
    return [found[place] for place in range(len(asked))]


def _start(reply: Reply | Failed) -> str:
    return reply.text[:80] if isinstance(reply, Reply) else ""


def read_correct(text: str) -> tuple[bool, str] | None:
    """The verdict on one answer, with its reason; None where `text` is no such verdict.

    >>> read_correct('```json\\n{"why": "same number", "correct": true}\\n```')
    (True, 'same number')
    """
    found = the_object(text) or {}
    correct, why = found.get("correct"), found.get("why")
    if not isinstance(correct, bool) or not isinstance(why, str):
        return None
    return correct, why.encode("utf-8", "replace").decode()  # JSON can say halves of characters


def read_preference(text: str) -> float | None:
    """The verdict on two answers as a number, 2 where the first is much better; None where there is none.

    >>> read_preference('{"why": "", "verdict": "B>A"}')
    -1.0
    """
    verdict = (the_object(text) or {}).get("verdict")
    return LABELS.get(verdict) if isinstance(verdict, str) else None


def the_object(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` is, alone, in a code fence or in answer tags; None where it is anything else.

    An object that stands in prose may be one that the judge quotes from what it judges, so it does not count. Nor does
    one with a key twice, or with a number that JSON does not know.
    """
    text = text.strip().removeprefix("<answer>").removesuffix("</answer>").strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    if len(text) > LONGEST or not text.startswith("{"):
        return None
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return dict(found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
