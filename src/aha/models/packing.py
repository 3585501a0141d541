"""Rows of different lengths side by side in one stream: no layer but attention knows where one ends, and none pads.

    layout = Packed([Segment(0, 24), Segment(24, 40, parent=0), Segment(64, 9, parent=0)])

A segment may continue another one, its parent: samples of one prompt share the prompt's tokens, which are in the stream
once. Attention cuts segments into blocks of at most `BLOCK` queries and computes blocks of similar size together; only
there is padding, and long segments skip most of the keys that are hidden from them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aha.models.attention import Rule, attend_block, hiding
from aha.models.kernels.fused import attention, kernel

BLOCK = 256  # queries
SIMILAR = 0.7  # blocks are computed together where the shorter has at least this share of the longer's queries and keys
MOST_KEYS = 512  # of a block, beyond which its scores are computed again in the backward pass and not kept
NOWHERE = 1 << 30  # the place of a key that only pads: nobody sees it


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `start` to `start + length` of a stream; `parent` is the number of the segment that they continue."""

    start: int
    length: int
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class _Cut:
    """Queries `first` to `last` of the stream, and the ranges of it that hold their keys."""

    first: int
    last: int
    start: int  # of their segment
    prefix: tuple[int, int]  # of its parent

    @property
    def size(self) -> tuple[int, int]:
        return self.last - self.first, self.last - self.start + self.prefix[1] - self.prefix[0]


class _Blocks(NamedTuple):
    """Similar cuts together. A block's queries and keys are consecutive parts of what is gathered."""

    queries: Tensor  # [sum of B Q] tokens whose queries are gathered
    keys: Tensor  # [sum of B T]
    slots: Tensor  # [N] where each token's query is among the gathered ones
    places: list[tuple[Tensor, Tensor]]  # of each block's queries [B, Q] and keys [B, T], in their rows


