"""One sample of an evaluation as it is stored: plain values from which every figure is computed.

record = record_of("gsm8k", rollout, verdict, sample=0, vote="18", tokens=412, thinking_tokens=380)
figures("gsm8k", [[record, ...], ...], samples=16, k=16)        # see figures.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from aha.evaluation.responses import Look, look_of
from aha.types import Abstain, Failed, Problem, Rollout, Score, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Look):
    """`outcome` is score, abstain, failed (the grader gave none) or unanswered (no response came).

    `vote` is the answer's class in cons@k; `marks` are further values by name.
    """

    task: str
    problem: str
    sample: int
    group: str
    outcome: str
    why: str
    value: float | None = None
    answer: str | None = None
    vote: str | None = None
    language: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    text: str = ""

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to try: a response came, and its grader worked."""
        return self.outcome in ("score", "abstain")

    @property
    def right(self) -> bool:
        """A sample whose grader failed was asked and is not right, whatever the rest of it says."""
        return self.settled and self.value == 1.0


def record_of(
    task: str,
    rollout: Rollout,
    verdict: Verdict,
    sample: int,
    *,
    vote: str | None = None,
    marks: Mapping[str, float] | None = None,
    tokens: int | None = None,
    thinking_tokens: int | None = None,
) -> Record:
    """A graded rollout; one of whose rewards failed counts as failed."""
    accuracy = verdict.outcomes["accuracy"]
    failed = next((o.reason for o in verdict.outcomes.values() if isinstance(o, Failed)), None)
    look = look_of(rollout, tokens, thinking_tokens)
    return Record(
        task=task,
        problem=rollout.problem.id,
        sample=sample,
        group=group_of(rollout.problem),
        outcome="failed" if failed is not None else "abstain" if isinstance(accuracy, Abstain) else "score",
        why=failed if failed is not None else "" if isinstance(accuracy, Failed) else accuracy.why,
        value=accuracy.value if isinstance(accuracy, Score) else None,
        answer=rollout.parsed.answer,
        vote=vote,
        language=verdict.value("language"),
        marks=dict(marks or {}),
        text=rollout.text,
        **{part.name: getattr(look, part.name) for part in fields(look)},
    )


def unanswered(task: str, problem: Problem, sample: int, reason: str) -> Record:
    """A sample that was asked for and never came."""
    group = group_of(problem)
    return Record(task=task, problem=problem.id, sample=sample, group=group, outcome="unanswered", why=reason)


def group_of(problem: Problem) -> str:
    """The part of its data set that a problem is of (a level, a subject, a language), "" where there are none."""
    return str(problem.hidden.get("group") or "")
