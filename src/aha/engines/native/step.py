"""A whole decoding step of a Llama-shaped model as one call of a kernel: one token for each running row, on a CPU.

    step = Step(model, decoder)              # where `fits(model)`
    logits = step(ids, own, depth, cache)    # [n, V]

With few rows, or a small model, calling each operation costs more than computing it. The products read a copy of the
weights in panels, whose columns fill vector registers; `refresh` has to be called after the weights have changed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aha.engines.native.cache import SlotCache
from aha.models.decoder import Decoder, Layer
from aha.models.kernels.build import library
from aha.models.kernels.fused import kernel, pointer

MOST_COPIED = 500_000_000  # parameters, beyond which a second copy of them is too much
PANELS = ("qkv", "out", "gate_up", "down")
POSITIONS = 1024  # by which the table of rotations grows


def fits(decoder: Decoder | None) -> bool:
    """True where the model is covered, there is a kernel for it, and room for a copy of its weights."""
    if decoder is None or kernel("step", decoder.embedding) is None:
        return False
    inner = decoder.layers[0].down.shape[1]
    weights = [decoder.embedding, *(getattr(layer, name) for layer in decoder.layers for name in PANELS)]
    return sum(w.numel() for w in weights) <= MOST_COPIED and decoder.embedding.shape[1] % 2 == inner % 2 == 0


class Step:
    """The weights of a model as the kernel takes them, and where it finds them."""

    def __init__(self, model: Any, decoder: Decoder) -> None:
        self._decoder, self._head = decoder, model.get_output_embeddings()
        self._positions = 0
        self._tables = torch.empty(0), torch.empty(0)
        self.refresh()

    def refresh(self) -> None:
        """Follow the model's weights."""
        layers = self._decoder.layers
        self._layers = [dataclasses.replace(x, **{name: panels(getattr(x, name)) for name in PANELS}) for x in layers]
        self._head_panels = panels(self._head.weight)
        self._found: tuple[object, object] = None, None  # the stores that are noted

    def __call__(self, ids: Tensor, own: Tensor, depth: Tensor, cache: SlotCache) -> Tensor:
        """Logits [n, V] of the next token of rows 0..n-1, whose last tokens are `ids`, in their own places `own` after
        `depth` shared ones."""
        d = self._decoder
        if self._found[0] is not cache.store or self._found[1] is not cache.prefixes:
            self._find(cache)
        if cache.reach > self._positions:
            self._rotations(cache.reach)
        out = d.embedding.new_empty(len(ids), self._head.out_features)
        step = kernel("step", out)
        assert step is not None
        step(
            self._shape.ctypes.data, self._model.ctypes.data, d.eps, d.scaling, pointer(ids), pointer(own),
            pointer(cache.prefix_of), pointer(depth), len(ids), pointer(out),
        )  # fmt: skip
        return out

    def _find(self, cache: SlotCache) -> None:
        """Note where all that a step reads and writes is."""
        d, layers = self._decoder, self._layers
        stores = [(*cache.store[i], *cache.prefixes.get(i, cache.store[i])) for i in range(len(layers))]
        rows = [[*_weights(layer), *stored] for layer, stored in zip(layers, stores, strict=True)]
        self._table = np.array([[pointer(x) or 0 for x in row] for row in rows], dtype=np.int64)
        places, prefix_places = (values.shape[2] for values in (stores[0][1], stores[0][3]))
        hidden, inner = d.embedding.shape[1], d.layers[0].down.shape[1]
        sizes = [len(layers), hidden, inner, self._head.out_features, *d.heads, places, prefix_places]
        self._shape = np.array(sizes, dtype=np.int64)
        self._point()
        self._found = cache.store, cache.prefixes

    def _point(self) -> None:
        d = self._decoder
        tensors = d.embedding, d.norm, self._head_panels, self._head.bias, *self._tables
        self._model = np.array([*(pointer(x) or 0 for x in tensors), self._table.ctypes.data], dtype=np.int64)

    def _rotations(self, reach: int) -> None:
        """Cosines and sines [positions, D] of the positions below `reach`, at least."""
        self._positions = -(-reach // POSITIONS) * POSITIONS
        embedding = self._decoder.embedding
        positions = torch.arange(self._positions, device=embedding.device)
        cos, sin = self._decoder.rotary(embedding, positions[None])
        self._tables = cos[0].contiguous(), sin[0].contiguous()
        self._point()


def panels(weight: Tensor) -> Tensor:
    """A weight [P, K] of a product as the kernel reads it: [P / C, K, C] with C columns side by side, the last filled
    up with zeros; in bfloat16 [P / C, K / 2, C, 2], numbers of two neighbouring K next to each other."""
    found = library()
    assert found is not None
    columns, pair = found.panel_columns(), 4 // weight.element_size()
    padded = F.pad(weight.detach(), (0, 0, 0, -len(weight) % columns))
    return padded.view(-1, columns, weight.shape[1] // pair, pair).transpose(1, 2).contiguous()


def _weights(layer: Layer) -> tuple[Tensor | None, ...]:
    """In the kernel's order."""
    return tuple(getattr(layer, field.name) for field in dataclasses.fields(layer))
