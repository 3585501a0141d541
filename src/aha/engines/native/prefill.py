"""Prompts on their way to the slots: each goes through the model once, for all of its samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aha.engines.native.cache import Pair, Recorder, SlotCache
from aha.models.decoder import Forward
from aha.models.packing import rounded, rows
from aha.types import Prompt

PREFILL_TOKENS = 4096  # of one prefill
SHARED_FROM = 64  # tokens of a prompt from which on its samples share it; a shorter one costs less as a copy


@dataclass(slots=True, eq=False)
class Group:
    """A prompt and its samples. `prefix` is the number of its shared prefix; None where the slots have copies."""

    index: int  # of the prompt
    prompt: Prompt
    shared: bool
    kept: dict[int, Pair]  # keys and values of the prefill that it was in
    tokens: slice  # of that prefill
    hidden: Tensor  # [tokens, hidden] last states of the prompt; from the last of them the first token is drawn
    waiting: deque[int]  # numbers of the samples that have no slot yet
    left: int  # samples that have not ended
    version: int  # of the weights that have read the prompt
    prefix: int | None = None

    @property
    def begun(self) -> bool:
        """Whether a sample has had a slot."""
        return len(self.waiting) < self.prompt.n

    @property
    def depth(self) -> int:
        """Positions that are not in its samples' slots."""
        return len(self.prompt.ids) if self.shared else 0

    @property
    def own_prompt(self) -> int:
        """Positions of the prompt that are in its samples' slots."""
        return len(self.prompt.ids) - self.depth


def shares(prompt: Prompt) -> bool:
    """True where the samples of a prompt read it from one place."""
    return prompt.n > 1 and len(prompt.ids) >= SHARED_FROM


def reserve(
    cache: SlotCache,
    kept: dict[int, Pair],
    prompts: Iterable[Prompt],
    slots: int,
    max_tokens: int,
    used: tuple[int, int],
) -> None:
    """Make room for all that `prompts` will need, beside the rows and prefixes that are `used`, which stay."""
    asked = list(prompts)
    shared = [len(p.ids) for p in asked if shares(p)]
    own = [len(p.ids) for p in asked if not shares(p)]
    places = max(own, default=0) + max_tokens
    cache.reserve(kept, rounded(slots), places, min(used[1] + len(shared), slots), max(shared, default=0), used)


def prefill(
    forward: Forward,
    prompts: Mapping[int, Prompt] | Sequence[Prompt],
    queue: deque[int],
    device: torch.device,
    version: int,
) -> list[Group]:
    """Run the next prompts of the `queue` through the model together, packed side by side."""
    chosen = [queue.popleft()]
    size = len(prompts[chosen[0]].ids)
    while queue and size + len(prompts[queue[0]].ids) <= PREFILL_TOKENS:
        chosen.append(queue.popleft())
        size += len(prompts[chosen[-1]].ids)
    segments = rows([len(prompts[i].ids) for i in chosen])
    recorder = Recorder(segments, device, rounded(size))
    ids = torch.tensor(
        [token for i in chosen for token in prompts[i].ids] + [0] * (rounded(size) - size), device=device
    )
    hidden = forward(ids, recorder.positions, recorder)
    return [
        Group(
            i, prompts[i], shares(prompts[i]), recorder.kept, slice(s.start, s.start + s.length),
            hidden[s.start : s.start + s.length], deque(range(prompts[i].n)), prompts[i].n, version,
        )
        for i, s in zip(chosen, segments, strict=True)
    ]  # fmt: skip
