"""What one micro-batch holds between its forward and its backward pass, from sizes alone.

    a = activations(d, rows=[1024] * 4, trained=4000, itemsize=2, path="torch", fused=True)
    a.peak      # bytes, above weights, gradients and optimiser

Without `recompute` nothing is computed again in the backward pass but attention over more than `MOST_KEYS` keys, so
every layer keeps what its products have read; with it, one layer does at a time. Which tensors those are depends on the
path (docs/architecture.md, "What makes it fast"):

    kernels       models/decoder.py with the kernels of a CPU
    torch         models/decoder.py without them: a GPU, or a CPU without g++
    transformers  a model's own code: other architectures, and policies with adapters

`tests/planning/test_activations.py` holds the sums against what PyTorch allocates.
Symbols: N tokens of the stream, h hidden, F inner, q, k, v, o widths of queries, keys, values and attention's output
(heads times width), b bytes a number, M trained tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aha.models.packing import BLOCK, MOST_KEYS, SIMILAR, rounded
from aha.planning.dimensions import SHAPED, Dimensions, attention_products, dense_layers, mlp_products
from aha.training.learner import LOGITS_CHUNK

PathName = Literal["kernels", "torch", "transformers"]
Block = tuple[int, int, int]  # similar blocks of attention: how many, queries and keys of each

CAPPED = ("gemma2",)  # keep capped scores and logits too
WINDOWED = ("gemma2", "gemma3_text")  # no kernel attends for them

FORMULAS: dict[PathName, str] = {
    "kernels": "layers N (b (4 h + 2 (q + k + v) + o + 2 F) + 4 heads)",
    "torch": "layers N (b (4 h + 2 (q + k) + v + o + 4 F) + gathered queries, keys, values)",
    "transformers": "layers N (norms (4 + 2 b) h + b (2 q + 2 o + 4 F) + experts b active (2 h + 4 F'))",
}


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes. `layers` grow with tokens; `joined` are weights put side by side, kept until the backward pass."""

    layers: float
    joined: float
    logits: float  # of one chunk, in both directions, beside the last norm and the micro-batch's own streams
    working: float  # of the layer whose backward pass needs most, beside those streams and their gradient

    @property
    def peak(self) -> float:
        """The most at any time: logits are gone when the layers' backward pass begins."""
        return self.layers + self.joined + max(self.logits, self.working)


def path_of(d: Dimensions, *, kernels: bool, plain: bool = True) -> PathName:
    """The path that a learner takes; `plain`: without adapters."""
    if not plain or d.kind not in SHAPED:
        return "transformers"
    return "kernels" if kernels else "torch"


def activations(
    d: Dimensions, rows: Sequence[int], trained: int, itemsize: int, path: PathName, *, kernels: bool = False,
    fused: bool = False, recompute: bool = False, lean: bool = False, alone: bool = True,
) -> Activations:  # fmt: skip
    """Of a micro-batch of `rows`, their lengths in tokens. `kernels`: a CPU's, which attend for any path. `fused`:
    norms and attention as on a GPU. `recompute`: as aha's learner with sharding.recompute; `lean`: as one would need
    that also copies nothing for attention, which aha's does. `alone`: a learner of one process, which puts weights side
    by side, and whose gradients are added up one by one; of several, those of a layer are together."""
    n, m = rounded(sum(rows)), rounded(trained)
    fused = fused or lean
    attends = kernels and d.kind not in WINDOWED
    blocks = [] if attends else [(1, n, n)] if lean else grouped(rows)
    experts = d.layers - dense_layers(d)
    attention = _attention(d, n, blocks, itemsize, path, fused)
    dense, sparse = (attention + _mlp(d, n, itemsize, path, of_experts=e) for e in (False, True))
    layers = dense_layers(d) * dense + experts * sparse
    mask = 0 if lean else itemsize * sum(count * queries * keys for count, queries, keys in blocks)
    streams = 24.0 * n + 60.0 * m + 2 * n * d.head * itemsize + mask
    logits = streams + (2 * n + m) * d.hidden * itemsize + _logits(d, m, itemsize)
    joined = _joined(d) * itemsize if alone and path != "transformers" else 0.0
    mlp = _mlp(d, n, itemsize, path, of_experts=experts > 0)
    working = streams + _working(d, n, blocks, itemsize, path, fused, mlp, alone, recompute)
    if recompute or lean:
        working += max(dense if dense_layers(d) else 0.0, sparse if experts else 0.0) + joined / d.layers
        layers, joined = _inputs(d, n, itemsize, path), 0.0
    return Activations(layers, joined, logits, working)


