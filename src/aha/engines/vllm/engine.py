"""vLLM as an engine: prompts and weights in, completions with their log-probs out, by a server or in this process.

    engine = VLLMEngine(backend, shapes, eos_ids, context=4096, dtype=torch.bfloat16, choice=choice)
    engine.publish(learner.weights(), 3)
    engine.generate([Prompt(ids, n=16, seed=1)], Sampling(max_tokens=64))

Its weights carry a tag of this engine, which vLLM writes on every sample: one that was drawn from others is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from aha.choices import EngineChoice
from aha.engines.vllm.asking import Draw, Drawn, check, draws_of
from aha.engines.vllm.publishing import announce, load, written
from aha.errors import RunFailed
from aha.protocols import Finished
from aha.types import Completion, Prompt, Sampling


class Backend(Protocol):
    """Where vLLM runs."""

    def draw(self, draws: Sequence[Draw], eos_ids: frozenset[int]) -> Iterator[tuple[Draw, Drawn]]:
        """Each sample as soon as it has ended. Raises RunFailed, UserError."""
        ...

    def rpc(self, method: str, *arguments: str) -> list[dict[str, Any]]:
        """What each worker answers. Raises RunFailed, UserError."""
        ...

    def tag(self, tag: str) -> None:
        """Write `tag` on all samples from here on."""
        ...

    def forget(self) -> None:
        """Drop the keys and values that earlier weights have left."""
        ...

    def sleep(self) -> None:
        """Give the memory back."""
        ...

    def wake(self) -> None:
        """Take it again."""
        ...


class VLLMEngine:
    """The engine. `shapes` are those of the weights that it may be given, by name."""

    def __init__(
        self,
        backend: Backend,
        shapes: Mapping[str, torch.Size],
        eos_ids: frozenset[int],
        *,
        context: int,
        dtype: torch.dtype,
        choice: EngineChoice,
    ) -> None:
        self.backend, self.shapes, self.eos_ids, self.context = backend, shapes, eos_ids, context
        self.dtype, self.choice, self.version = dtype, choice, 0
        self._name = secrets.token_hex(4)
        self._published = 0
        self._tag = ""  # of the weights that vLLM holds; "": no whole set of this engine's

    def publish(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take over `weights`. A missing, unknown or misshapen tensor is a ValueError, a digest that is not what it was
        RunFailed, and nothing is taken over; any other fault is RunFailed, and nothing is sampled until a publish is
        whole."""
        wrong = sorted(self.shapes.keys() ^ weights.keys())
        wrong += [name for name, shape in self.shapes.items() if name in weights and weights[name].shape != shape]
        if wrong:
            raise ValueError(f"{len(wrong)} published weights are not the engine's in name or shape: {wrong[:3]}")
        self._published += 1
        tag = f"{self._name}:{self._published}:{version}"
        if self.choice.sleep:
            self.backend.wake()
        way = (self.choice.folder, self.choice.bucket_mb << 20, self.choice.readers)
        with written(weights, tag, self.dtype, *way) as manifest:
            announce(self.backend, manifest)
            self._tag = ""
            self.backend.tag(f"{tag} in part")
            load(self.backend, manifest)
        self.backend.forget()
        self.backend.tag(tag)
        self._tag, self.version = tag, version

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """`n` completions of each prompt, in order; stops at an end-of-sequence token or after `max_tokens`."""
        done = {(place, sample): completion for place, sample, completion in self.stream(prompts, sampling)}
        return [[done[i, s] for s in range(p.n)] for i, p in enumerate(prompts)]

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Finished]:
        """The same completions as `generate`, each as soon as it has ended, in the order in which they end."""
        check(prompts, sampling, self.context)
        tag, version = self._tag, self.version
        if not tag:
            raise RunFailed(
                "vLLM holds no whole set of weights: the last publish failed; publish again before sampling"
            )
        if self.choice.sleep:
            self.backend.wake()
        try:
            for draw, drawn in self.backend.draw(draws_of(prompts, sampling, self.eos_ids), self.eos_ids):
                if set(drawn.tags) != {tag}:
                    raise RunFailed(
                        f"vLLM drew a sample from weights {', '.join(drawn.tags) or 'without a tag'}, where {tag} were "
                        "published; let nobody else publish to it"
                    )
                yield draw.place, draw.sample, drawn.completion(version)
        finally:
            if self.choice.sleep:
                self.backend.sleep()