class Packed:
    """The layout of a packed stream of `tokens`. `positions` [N] are their places in their rows. A stream may be longer
    than its segments, to have one of few `size`s: what comes after them is never looked at."""

    def __init__(
        self, segments: Sequence[Segment], device: torch.device | str = "cpu", size: int | None = None
    ) -> None:
        depth = [segments[s.parent].length if s.parent is not None else 0 for s in segments]
        positions = np.concatenate([np.arange(d, d + s.length) for s, d in zip(segments, depth, strict=True)])
        self.tokens = len(positions)
        self._segments, self._device = segments, device
        padding = 0 if size is None else size - self.tokens
        self.positions = torch.from_numpy(np.pad(positions, (0, padding))).to(device)
        self._hiding: dict[tuple[int, torch.dtype], list[Tensor]] = {}

    def attend(self, _: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """[N, H, D], [N, K, D], [N, K, Dv] -> [N, H, Dv], any layer."""
        if not rule.window and not rule.softcap and kernel("attention", query) is not None:
            return attention(query, key, value, *self._families, rule.scaling)
        blocks = self._blocks
        gathered = query.index_select(0, blocks.queries)
        keys, values = (x.index_select(0, blocks.keys) for x in (key, value))
        outs: list[Tensor] = []
        at = key_at = 0
        for hidden in self._hidden(rule.window, query.dtype):
            batch, length, width = hidden.shape[0], hidden.shape[2], hidden.shape[3]
            q = gathered[at : at + batch * length].unflatten(0, (batch, length))
            k, v = (
                x[key_at : key_at + batch * width].unflatten(0, (batch, width)).transpose(1, 2) for x in (keys, values)
            )
            at, key_at = at + batch * length, key_at + batch * width
            if torch.is_grad_enabled() and width > MOST_KEYS:
                out = checkpoint(attend_block, q, k, v, hidden, rule, use_reentrant=False)
            else:
                out = attend_block(q, k, v, hidden, rule)
            outs.append(out.flatten(0, 1))
        return torch.cat(outs).index_select(0, blocks.slots)

    @functools.cached_property
    def _families(self) -> tuple[Tensor, Tensor]:
        """As `fused.attention` takes them."""
        families, row_starts = _families(self._segments, len(self.positions))
        return torch.from_numpy(families), torch.from_numpy(row_starts)

    @functools.cached_property
    def _blocks(self) -> _Blocks:
        positions = self.positions.cpu().numpy()
        queries, keys, places = [], [], []
        slots = np.zeros(len(positions), dtype=np.int64)
        gathered = 0
        for cuts in _similar(_cuts(self._segments)):
            cuts += cuts[-1:] * (rounded(len(cuts)) - len(cuts))
            query_index, query_real = _ranges([(c.first, c.last) for c in cuts], 16)
            own_index, own_real = _ranges([(c.start, c.last) for c in cuts], 16)
            prefix_index, prefix_real = _ranges([c.prefix for c in cuts], 8)
            key_index = np.concatenate([prefix_index, own_index], 1)
            key_real = np.concatenate([prefix_real, own_real], 1)
            slots[query_index[query_real]] = gathered + np.flatnonzero(query_real)
            gathered += query_index.size
            queries.append(query_index.ravel())
            keys.append(key_index.ravel())
            places.append((positions[query_index], np.where(key_real, positions[key_index], NOWHERE)))

        def tensor(x: np.ndarray) -> Tensor:
            return torch.from_numpy(x).to(self._device)

        flat = (tensor(np.concatenate(queries)), tensor(np.concatenate(keys)), tensor(slots))
        return _Blocks(*flat, [(tensor(q), tensor(k)) for q, k in places])

    def _hidden(self, window: int, dtype: torch.dtype) -> list[Tensor]:
        """What is added to the scores of each block, made once for all layers of one kind."""
        if (window, dtype) not in self._hiding:
            self._hiding[window, dtype] = [hiding(q, k, window, dtype) for q, k in self._blocks.places]
        return self._hiding[window, dtype]


def rounded(count: int) -> int:
    """The next larger of few numbers. Matrix products of a shape that was not seen before cost a CPU half a millisecond
    in bfloat16, to make the code for it: shapes are rounded, so that there are few. Below 4 rows a product in float32
    adds up in another order; from 4 on a row's result has the same bits whatever the other rows are.

    >>> [rounded(n) for n in (0, 1, 3, 5, 9, 17, 130, 2000)]
    [0, 4, 4, 8, 16, 24, 144, 2048]
    """
    if count <= 4:
        return 4 if count else 0
    step = 8 if count <= 64 else 16 if count <= 256 else 64
    return -(-count // step) * step


def rows(lengths: Sequence[int]) -> list[Segment]:
    """Segments of rows that share nothing.

    >>> rows([3, 2])
    [Segment(start=0, length=3, parent=None), Segment(start=3, length=2, parent=None)]
    """
    ends = np.cumsum(lengths).tolist()
    return [Segment(end - length, length) for end, length in zip(ends, lengths, strict=True)]


def _families(segments: Sequence[Segment], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranges of the stream whose rows share a prompt [F, 3]: start, end, the prompt's length; and the start of each
    token's own row [N]."""
    families: list[list[int]] = []
    row_starts = np.zeros(size, dtype=np.int64)
    for s in segments:
        row_starts[s.start : s.start + s.length] = s.start
        if s.parent is None:
            families.append([s.start, s.start + s.length, s.length])
        else:
            assert families[-1][0] == segments[s.parent].start and families[-1][1] == s.start, "children follow"
            families[-1][1] = s.start + s.length
    return np.array(families, dtype=np.int64), row_starts


def _cuts(segments: Sequence[Segment]) -> Iterator[_Cut]:
    for s in segments:
        parent = segments[s.parent] if s.parent is not None else Segment(0, 0)
        for first in range(s.start, s.start + s.length, BLOCK):
            last = min(first + BLOCK, s.start + s.length)
            yield _Cut(first, last, s.start, (parent.start, parent.start + parent.length))


def _similar(cuts: Iterator[_Cut]) -> Iterator[list[_Cut]]:
    """Cuts of similar size together, the largest first."""
    together: list[_Cut] = []
    for cut in sorted(cuts, key=lambda c: c.size, reverse=True):
        if together and any(size < SIMILAR * largest for size, largest in zip(cut.size, together[0].size, strict=True)):
            yield together
            together = []
        together.append(cut)
    yield together


def _ranges(ranges: Sequence[tuple[int, int]], multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """[B, longest] index of the tokens of each range, and which of them are real; the rest repeats the first. The
    longest is rounded up."""
    starts, lengths = np.array([r[0] for r in ranges]), np.array([r[1] - r[0] for r in ranges])
    columns = np.arange(-(-lengths.max(initial=0) // multiple) * multiple)
    real = columns < lengths[:, None]
    return starts[:, None] + np.where(real, columns, 0), real
