"""Several processes that learn: what the first one's workers make is the same on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kits import collector_of, engine_of

from aha.distributed.rollout.engine import PoolEngine
from aha.distributed.rollout.ranks import FirstMakes, Told
from aha.distributed.world import joined
from aha.evaluation.grading import Pairs
from aha.training.collect import Collected, Collector, asked, collect
from rank_processes import on_ranks
from tiny_models import TinyFactory


class Here:
    """A source without workers, of the first process."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def begin(self, done: int, state: Mapping[str, Any]) -> None:
        self.begun = done, dict(state)

    def state(self) -> dict[str, Any]:
        return {"begun": list(self.begun)}

    def __call__(self, collector: Collector, engine: Any, done: int, attempts: int) -> Collected:
        found = collect(collector, self.engine, done, attempts)
        places = tuple(range(done * 3, done * 3 + 3))
        groups = [*found.groups[:2], type(found.groups[2])(*group_parts(found.groups[2]), trained=False)]
        return Collected(groups, found.lag, {"rollout/staleness_max": 1.0}, places)


def group_parts(group: Any) -> tuple[Any, Any, Any]:
    return group.problem, group.rollouts_G, group.verdicts_G


def on_one(folder: Any) -> Any:
    with joined(600, "cpu") as world:
        collector, engine = collector_of(folder), engine_of(folder)
        source = Told(world, collector.dialogue, Here(engine) if world.first else None)
        source.begin(4, {"next": 5})
        found = source(collector, PoolEngine(None), 2, 1)
        share = FirstMakes(world, collector.dialogue)
        problems, prompts = asked(collector, 0)

        def make(places: Sequence[int]) -> list[Pairs]:
            assert world.first, "the others have nobody to sample for them"
            groups = collect(collector, engine, 0, 1).groups
            return [list(zip(groups[i].rollouts_G, groups[i].verdicts_G, strict=True)) for i in places]

        PoolEngine(None).publish(engine.model.state_dict(), 3)
        return repr(found), repr(share(problems, prompts, make)), source.state()


def test_the_others_are_told(tiny: TinyFactory) -> None:
    first, second = on_ranks(on_one, tiny("qwen3"))
    assert first[:2] == second[:2] and "trained=False" in first[0] and "staleness_max" in first[0]
    assert first[2] == {"begun": [4, {"next": 5}]} and second[2] == {}
