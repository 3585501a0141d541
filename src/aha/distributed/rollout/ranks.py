"""Several processes that learn, and workers that belong to the first of them: what it gets, it tells the others.

    source = Told(world, dialogue, Ahead(...) if world.first else None)
    share = FirstMakes(world, dialogue)

As in `exchange.py`, tokens, log-probs and verdicts travel; problems and texts are made again on each process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.distributed.exchange import packed, unpacked
from aha.distributed.rollout.sources import Resumed
from aha.distributed.world import World
from aha.evaluation.grading import Make, Pairs
from aha.models.dialogue import Dialogue
from aha.protocols import Engine
from aha.training.collect import Collected, Collector, group_of, question
from aha.training.shaping import Graded
from aha.types import Problem, Prompt


@dataclass(frozen=True, slots=True)
class FirstMakes:
    """The first process's engine draws all; a `Share` of `evaluation/grading.py`."""

    world: World
    dialogue: Dialogue

    def __call__(self, problems: Sequence[Problem], prompts: Sequence[Prompt], make: Make) -> list[Pairs]:
        """The groups of all `problems`, in order; the same on every process."""
        own = make(range(len(problems))) if self.world.first else []
        data = self.world.gather(_bytes(own) if self.world.first else b"")[0]
        return own if self.world.first else _read(self.dialogue, problems, prompts, data)


class Told:
    """The first process's source, for all."""

    def __init__(self, world: World, dialogue: Dialogue, source: Resumed | None) -> None:
        assert (source is not None) == world.first, "the first process has the workers"
        self._world, self._dialogue, self._source = world, dialogue, source

    def begin(self, done: int, state: Mapping[str, Any]) -> None:
        """As `Resumed` says."""
        if self._source is not None:
            self._source.begin(done, state)

    def state(self) -> dict[str, Any]:
        """As `Resumed` says; it is the first process that keeps it."""
        return self._source.state() if self._source is not None else {}

    def __call__(self, collector: Collector, engine: Engine, done: int, attempts: int) -> Collected:
        """As `Source` says."""
        if self._source is not None:
            found = self._source(collector, engine, done, attempts)
            trained = [group.trained for group in found.groups]
            self._world.agreed([list(found.places), trained, found.lag, dict(found.values)])
            pairs = [list(zip(group.rollouts_G, group.verdicts_G, strict=True)) for group in found.groups]
            self._world.gather(_bytes(pairs))
            return found
        places, trained, lag, values = self._world.agreed(None)
        both = [question(collector, place) for place in places]
        data = self._world.gather(b"")[0]
        read = _read(self._dialogue, [problem for problem, _ in both], [prompt for _, prompt in both], data)
        groups = [_as_trained(group_of(pairs), its) for pairs, its in zip(read, trained, strict=True)]
        return Collected(groups, lag, values, tuple(places))


def _as_trained(group: Graded, trained: bool) -> Graded:
    return Graded(group.problem, group.rollouts_G, group.verdicts_G, trained)


def _bytes(groups: Sequence[Pairs]) -> bytes:
    return packed([[(rollout.completion, verdict) for rollout, verdict in pairs] for pairs in groups])


def _read(dialogue: Dialogue, problems: Sequence[Problem], prompts: Sequence[Prompt], data: bytes) -> list[Pairs]:
    return [
        [(dialogue.read(problem, prompt.ids, completion), verdict) for completion, verdict in group]
        for problem, prompt, group in zip(problems, prompts, unpacked(data), strict=True)
    ]