def _inputs(d: Dimensions, n: int, b: int, path: PathName) -> float:
    """Kept of all layers that are computed again. By models/decoder.py a layer is given two streams, the first one. By
    its own code one, which in float32 is also what the norm of the layer in work keeps."""
    streams = d.layers - (b == 4) if path == "transformers" else 2 * d.layers - 1
    return float(streams * n * d.hidden * b)


def grouped(rows: Sequence[int]) -> list[Block]:
    """The blocks that `models/packing.py` computes attention in, for rows that share no prompt."""
    ends = [(first, length) for length in rows for first in range(0, length, BLOCK)]
    cuts = sorted(((min(BLOCK, length - first), min(first + BLOCK, length)) for first, length in ends), reverse=True)
    found: list[list[tuple[int, int]]] = []
    for cut in cuts:
        if found and all(size >= SIMILAR * largest for size, largest in zip(cut, found[-1][0], strict=True)):
            found[-1].append(cut)
        else:
            found.append([cut])
    return [
        (rounded(len(own)), -(-max(q for q, _ in own) // 16) * 16, -(-max(k for _, k in own) // 16) * 16)
        for own in found
    ]


def _attention(d: Dimensions, n: int, blocks: Sequence[Block], b: int, path: PathName, fused: bool) -> float:
    """Kept of one attention, with the norm before it."""
    h = d.hidden
    q, k, v, o = (x * y for x, y in ((d.heads, d.head), (d.key_heads, d.head), (d.key_heads, d.value_head),
                                     (d.heads, d.value_head)))  # fmt: skip
    if path == "kernels":
        return n * (b * (2 * h + 2 * (q + k + v) + o) + 4 * (d.heads + 1))
    kept = n * b * o + (_blocks(d, blocks, b, fused) if blocks else n * (b * (q + k + v) + 4 * d.heads))
    if path == "torch":
        kept += n * _norm(h, b, fused)
        if d.head_norms:  # what is normed, and the result
            kept += n * (b * (q + k + v) if fused or b == 4 else 4 * (q + k)) + n * b * (q + k)
        return kept + n * b * d.head
    kept += n * _own_norms(d, b) / 2
    if d.head_norms:
        kept += n * (8 if d.kind.startswith("gemma") else 4 + b) * (q + k)
    if d.latent is not None:
        kept += n * ((4 + 2 * b) * (d.latent.query_rank + d.latent.rank) + b * d.latent.rotary)
    return kept


def _blocks(d: Dimensions, blocks: Sequence[Block], b: int, fused: bool) -> float:
    """Kept of the blocks: gathered queries, keys and values, and, where they are few, their probabilities."""
    key_width = d.key_heads * (d.head + d.value_head)
    scores = 2 if d.kind in CAPPED else 1
    found = 0.0
    for count, queries, keys in blocks:
        found += count * b * (queries * d.heads * d.head + keys * key_width)
        if keys <= MOST_KEYS:
            found += count * queries * d.heads * (b * d.value_head + 4 if fused else b * keys * scores)
    return found


def _mlp(d: Dimensions, n: int, b: int, path: PathName, *, of_experts: bool) -> float:
    """Kept of one MLP, with the norm before it."""
    h = d.hidden
    if path == "kernels":
        return n * (b * (2 * h + 2 * d.inner) + 4)
    kept = n * (_norm(h, b, False) if path == "torch" else _own_norms(d, b) / 2)
    if not of_experts or d.experts is None:
        return kept + n * 4 * b * d.inner
    e = d.experts
    router = n * ((4 * h if b < 4 else 0) + 8 * e.count)
    return kept + router + n * b * (4 * e.shared * e.inner + e.active * (2 * h + 4 * e.inner))


def _norm(h: int, b: int, fused: bool) -> float:
    """Of a token: what is normed and the result; unfused, two in float32 and the result."""
    return 2 * h * b + 4 if fused else 2 * h * 4 + h * b + 4


def _own_norms(d: Dimensions, b: int) -> float:
    """Of a token, in all norms of a layer of `transformers`: each in float32, before and after its weight."""
    if d.kind.startswith("gemma"):  # two in float32 each; of their results two are read by products
        return d.norms * 8 * d.hidden + 2 * b * d.hidden
    return d.norms * (4 + 2 * b) * d.hidden


def _joined(d: Dimensions) -> int:
    """Queries', keys' and values' weights, and gate's and up's, side by side: numbers in all layers."""
    joined = attention_products(d)[:3] + mlp_products(d, d.inner)[:2]
    return d.layers * sum(inputs * outputs for inputs, outputs in joined)


def _logits(d: Dimensions, m: int, b: int) -> float:
    """Float32 logits of one chunk: log-probs and two gradients. Of many chunks also its products, the gradient of the
    chunk before, and the head's gradient, which is added up in float32."""
    chunk = max(1, LOGITS_CHUNK // d.vocabulary)
    if m <= chunk:
        return (16.0 if d.kind in CAPPED else 12.0) * m * d.vocabulary + m * d.hidden * b
    head = d.vocabulary * d.hidden
    second = min(chunk, m - chunk)  # tokens, beside which the first chunk's gradient is still there
    tokens = max((12.0 + b) * chunk, b * chunk + (12.0 + b) * second)
    return tokens * d.vocabulary + m * d.hidden * b + (4 * head if b < 4 else 0)


def _working(
    d: Dimensions, n: int, blocks: Sequence[Block], b: int, path: PathName, fused: bool, mlp: float, alone: bool,
    recompute: bool,
) -> float:  # fmt: skip
    """The most of these: the stream's gradient and the MLP's backward pass, which is gradients of its width, less what
    they free, and of its last weights where they stay. With experts, three of the chosen ones' outputs in float32, when
    what the shared ones had kept is gone. By the model's own code, six of a norm in float32: of the last one, or when
    layers are computed again of the MLP's. When what `mlp` had kept is gone, that of a block's scores: two gradients,
    and the probabilities where they were not kept. The head's gradient stays where it is the embedding's too, which
    comes last."""
    inner = d.inner if d.experts is None else max(
        d.inner * min(1, d.experts.dense_layers), d.experts.inner * (d.experts.active + d.experts.shared)
    )  # fmt: skip
    wide = 2 if path == "transformers" else 3
    needed = float(n * b * (d.hidden + wide * inner))
    if path == "kernels" or not alone:
        needed += b * d.hidden * inner
    if path == "transformers" and b < 4:
        needed = max(needed, 6 * 4 * n * d.hidden - (mlp if recompute else 0))
    if d.experts is not None:
        e = d.experts
        needed = max(needed, n * (b * d.hidden + 3 * 4 * e.active * d.hidden - 4 * b * e.shared * e.inner))
    if not fused:
        scores = [b * count * q * k * d.heads * (3 if k > MOST_KEYS else 2) for count, q, k in blocks]
        needed = max(needed, max(scores, default=0) - mlp)
    return needed + (b * d.vocabulary * d.hidden if d.tied and alone else 0)
