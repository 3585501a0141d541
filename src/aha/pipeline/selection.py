"""Which samples become conversations, and the table of what was kept.

    kept, dropped = select(pairs, least, keep, refine, seen)       # of one question
    table_of(conversations)                                        # by domain: samples, turns, tokens

Source: DeepSeek-R1, v1, 2.3.3 and v2, B.3.2 and B.3.3: several samples of a prompt, of which only right ones stay that
do not mix languages, ramble or repeat themselves; no text that shares ten words in a row with a test problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.pipeline.conversations import Conversation
from aha.pipeline.refine import Refiner
from aha.tasks.decontaminate import Gram, contaminated
from aha.types import Failed, Problem, Rollout, Score, Verdict


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sample must be to be kept."""

    least: Mapping[str, float]  # of rewards, by name
    keep: int  # of a question at most
    refine: Refiner
    seen: frozenset[Gram]  # of test problems

    def known(self, conversation: Conversation) -> bool:
        """Whether a conversation holds a test problem."""
        asked = [m.content for m in conversation.messages if m.role == "user"]
        return contaminated([*asked, conversation.response], self.seen)


def select(
    name: str, problem: Problem, pairs: Sequence[tuple[Rollout, Verdict]], rules: Rules
) -> tuple[list[Conversation], Counter[str]]:
    """The first samples of `problem` that pass, as `name`-NUMBER, and how many others were dropped, by reason."""
    kept: list[Conversation] = []
    dropped: Counter[str] = Counter()
    for number, (rollout, verdict) in enumerate(pairs):
        reason = fault(verdict, rules.least) or ("enough" if len(kept) == rules.keep else None)
        response = None if reason else rules.refine(rollout)
        if response is None:
            dropped[reason or "not refined"] += 1
            continue
        found = Conversation(
            f"{name}-{number}", problem.task, problem.messages, response, problem.language, len(rollout.completion.ids)
        )
        if rules.known(found):
            dropped["contaminated"] += 1
        else:
            kept.append(found)
    return kept, dropped


def fault(verdict: Verdict, least: Mapping[str, float]) -> str | None:
    """The reward that keeps a sample out; None where all that had an opinion are high enough."""
    for name, lowest in least.items():
        outcome = verdict.outcomes[name]
        if isinstance(outcome, Failed):
            return "failed"
        if isinstance(outcome, Score) and outcome.value < lowest:
            return name
    return None


def table_of(conversations: Sequence[Conversation]) -> dict[str, dict[str, Any]]:
    """Samples, mean turns and mean tokens of each domain and of all; the paper's table 5."""
    domains = sorted({c.task for c in conversations})
    return {
        **{domain: _line([c for c in conversations if c.task == domain]) for domain in domains},
        "total": _line(conversations),
    }


def _line(conversations: Sequence[Conversation]) -> dict[str, Any]:
    counted = [c.tokens for c in conversations if c.tokens is not None]
    turns = [sum(m.role == "user" for m in c.messages) for c in conversations]
    return {
        "samples": len(conversations),
        "turns": sum(turns) / len(turns) if turns else None,
        "tokens": sum(counted) / len(counted) if counted else None,
    }
