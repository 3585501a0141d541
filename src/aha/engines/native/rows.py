"""The running rows: who owns each, how far it is, what it has drawn.

Rows 0..n-1 run; all of them draw a token in every step, so a row's count follows from the clock. Tensors have room for
all slots: S slots, M the most tokens of a sample, N the rows that draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from aha.engines.native.prefill import Group
from aha.engines.native.sampler import draw, uniforms
from aha.models.packing import rounded
from aha.types import Completion, Sampling


@dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """The sample that a row draws; `started` is the clock before its first token, which weights `version` draw."""

    group: Group
    sample: int
    started: int
    version: int


class Rows:
    """Host and device state of one call's rows. A hole is a row below n without an owner."""

    def __init__(
        self, slots: int, sampling: Sampling, eos_ids: frozenset[int], device: torch.device, exact: torch.dtype
    ) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        most, places = sampling.max_tokens, rounded(slots)
        self.slots, self.sampling, self.eos_ids, self.device = slots, sampling, eos_ids, device
        self.owners: list[Owner | None] = []
        self.clock = 0  # steps made
        self._switches: list[tuple[int, int]] = []  # (clock, version): the first step under other weights
        self.changed = False  # rows have come, gone or moved since the last step
        self.last = zeros(places)  # the last token drawn
        self.own = zeros(places)  # its place in the row's slot
        self.depth = zeros(places)  # shared positions before the slot's first
        self._next = zeros(slots)  # where the next token is noted, in [S * M]
        self._uniform = zeros(slots, most, dtype=torch.float32)
        self._tokens = zeros(slots, most)
        self._logprobs = zeros(slots, most, dtype=exact)
        self._earliest = self._lead = 0
        self.size = 0  # rows that a step computes: those that run, and some more for a shape that is not new

    @property
    def free(self) -> list[int]:
        """Rows that a sample may take, holes first."""
        holes = [row for row, owner in enumerate(self.owners) if owner is None]
        return [*holes, *range(len(self.owners), self.slots)]

    @property
    def width(self) -> int:
        """Places that the next step's keys take in the longest row's slot."""
        return self._lead + self.clock

    @property
    def steps_left(self) -> int:
        """Steps until the first row may have drawn all that it may."""
        return self.sampling.max_tokens - (self.clock - self._earliest)

    def tick(self, version: int) -> None:
        """A step is made under weights `version`."""
        self.clock += 1
        if version != (self._switches[-1][1] if self._switches else None):
            self._switches.append((self.clock, version))

    def admit(self, group: Group, taken: Sequence[int], version: int) -> Tensor:
        """Give the rows `taken` to the next waiting samples of `group`; returns them as a tensor."""
        self.owners += [None] * (max(taken) + 1 - len(self.owners))
        rows = torch.tensor(taken, device=self.device)
        streams = []
        for row in taken:
            sample = group.waiting.popleft()
            self.owners[row] = Owner(group, sample, self.clock - 1, version)
            streams.append(torch.from_numpy(uniforms(group.prompt.seed, sample, self.sampling.max_tokens)))
        self._uniform[rows] = torch.stack(streams).to(self.device)
        self.own[rows] = group.own_prompt - 1
        self.depth[rows] = group.depth
        self._next[rows] = rows * self.sampling.max_tokens
        self._earliest = min(self._earliest, self.clock - 1)
        self.changed = True
        return rows

    def draw(self, rows: Tensor | slice, logits_NV: Tensor) -> Tensor:
        """Draw the next token of each of `rows` and note it; returns the tokens [N]."""
        at = self._next[rows]
        tokens, logprobs = draw(logits_NV, self._uniform.view(-1).index_select(0, at), self.sampling)
        self._tokens.view(-1).index_copy_(0, at, tokens)
        self._logprobs.view(-1).index_copy_(0, at, logprobs)
        self.last[rows] = tokens
        self.own[rows] += 1
        self._next[rows] += 1
        return tokens

    def ended(self, drawn: Sequence[Tensor]) -> Iterator[tuple[Owner, Completion]]:
        """Hand over the rows that ended in the last steps, which drew the tokens `drawn` [steps][n]; leaves holes."""
        stops: dict[int, int] = {}  # row -> steps before the last in which it drew an end
        for back, tokens in enumerate(reversed(torch.stack(list(drawn)).tolist())):
            stops |= {row: back for row, token in enumerate(tokens) if token in self.eos_ids}
        for row in list(range(len(self.owners))) if self.steps_left <= 0 else sorted(stops):
            owner = self.owners[row]
            if owner is None:
                continue
            count = self.clock - owner.started
            if row in stops:
                yield owner, self._completion(row, count - stops[row], "stop")
            elif count >= self.sampling.max_tokens:
                yield owner, self._completion(row, count, "length")

    def close_holes(self) -> tuple[list[int], list[int]]:
        """Give each hole the last running row; returns the rows that moved, and where to."""
        source, to = moves([owner is not None for owner in self.owners])
        for old, new in zip(source, to, strict=True):
            self.owners[new] = self.owners[old]
            self.owners[old] = None
        self.owners = [owner for owner in self.owners if owner is not None]
        if source:
            tensors = self.last, self.own, self.depth, self._uniform, self._tokens, self._logprobs
            olds, news = (torch.tensor(rows, device=self.device) for rows in (source, to))
            for tensor in tensors:
                tensor[news] = tensor[olds]
            self._next[news] = self._next[olds] + (news - olds) * self.sampling.max_tokens
        self.size = rounded(len(self.owners))
        for tensor in (self.last, self.own, self.depth):
            tensor[len(self.owners) :] = 0
        running = [owner for owner in self.owners if owner is not None]
        self._earliest = min((o.started for o in running), default=0)
        self._switches = self._switches[max(0, sum(clock <= self._earliest for clock, _ in self._switches) - 1) :]
        self._lead = max((o.group.own_prompt - o.started for o in running), default=0)
        self.changed = False
        return source, to

    def _completion(self, row: int, count: int, reason: Literal["stop", "length"]) -> Completion:
        owner = self.owners[row]
        assert owner is not None, "a row that ends has an owner"
        version, earlier = self._versions(owner, count)
        self.owners[row], self.changed = None, True
        ids, logprobs = (x[row, :count].tolist() for x in (self._tokens, self._logprobs))
        return Completion(tuple(ids), tuple(logprobs), reason, version, earlier)

    def _versions(self, owner: Owner, count: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        """The version that drew the last of a sample's `count` tokens, and what others did before."""
        first = owner.started + 1  # the clock of the first token
        later = [(clock, version) for clock, version in self._switches if first < clock < first + count]
        marks = [(first, owner.group.version), (first, owner.version), *later]
        runs: list[tuple[int, int]] = []
        for (clock, version), end in zip(marks, [clock for clock, _ in marks[1:]] + [first + count], strict=True):
            if runs and runs[-1][0] == version:
                runs[-1] = version, runs[-1][1] + end - clock
            else:
                runs.append((version, end - clock))
        return runs[-1][0], tuple(runs[:-1])


def moves(used: Sequence[bool]) -> tuple[list[int], list[int]]:
    """Which of the last used places fill which holes, so that the used ones come first.

    >>> moves([True, False, True, False, True])
    ([4], [1])
    """
    left = sum(used)
    holes = [place for place in range(left) if not used[place]]
    return [place for place in range(left, len(used)) if used[place]], holes
