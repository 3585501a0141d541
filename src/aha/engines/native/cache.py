"""Keys and values of running samples, in preallocated slots with in-place writes: the layout of decoding.

A slot holds what is its row's own. A long prompt that several rows continue is stored once, as a prefix that they
share. What a layer stores is what its attention is given.

Axes: S slots, n running rows, H query heads, K key heads, T a row's own places, D width (keys and values may differ),
P shared prefixes, L their longest length, m rows that share a prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from aha.models.attention import Rule, soft_capped
from aha.models.kernels.fused import kernel, pointer
from aha.models.packing import Packed

ROUND = 64  # places are allocated in multiples of this

Pair = tuple[Tensor, Tensor]


class Recorder(Packed):
    """A packed stream whose keys and values are kept: a prefill. A layer: [N, K, D], [N, K, Dv]."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """As `Packed`; remembers the keys and values."""
        if not hasattr(self, "kept"):
            self.kept: dict[int, Pair] = {}
        assert layer not in self.kept, "a layer attends once a pass"
        self.kept[layer] = key, value
        return super().attend(layer, query, key, value, rule)


class SlotCache:
    """The layout of one token for each of the rows 0..n-1."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # Keys lie with their places side by side, so that a query meets many of them at once.
        self.store: dict[int, Pair] = {}  # a layer: [S, K, D, T], [S, K, T, Dv]
        self.prefixes: dict[int, Pair] = {}  # a layer: [P, K, D, L], [P, K, L, Dv]
        self._columns = torch.empty(0)
        self._slots = torch.empty(0)  # [S] their numbers
        self.prefix_of = torch.empty(0)  # [n] of each row; 0 for one without
        self._groups = torch.empty(0)  # [P * m] row at each place of the grouped order; places without one repeat a row
        self._place_in_groups = torch.empty(0)  # [n] of each row
        self._grouped = 0  # prefixes that rows continue; 0: all is in the slots
        self._longest = 0

    def reserve(
        self,
        kept: dict[int, Pair],
        slots: int,
        places: int,
        prefixes: int,
        longest: int,
        used: tuple[int, int] = (0, 0),
    ) -> None:
        """Make room for `slots` rows of `places` and for `prefixes` of up to `longest` tokens; what the first rows and
        the first prefixes hold, as many as are `used`, stays."""
        places, longest = (-(-x // ROUND) * ROUND for x in (places, longest))
        self.store = _room(self.store, kept, slots, places, used[0])
        self.prefixes = _room(self.prefixes, kept, prefixes, longest, used[1]) if prefixes else {}
        reach = [values.shape[2] for store in (self.store, self.prefixes) for _, values in store.values()]
        self._columns = torch.arange(max(reach), device=self.device)
        self._slots = torch.arange(slots, device=self.device)

    def resize(self, slots: int, places: int, keeping: int) -> None:
        """Have `slots` rows of `places` in the store, with what the first `keeping` of its rows hold."""
        self.store = _resized(self.store, slots, places, keeping)
        self._columns = torch.arange(places, device=self.device)
        self._slots = torch.arange(slots, device=self.device)

    def write_own(self, kept: dict[int, Pair], tokens: slice, slots: Tensor) -> None:
        """Copy a prompt, `tokens` of a prefill, to the first places of `slots`."""
        _write(self.store, kept, tokens, slots)

    def write_prefix(self, kept: dict[int, Pair], tokens: slice, prefix: int) -> None:
        """Copy a prompt, `tokens` of a prefill, to shared prefix number `prefix`."""
        _write(self.prefixes, kept, tokens, torch.tensor([prefix], device=self.device))

    def move(self, stores: dict[int, Pair], source: Sequence[int], to: Sequence[int], places: int) -> None:
        """Copy the first `places` of the slots, or prefixes, `source` of `stores` onto `to`."""
        if source:
            olds, news = (torch.tensor(numbers, device=self.device) for numbers in (source, to))
            for keys, values in stores.values():
                keys[news, :, :, :places] = keys[olds, :, :, :places]
                values[news, :, :places] = values[olds, :, :places]

    def group(self, prefix_of: Sequence[int | None], longest: int) -> None:
        """Tell which prefix each row continues (None: it has none), and how long the longest of them is."""
        self._grouped, self._longest = max((p for p in prefix_of if p is not None), default=-1) + 1, longest
        self.prefix_of = torch.tensor([prefix or 0 for prefix in prefix_of], device=self.device)
        if not self._grouped:
            return
        members: dict[int, list[int]] = {}
        for row, prefix in enumerate(prefix_of):
            members.setdefault(prefix or 0, []).append(row)  # a row without one sees nothing of the first
        most = max(map(len, members.values()))
        rows = np.zeros((self._grouped, most), dtype=np.int64)
        places = np.zeros(len(prefix_of), dtype=np.int64)
        for prefix, owned in members.items():
            rows[prefix, : len(owned)] = owned
            places[owned] = prefix * most + np.arange(len(owned))
        self._groups = torch.from_numpy(rows.ravel()).to(self.device)
        self._place_in_groups = torch.from_numpy(places).to(self.device)

    def begin(self, own_n: Tensor, depth_n: Tensor, width: int) -> None:
        """The next step: row r writes its own place `own_n[r]`, below `width`, after `depth_n[r]` shared ones."""
        self._own, self._depth, self._width = own_n, depth_n, width
        self._rows = len(own_n)
        self._hiding: dict[int, Tensor] = {}

    @property
    def reach(self) -> int:
        """Positions that the step's rows take at most."""
        return self._width + self._longest

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Store the rows' keys [n, K, D] and values; [n, H, D] -> [n, H, Dv]."""
        if not rule.window and not rule.softcap and (decode := kernel("decode", query)) is not None:
            return self._fused(decode, layer, query, key, value, rule)
        n, heads, width = query.shape
        keys, values = self._written(self.store[layer], key, value)
        query = query * rule.scaling
        scores = torch.bmm(query.reshape(len(keys), -1, width), keys).view(n, heads, -1)
        if self._grouped:
            scores = torch.cat([self._prefix_scores(query, self.prefixes[layer][0]), scores], -1)
        scores = soft_capped(scores, rule).add_(self._hidden(rule.window, scores.dtype))
        probabilities = torch.softmax(scores, -1)
        own = probabilities[..., -self._width :].reshape(len(keys), -1, self._width)
        out = torch.bmm(own, values).view(n, heads, -1)
        if self._grouped:
            out += self._from_prefixes(probabilities[..., : -self._width], self.prefixes[layer][1])
        return out

    def _fused(
        self, decode: Callable[..., None], layer: int, query: Tensor, key: Tensor, value: Tensor, rule: Rule
    ) -> Tensor:
        """The whole of `attend` in one pass."""
        keys, values = self.store[layer]
        shared_keys, shared_values = self.prefixes.get(layer, (keys, values))
        query, key = query.contiguous(), key.contiguous()
        value = value if value[0].is_contiguous() else value.contiguous()
        n, heads, width = query.shape
        out = query.new_empty(n, heads, value.shape[2])
        decode(
            pointer(query), pointer(key), pointer(value), value.stride(0),
            pointer(keys), pointer(values), values.shape[2],
            pointer(shared_keys), pointer(shared_values), shared_values.shape[2],
            pointer(self._own), pointer(self.prefix_of), pointer(self._depth), rule.scaling,
            pointer(out), n, heads, key.shape[1], width, value.shape[2],
        )  # fmt: skip
        return out

    def _written(self, stored: Pair, key: Tensor, value: Tensor) -> Pair:
        """Write keys [n, K, D] and values; returns the running rows' [n * K, D, width] and [n * K, width, Dv]."""
        keys, values = stored
        rows = self._slots[: self._rows]
        keys[rows, :, :, self._own] = key
        values[rows, :, self._own] = value
        count = self._rows * keys.shape[1]
        return keys.flatten(0, 1)[:count, :, : self._width], values.flatten(0, 1)[:count, : self._width]

    def _prefix_scores(self, query: Tensor, prefixes: Tensor) -> Tensor:
        """[n, H, D] x [P, K, D, L] -> [n, H, L]: every row against the prefix that it continues."""
        grouped = self._to_groups(query, prefixes.shape[1])
        keys = prefixes[: self._grouped].flatten(0, 1)[:, :, : self._longest]
        return self._to_rows(torch.bmm(grouped, keys), query)

    def _from_prefixes(self, probabilities: Tensor, prefixes: Tensor) -> Tensor:
        """[n, H, L] x [P, K, L, Dv] -> [n, H, Dv]."""
        grouped = self._to_groups(probabilities, prefixes.shape[1])
        values = prefixes[: self._grouped].flatten(0, 1)[:, : self._longest]
        return self._to_rows(torch.bmm(grouped, values), probabilities)

    def _to_groups(self, rows: Tensor, key_heads: int) -> Tensor:
        """[n, H, X] -> [P * K, m * H / K, X]."""
        gathered = rows.index_select(0, self._groups)
        gathered = gathered.view(self._grouped, -1, key_heads, rows.shape[1] // key_heads, rows.shape[2])
        return gathered.transpose(1, 2).reshape(self._grouped * key_heads, -1, rows.shape[2])

    def _to_rows(self, grouped: Tensor, rows: Tensor) -> Tensor:
        """[P * K, m * H / K, X] -> [n, H, X], with n and H those of `rows`."""
        heads, size = rows.shape[1], grouped.shape[2]
        key_heads = len(grouped) // self._grouped
        parts = grouped.view(self._grouped, key_heads, -1, heads // key_heads, size).transpose(1, 2)
        return parts.reshape(-1, heads, size).index_select(0, self._place_in_groups)

    def _hidden(self, window: int, dtype: torch.dtype) -> Tensor:
        """[n, 1, L + width]: 0 where a row sees a key, else -inf; made once a step for all layers of one kind."""
        if window not in self._hiding:
            own = self._columns[: self._width] - self._own[:, None]  # how far a key is ahead of the row's token
            hidden = own > 0
            if window:
                hidden |= own <= -window
            if self._grouped:
                columns, depth = self._columns[: self._longest], self._depth[:, None]
                unseen = columns >= depth
                if window:
                    unseen |= columns - depth - self._own[:, None] <= -window
                hidden = torch.cat([unseen, hidden], 1)
            scores = torch.zeros(hidden.shape, dtype=dtype, device=self.device)
            self._hiding[window] = scores.masked_fill_(hidden, float("-inf"))[:, None]
        return self._hiding[window]


def _write(stores: dict[int, Pair], kept: dict[int, Pair], tokens: slice, rows: Tensor) -> None:
    """Copy `tokens` of kept keys and values to the first places of each of `rows`."""
    length = tokens.stop - tokens.start
    for layer, (keys, values) in stores.items():
        keys[rows, :, :, :length] = kept[layer][0][tokens].permute(1, 2, 0)
        values[rows, :, :length] = kept[layer][1][tokens].transpose(0, 1)


def _resized(stores: dict[int, Pair], rows: int, places: int, keeping: int) -> dict[int, Pair]:
    """Stores of `rows` rows of `places` places, with what the first `keeping` rows hold."""
    resized: dict[int, Pair] = {}
    for layer in list(stores):
        keys, values = stores.pop(layer)  # a layer is freed before the next is made
        kept = min(places, values.shape[2])
        new_keys = keys.new_zeros(rows, *keys.shape[1:3], places)
        new_values = values.new_zeros(rows, values.shape[1], places, values.shape[3])
        new_keys[:keeping, :, :, :kept] = keys[:keeping, :, :, :kept]
        new_values[:keeping, :, :kept] = values[:keeping, :, :kept]
        resized[layer] = new_keys, new_values
    return resized


def _room(old: dict[int, Pair], kept: dict[int, Pair], rows: int, places: int, used: int) -> dict[int, Pair]:
    """Stores of `rows` rows of `places` places at least; the old ones where they are large enough, and else with what
    the first `used` rows hold."""
    if old:
        has_rows, _, has_places, _ = next(iter(old.values()))[1].shape
        if has_rows >= rows and has_places >= places:
            return old
        if used:  # more are to come: twice the room spares them the copy
            more = 2 * has_rows if rows > has_rows else has_rows
            return _resized(old, max(rows, more), max(places, has_places), used)
    old.clear()  # freed before the larger one is allocated

    def empty(like: Tensor, *shape: int) -> Tensor:
        # zeros, because a masked key's weight of 0 does not silence a NaN in memory that was never written
        return torch.zeros(rows, like.shape[1], *shape, dtype=like.dtype, device=like.device)

    return {
        layer: (empty(keys, keys.shape[2], places), empty(values, places, values.shape[2]))
        for layer, (keys, values) in kept.items()
    }
