"""The engine of a run whose workers sample: what evaluations call, and what the loop publishes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aha.distributed.rollout.pool import Pool
from aha.distributed.rollout.questions import Question
from aha.protocols import Finished, Weights
from aha.types import Completion, Prompt, Sampling


class PoolEngine:
    """All workers as one engine, in the first of the processes that learn. The others have nobody to sample for them:
    with `pool` None, weights are gathered and nothing else."""

    def __init__(self, pool: Pool | None) -> None:
        self._pool = pool
        self._calls = 0

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Finished]:
        """The completions of each prompt as soon as all of its have ended. Prompts are divided among the workers once,
        so that the same call of as many workers draws the same."""
        assert self._pool is not None, "the first process samples for all"
        pool = self._pool
        name, self._calls = f"call-{self._calls}", self._calls + 1
        places = {f"{name}:{place}": place for place in range(len(prompts))}
        pool.ask([Question(f"{name}:{i}", prompt) for i, prompt in enumerate(prompts)], sampling, whole=True)
        while places:
            made = pool.until(lambda: [name for name in pool.made() if name in places] or None)
            for name, group in zip(made, pool.take(made, 0), strict=True):
                place = places.pop(name)
                for sample, (completion, _) in enumerate(group):
                    yield place, sample, completion

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """The same, in order."""
        done = {(place, sample): completion for place, sample, completion in self.stream(prompts, sampling)}
        return [[done[i, s] for s in range(p.n)] for i, p in enumerate(prompts)]

    def publish(self, weights: Weights, version: int) -> None:
        """Hand out weights to all workers; called by all processes that learn, which put divided ones together."""
        whole = {}
        for name, tensor in weights.items():
            gather = getattr(tensor, "full_tensor", None)
            full = tensor if gather is None else gather()
            if self._pool is not None:
                whole[name] = full
        if self._pool is not None:
            self._pool.publish(whole, version)
