"""Which samples become conversations, and the table of what was kept.

    selected = select(names, problems, pairs, rules)     # of many questions
    selected.kept, selected.dropped                      # conversations; how many others, by reason
    table_of(conversations)                              # by domain: samples, turns, tokens

Source: DeepSeek-R1, v1, 2.3.3 and v2, B.3.2 and B.3.3: several samples of a prompt, of which only right ones stay that
do not mix languages, ramble or repeat themselves; no text that shares ten words in a row with a test problem.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aha.pipeline.conversations import Conversation
from aha.tasks.decontaminate import Gram, contaminated
from aha.types import Failed, Problem, Rollout, Score, Verdict

Graded = tuple[Rollout, Verdict]


@dataclass(frozen=True, slots=True)
class Finished:
    """A response as it is kept. `how` is counted: "refined", or "original" where refining has failed."""

    response: str
    tokens: int
    how: str = ""


# What is done with samples that the rewards let pass: each is finished, or the reason why it is dropped after all.
Finish = Callable[[Sequence[Graded]], list[Finished | str]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sample must be to be kept."""

    least: Mapping[str, float]  # of rewards, by name
    keep: int  # of a question at most
    finish: Finish
    seen: frozenset[Gram]  # of test problems

    def known(self, conversation: Conversation) -> bool:
        """Whether a conversation holds a test problem."""
        asked = [m.content for m in conversation.messages if m.role == "user"]
        return contaminated([*asked, conversation.response], self.seen)


@dataclass(frozen=True, slots=True)
class Selected:
    """What was kept of each question, and counts: of what was dropped, by reason; of how what was kept was finished."""

    groups: list[list[Conversation]]
    dropped: Counter[str] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> list[Conversation]:
        return [conversation for group in self.groups for conversation in group]


def select(
    names: Sequence[str], problems: Sequence[Problem], pairs: Sequence[Sequence[Graded]], rules: Rules
) -> Selected:
    """The first samples of each problem that pass, as NAME-NUMBER.

    What the rewards let pass is finished in rounds, of all problems together, and never more of a problem than it still
    needs: a judge or a refiner is asked as little as can be.
    """
    found = Selected([[] for _ in names])
    waiting: list[deque[tuple[int, Graded]]] = [deque() for _ in names]
    for queue, own in zip(waiting, pairs, strict=True):
        for number, (rollout, verdict) in enumerate(own):
            reason = fault(verdict, rules.least)
            if reason:
                found.dropped[reason] += 1
            else:
                queue.append((number, (rollout, verdict)))
    while True:
        taken = [
            (place, *queue.popleft())
            for place, queue in enumerate(waiting)
            for _ in range(min(rules.keep - len(found.groups[place]), len(queue)))
        ]
        if not taken:
            break
        for (place, number, _), finished in zip(taken, rules.finish([graded for *_, graded in taken]), strict=True):
            _settle(found, place, f"{names[place]}-{number}", problems[place], finished, rules)
    found.dropped["enough"] += sum(len(queue) for queue in waiting)
    return found


def _settle(found: Selected, place: int, name: str, problem: Problem, finished: Finished | str, rules: Rules) -> None:
    """Note a sample as kept, or as dropped for its reason."""
    if isinstance(finished, str):
        found.dropped[finished] += 1
        return
    made = Conversation(name, problem.task, problem.messages, finished.response, problem.language, finished.tokens)
    if rules.known(made):
        found.dropped["contaminated"] += 1
        return
    found.groups[place].append(made)
    if finished.how:
        found.how[finished.how] += 1


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
