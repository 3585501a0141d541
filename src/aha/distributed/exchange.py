"""Questions divided among processes, and their graded groups brought together on all of them.

    share = Exchange(world, dialogue)      # a `Share` of `evaluation/grading.py`
    share(problems, prompts, make)         # the groups of all problems, made by all processes

What travels is what cannot be made again: tokens, their log-probs to the last bit, and verdicts. Texts are read from
the tokens on each process. Verdicts are given once, where a response was sampled: a grader that is near its time limit
may say one thing here and another there, and processes that disagree on what to train would wait for each other for
ever.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aha.distributed.world import World
from aha.evaluation.grading import Make, Pairs
from aha.models.dialogue import Dialogue
from aha.types import Abstain, Completion, Failed, Outcome, Problem, Prompt, Score, Verdict

LENGTH = struct.Struct("<Q")
Judged = list[list[tuple[Completion, Verdict]]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Every process takes every `size`-th question."""

    world: World
    dialogue: Dialogue

    def __call__(self, problems: Sequence[Problem], prompts: Sequence[Prompt], make: Make) -> list[Pairs]:
        """The groups of all `problems`, in order; the same on every process."""
        places = [range(rank, len(problems), self.world.size) for rank in range(self.world.size)]
        mine = places[self.world.rank]
        own = make(mine) if mine else []
        sent = packed([[(rollout.completion, verdict) for rollout, verdict in pairs] for pairs in own])
        found: dict[int, Pairs] = dict(zip(mine, own, strict=True))
        for rank, data in enumerate(self.world.gather(sent)):
            if rank != self.world.rank:
                for place, group in zip(places[rank], unpacked(data), strict=True):
                    found[place] = self._read(problems[place], prompts[place], group)
        return [found[place] for place in range(len(problems))]

    def _read(self, problem: Problem, prompt: Prompt, group: Sequence[tuple[Completion, Verdict]]) -> Pairs:
        return [(self.dialogue.read(problem, prompt.ids, completion), verdict) for completion, verdict in group]


def packed(groups: Judged) -> bytes:
    """Groups as bytes: their words and numbers as JSON, then all tokens, then all log-probs.

    >>> one = [[(Completion((5, 2), (-0.1, -1/3), "stop", 3, ((2, 1),)), Verdict({"format": Score(1.0)}, 1.0))]]
    >>> unpacked(packed(one)) == one
    True
    """
    rows = [
        [[len(c.ids), c.stop_reason, c.policy_version, c.earlier, v.total,
          {n: _plain(o) for n, o in v.outcomes.items()}] for c, v in group]
        for group in groups
    ]  # fmt: skip
    words = json.dumps(rows).encode()
    completions = [completion for group in groups for completion, _ in group]
    ids = np.array([i for c in completions for i in c.ids], dtype="<i4")
    logprobs = np.array([x for c in completions for x in c.logprobs], dtype="<f8")
    return LENGTH.pack(len(words)) + words + ids.tobytes() + logprobs.tobytes()


def unpacked(data: bytes) -> Judged:
    """Inverse of `packed`."""
    (size,) = LENGTH.unpack_from(data)
    rows = json.loads(data[LENGTH.size : LENGTH.size + size])
    count = sum(row[0] for group in rows for row in group)
    start = LENGTH.size + size
    ids = np.frombuffer(data, "<i4", count, start).tolist()
    logprobs = np.frombuffer(data, "<f8", count, start + 4 * count).tolist()
    found: Judged = []
    at = 0
    for group in rows:
        found.append([])
        for length, stop_reason, version, earlier, total, outcomes in group:
            part = slice(at, at + length)
            runs = tuple((other, tokens) for other, tokens in earlier)
            completion = Completion(tuple(ids[part]), tuple(logprobs[part]), stop_reason, version, runs)
            found[-1].append((completion, Verdict({name: _outcome(o) for name, o in outcomes.items()}, total)))
            at += length
    return found


def _plain(outcome: Outcome) -> list[Any]:
    match outcome:
        case Score(value, why):
            return ["score", float(value), why]
        case Abstain(why):
            return ["abstain", why]
        case Failed(reason):
            return ["failed", reason]


def _outcome(plain: Sequence[Any]) -> Outcome:
    makes: Mapping[str, type[Score] | type[Abstain] | type[Failed]] = {
        "score": Score, "abstain": Abstain, "failed": Failed,
    }  # fmt: skip
    return makes[plain[0]](*plain[1:])
