"""What a server asks of the incremental engine, what it reads while that is made, and what may be asked for.

request = Request(ids, seed=1, controls=Controls(max_tokens=64), samples=[Sample(0), Sample(1)])
limits.check(request)       # raises UserError; of `engine.limits`, or of a copy in another process
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from aha.engines.native.cache import ROUND
from aha.engines.native.controls import Controls, Scored
from aha.errors import UserError
from aha.models.packing import rounded

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
    status: int = 500  # of HTTP, by which the fault is told


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


def up(places: int) -> int:
    """Positions that a row is given for `places`."""
    return math.ceil(places / ROUND) * ROUND


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine can run: tokens below `vocabulary`, `slots` rows together, in at most `room` bytes of keys and
    values, of which each position of a row takes `place_bytes`. `exact`: a step computes no rows beside those asked."""

    vocabulary: int
    context: int
    slots: int
    room: int
    place_bytes: int
    exact: bool

    @property
    def longest(self) -> int:
        """Positions that a sample may take, by the model's context and by the room."""
        rows = 1 if self.exact else rounded(1)
        return min(self.context, self.room // (rows * self.place_bytes) // ROUND * ROUND)

    def fits(self, n: int, places: int) -> bool:
        """True where there is room for `n` rows of `places` positions."""
        rows = n if self.exact else rounded(n)
        return rows * up(places) * self.place_bytes <= self.room

    def check(self, request: Request) -> None:
        """Raise UserError for a request that could never run."""
        n, most = len(request.samples), request.controls.max_tokens
        if not request.ids:
            raise UserError("an empty prompt cannot be continued; give at least one token")
        if not 0 <= min(request.ids) <= max(request.ids) < self.vocabulary:
            raise UserError(f"the prompt has tokens beyond 0 to {self.vocabulary - 1}, which are all the model has")
        if not 0 < n <= self.slots:
            raise UserError(f"{n} samples cannot run together in {self.slots} slots; ask for fewer, or give more slots")
        if most < 0 or (most == 0 and request.prompt_scores is None):
            raise UserError(f"max_tokens={most} is no number of tokens to draw; give 1 or more")
        if request.places > self.context:
            raise UserError(
                f"a prompt of {len(request.ids)} tokens and max_tokens={most} exceed the context of {self.context}; "
                "lower max_tokens or shorten the prompt"
            )
        if not self.fits(n, request.places):
            raise UserError(
                f"{n} samples of {request.places} positions need more than {self.room / 2**20:.0f} MiB of keys and "
                "values; ask for fewer or shorter ones, or give the server more room"
            )
