r"""Mathematical answers, compared as mathematics: `\frac{3}{4}` is 0.75, (1,2) is not (2,1), 3.14 is not pi.

    from aha.rewards.maths import grade
    from aha.rewards.maths.extract import final_answer

    grade(final_answer(response), r"\frac{3}{4}")    # Score(1.0, "number: '0.75' equals '\\frac{3}{4}'")

What arithmetic on fractions decides is decided in this process, in microseconds. The rest goes to worker processes
under limits of time and memory (`pool`): evaluation to many digits (`algebra`), and math-verify for integrals, sums and
limits (`library`). The gold answer decides how an answer is read (`matchers`); conventions stand in `quantity`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from aha.rewards.maths.matchers import QUICK, GoldUnreadable, NeedsAlgebra, NeedsLibrary, judge, read_gold, shown
from aha.rewards.maths.pool import Reply, shared_pool
from aha.types import Failed, Outcome, Score

__all__ = ["grade", "grade_many", "readable"]


def grade(answer: str | None, gold: str, kind: str = "auto") -> Outcome:
    """1 where `answer` is `gold`, else 0. `answer` is untrusted text; None is no answer.

    `kind` is one of `matchers.KINDS`; "auto" takes it from the gold. Failed where the gold cannot be read or no worker
    runs; an answer that takes too long to compare is wrong. Raises UserError for an unknown kind.
    """
    return grade_many([(answer, gold)], kind)[0]


def grade_many(pairs: Sequence[tuple[str | None, str]], kind: str = "auto") -> list[Outcome]:
    """`grade` for each (answer, gold), in order, in all workers at once."""
    quick = [_quick(answer, gold, kind) for answer, gold in pairs]
    left = [place for place, outcome in enumerate(quick) if outcome is None]
    requests = [{"answer": pairs[place][0], "gold": pairs[place][1], "kind": kind} for place in left]
    replies = dict(zip(left, shared_pool().run(requests), strict=True)) if left else {}
    return [
        outcome if outcome is not None else _outcome(replies[place], *pairs[place], kind)
        for place, outcome in enumerate(quick)
    ]


def readable(gold: str, kind: str = "auto") -> str | None:
    """None where `gold` can be read as `kind`, else the reason. Raises UserError for an unknown kind."""
    try:
        return _readable(gold, kind)
    except _NoWorker as error:
        return f"gold {shown(gold)} cannot be read: {error}"


class _NoWorker(Exception):
    """The machine, not the gold, is at fault: not to be remembered."""


@functools.lru_cache(maxsize=4096)
def _readable(gold: str, kind: str) -> str | None:
    try:
        if read_gold(gold, kind).value is not None and judge(gold, gold, kind, QUICK).right:
            return None
    except GoldUnreadable as error:
        return f"gold {shown(gold)} cannot be read: {error}"
    except (NeedsAlgebra, RecursionError):
        pass
    reply = shared_pool().run([{"answer": None, "gold": gold, "kind": kind}])[0]
    if reply.ours:
        raise _NoWorker(reply.trouble)
    reason = reply.trouble if reply.answer is None else reply.answer["unreadable"]
    return None if reason is None else f"gold {shown(gold)} cannot be read: {reason}"


def _quick(answer: str | None, gold: str, kind: str) -> Outcome | None:
    """What needs no worker; None where it does."""
    try:
        if answer is None:
            read_gold(gold, kind)
            return Score(0.0, "no answer")
        verdict = judge(gold, answer, kind, QUICK)
    except GoldUnreadable as error:
        return Failed(f"gold {shown(gold)} cannot be read: {error}")
    except (NeedsAlgebra, NeedsLibrary, RecursionError):
        return None
    return Score(float(verdict.right), verdict.why)


def _outcome(reply: Reply, answer: str | None, gold: str, kind: str) -> Outcome:
    """The outcome of a comparison in a worker. What went wrong is the answer's fault unless the gold has it too."""
    if reply.answer is not None:
        return Score(float(reply.answer["right"]), reply.answer["why"])
    if reply.ours:
        return Failed(f"maths: {reply.trouble}")
    reason = readable(gold, kind)
    return Failed(reason) if reason is not None else Score(0.0, f"{shown(answer or '')}: {reply.trouble}")
