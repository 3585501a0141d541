"""Keys and values of running samples, in preallocated slots with in-place writes.

`transformers` calls `update` once a layer. While prefilling, the new keys and values are kept aside (`staged`) to be
copied into the slots of a whole group; while decoding, each row's new key is written at its own position and the rows'
caches are returned as views. What a layer stores is its own business: heads of keys and values, or MLA's latents.

Axes: S slots, K key heads, T positions, D width (which may differ between keys and values).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Prefix = dict[int, tuple[Tensor, Tensor]]  # a layer's keys and values of prefilled prompts

ROUND = 64  # positions are allocated in multiples of this


class SlotCache:
    """The `past_key_values` of the native engine."""

    is_compileable = False
    is_sliding = (False,)

    def __init__(self) -> None:
        self.store: dict[int, tuple[Tensor, Tensor]] = {}  # a layer: [S, K, T, D], [S, K, T, Dv]
        self.staged: Prefix = {}  # a layer: [P, K, L, D], [P, K, L, Dv]
        self.positions: Tensor | None = None  # [n] where the rows 0..n-1 write next; None while prefilling
        self.rows = torch.empty(0, dtype=torch.long)
        self.width = 0

    def begin_prefill(self) -> None:
        """From here on `update` keeps aside what it is given."""
        self.positions, self.staged = None, {}

    def begin_decode(self, positions: Tensor, width: int) -> None:
        """From here on `update` writes one key a row at `positions` [n] and returns the first `width` positions."""
        self.positions, self.width = positions, width
        if len(self.rows) != len(positions):
            self.rows = torch.arange(len(positions), device=positions.device)

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values; return all that its queries may look at."""
        if self.positions is None:
            assert layer not in self.staged, "a layer caches once a pass"
            self.staged[layer] = key, value
            return key, value
        keys, values = self.store[layer]
        n = len(self.positions)
        keys[self.rows, :, self.positions] = key[:, :, 0]
        values[self.rows, :, self.positions] = value[:, :, 0]
        return keys[:n, :, : self.width], values[:n, :, : self.width]

    def reserve(self, slots: int, positions: int) -> None:
        """Make room, keeping nothing, for `slots` rows of `positions`. Uses the shapes of what was last staged."""
        positions = -(-positions // ROUND) * ROUND
        room = next((keys.shape for keys, _ in self.store.values()), (0, 0, 0))
        if room[0] >= slots and room[2] >= positions:
            return
        self.store = {}  # freed before the larger one is allocated

        def empty(like: Tensor) -> Tensor:
            # zeros, because a masked key's weight of 0 does not silence a NaN in memory that was never written
            return torch.zeros(slots, like.shape[1], positions, like.shape[3], dtype=like.dtype, device=like.device)

        self.store = {layer: (empty(keys), empty(values)) for layer, (keys, values) in self.staged.items()}

    def copy_prefix(self, prefix: Prefix, row: int, length: int, slots: Tensor) -> None:
        """Copy the first `length` positions of row `row` of a prefilled `prefix` into each of `slots`."""
        for layer, stored in self.store.items():
            for to, source in zip(stored, prefix[layer], strict=True):
                to[slots, :, :length] = source[row, :, :length]

    def move(self, source: Tensor, to: Tensor) -> None:
        """Copy whole rows `source` onto rows `to`."""
        for pair in self.store.values():
            for tensor in pair:
                tensor[to] = tensor[source]

    def get_seq_length(self, *_: Any) -> int:
        """Positions are always passed to the model; nothing is derived from this."""
        return 0
