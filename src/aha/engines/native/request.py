"""What a server asks of the incremental engine, and what it reads while that is made.

request = Request(ids, seed=1, controls=Controls(max_tokens=64), samples=[Sample(0), Sample(1)])
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from aha.engines.native.controls import Controls, Scored

Reason = Literal["stop", "length", "cancelled", "failed"]


class Guide(Protocol):
    """What watches over one sample's tokens. Called in the engine's thread only."""

    def mask(self) -> Tensor | None:
        """The tokens that may be drawn next, [V] bool; None: all."""
        ...

    def take(self, token: int) -> bool:
        """Note a token that was drawn; True where the sample ends with it."""
        ...


@dataclass(slots=True, eq=False)
class Sample:
    """One sample on its way. The engine only appends to its lists, and sets `reason` last: others may read along."""

    number: int  # with the seed, it fixes the random numbers
    guide: Guide | None = None
    ids: list[int] = field(default_factory=list)
    scores: list[Scored] = field(default_factory=list)  # one a token, where asked for
    reason: Reason | None = None
    fault: str = ""  # of one that failed


@dataclass(slots=True, eq=False)
class Request:
    """A prompt with its samples. `prompt_scores` says how many of the likeliest tokens are wanted at each of its
    tokens, None: nothing of it; they come in `scored`, without the first token's. With `max_tokens` 0 that is all."""

    ids: tuple[int, ...]
    seed: int
    controls: Controls
    samples: list[Sample]
    prompt_scores: int | None = None
    scored: list[Scored] = field(default_factory=list)
    cancelled: bool = False  # set by whoever does not want it any more
    began: float = 0.0  # of its prefill and of its first token, time.monotonic()
    first: float = 0.0

    @property
    def places(self) -> int:
        """Positions that each of its samples may take."""
        return len(self.ids) + self.controls.max_tokens

    @property
    def ended(self) -> bool:
        """True where all samples have ended."""
        return all(sample.reason is not None for sample in self.samples)
