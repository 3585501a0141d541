"""What learning holds, in one process and divided among several, as a recipe's `sharding` says.

    held = learning(recipe.sharding, d, machine, trained=[Trained(P, P)], batch=Batch(4096, 1024, 1000))
    held.states, held.each, held.host        # of one process: on its device, and in main memory
    held.several(8)                          # of each of 8, by FSDP2 (distributed/sharded.py)

`tests/planning/test_learners.py` holds the sums against what learners of one and of two processes hold and allocate.
Symbols: P parameters, L those of the largest layer, E those of embedding and head together, b bytes a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aha.choices import ShardingChoice
from aha.planning.activations import FORMULAS, Activations, PathName, activations, path_of
from aha.planning.dimensions import Dimensions, head_weights, largest_layer, parameters, plain_products
from aha.planning.memory import Part, Several
from aha.planning.work import Machine


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that learns: its parameters, and those of them that get gradients."""

    weights: float
    trained: float
    name: str = ""  # of a critic, which is one part


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch of the longest rows."""

    tokens: int
    longest: float
    response: float
    plain: bool = True  # without adapters


@dataclass(frozen=True, slots=True)
class Held:
    """By one process, and by each of several. `host`: in main memory."""

    states: tuple[Part, ...]
    each: tuple[Part, ...]
    host: tuple[Part, ...]
    several: Callable[[int], Several]
    tensor: int = 1


def learning(
    sharding: ShardingChoice, d: Dimensions, machine: Machine, *, trained: Sequence[Trained], batch: Batch,
    kernels: bool, frozen: Sequence[Part] = (), scored: Dimensions | None = None,
) -> Held:  # fmt: skip
    """Of models of sizes `d`; `frozen` are read beside. `scored` has the sizes of activations where they are others."""
    b, plain = machine.itemsize, scored or d
    states: list[Part] = []
    host: list[Part] = []
    for one in trained:
        on_device, in_main = _alone(one, b, sharding.offload)
        states += on_device
        host += in_main
    if not machine.device.gpu:  # main memory is the device's
        states, host = [*states, *host], []

    def several(count: int) -> Several:
        return _several(sharding, d, machine, trained, batch, kernels, frozen, plain, count)

    a, path = _activations(plain, machine, batch, kernels, sharding.recompute)
    each = _activation_parts(a, _formula(path, machine, sharding))
    return Held((*states, loaded(d), *frozen), each, tuple(host), several, sharding.tensor)


def loaded(d: Dimensions) -> Part:
    """The model that a stage begins from."""
    return Part("model as loaded", 4.0 * parameters(d), "4 P: kept until the stage ends")


def _alone(one: Trained, b: int, offload: bool) -> tuple[list[Part], list[Part]]:
    """On the device, and in main memory."""
    parts = learner_parts(one.weights, one.trained, b)
    host: list[Part] = []
    if offload:
        parts, host = [Part("weights", b * one.weights, f"{b} P")], offloaded_parts(one.trained)
    if not one.name:
        return parts, host
    return [_joined(one.name, parts)], [_joined(one.name, host)] if host else []


def _joined(name: str, parts: Sequence[Part]) -> Part:
    return Part(name, sum(p.size for p in parts), f"as the policy: {', '.join(p.name for p in parts)}")


def learner_parts(weights: float, trained: float, b: int) -> list[Part]:
    """A learner of `weights` parameters, `trained` of which get gradients: masters and moments are in float32."""
    copy = b * weights
    master = 4.0 * trained if b < 4 else 0.0
    return [
        Part("weights", copy + master, f"{b} P" + (" + 4 P in float32" if master else "")),
        Part("gradients", 4.0 * trained, "4 P"),
        Part("optimiser", 8.0 * trained, "8 P: two moments"),
    ]


def offloaded_parts(trained: float) -> list[Part]:
    """What such a learner keeps in main memory: masters, though weights may be in float32 too."""
    return [
        Part("masters", 4.0 * trained, "4 P in float32"),
        Part("gradients", 4.0 * trained, "4 P"),
        Part("optimiser", 8.0 * trained, "8 P: two moments"),
    ]


def divided_parts(weights: float, trained: float) -> list[Part]:
    """A learner by FSDP2: parameters are the masters, and passes gather them in the type that they compute in."""
    return [
        Part("weights", 4.0 * weights, "4 P in float32"),
        Part("gradients", 4.0 * trained, "4 P"),
        Part("optimiser", 8.0 * trained, "8 P: two moments"),
    ]


def _activation_parts(a: Activations, formula: str) -> tuple[Part, ...]:
    """Of one process: logits and the layers' backward pass take turns."""
    joined = Part("joined weights", a.joined, "b (q + k + v, gate + up), until the backward pass", "learning")
    return (
        Part("activations", a.layers, formula, "learning"),
        *([joined] if a.joined else []),
        Part("logits, or backward", max(a.logits, a.working), "of one chunk; of one layer, where larger", "learning"),
    )


def _several(
    sharding: ShardingChoice, d: Dimensions, machine: Machine, trained: Sequence[Trained], batch: Batch, kernels: bool,
    frozen: Sequence[Part], plain: Dimensions, count: int,
) -> Several:  # fmt: skip
    tensor = sharding.tensor
    share = _share(d, count, tensor)
    own: list[Part] = []
    for one in trained:
        parts = divided_parts(one.weights, one.trained)
        own += [_joined(one.name, parts)] if one.name else parts
    divided = [_cut(p, share, count) for p in own]
    a, path = _activations(plain, machine, batch, kernels, sharding.recompute, tensor, alone=False)
    ends = head_weights(d), 0 if d.tied else head_weights(plain)
    experts = 3 * d.hidden * d.experts.inner * d.experts.count if d.experts else 0  # they stay where they are
    each = _passing(
        d, a, machine, path, count // tensor, ends, (largest_layer(d) - experts) / tensor,
        trained[0].trained / trained[0].weights, _formula(path, machine, sharding),
    )  # fmt: skip
    states = [] if sharding.offload else divided
    return Several(
        (*states, *(_cut(p, share, count) for p in frozen)), each, (*(divided if sharding.offload else []), loaded(d))
    )


def _share(d: Dimensions, count: int, tensor: int) -> float:
    """Of a model, that one process keeps: of matrices that are divided by `tensor` its part of all, of the rest that of
    those who divide samples."""
    matrices = sum(inputs * outputs for inputs, outputs in plain_products(d)) / parameters(d) if tensor > 1 else 1.0
    return matrices / count + (1 - matrices) * tensor / count


def _cut(part: Part, share: float, count: int) -> Part:
    divisor = f" / {count}" if share * count < 1 + 1e-9 else f" / {1 / share:.3g}"
    return replace(part, size=part.size * share, formula=f"({part.formula}){divisor}")


def _passing(
    d: Dimensions, a: Activations, machine: Machine, path: PathName, groups: int, ends: tuple[float, float],
    layer: float, learned: float, formula: str,
) -> tuple[Part, ...]:  # fmt: skip
    """Of one micro-batch by FSDP2, at the moment that takes most. `groups` share samples; `ends` are the parameters of
    embedding and of a head of its own, which stay gathered; `layer` those of the largest layer; `learned` the share of
    weights that get gradients.

    Source: torch/distributed/fsdp/_fully_shard, `foreach_all_gather` and `foreach_reduce`. A layer is gathered while
    the one after it computes gradients. A layer's gradients are copied to float32, added up from there, and the copy
    is held until those of the layer before are there. gloo adds up a copy of that copy.
    """
    b, (embedding, head) = machine.itemsize, ends
    both, shaped = embedding + head, path != "transformers"
    ahead = layer if groups > 1 else 0.0  # alone nothing is gathered before it is needed
    zeros = embedding if shaped else 0.0  # a layer of models/decoder.py is given the embedding, too: FSDP2 adds zeros
    summed = 4 + 4 / groups + (4 if groups > 1 and not machine.device.gpu else 0)
    there = head + zeros or embedding  # gradients of both while layers compute theirs
    adding = 3 * embedding if not head else head + embedding + zeros  # and while those of the embedding are added
    fewer = a.layers * (1 - 1 / d.layers)  # after the last layer
    moments = (  # docs/planning.md; gathered weights, gradients not divided yet, activations, logits or backward
        (b * (both + ahead), 0.0, a.layers, a.logits),
        (b * (both + layer + ahead), b * (head or embedding), a.layers, max(a.working, b * layer)),
        (b * (both + layer + ahead), b * there + 4 * layer, fewer, max(a.working, b * (layer + zeros))),
        (b * (both + ahead), b * (there + zeros) + summed * layer, fewer, 0.0),
        (b * (both + ahead), b * adding + 4 * layer, fewer, 0.0) if shaped else
        (b * both, b * adding + 4 * layer, 0.0, 0.0),
        (0.0, max((b + 4) * both, summed * both + (b * head if groups > 1 else 0)), 0.0, 0.0),
    )  # fmt: skip
    most = max(((g, u * learned, kept, rest) for g, u, kept, rest in moments), key=sum)
    named = (
        ("gathered weights", "b (E + 2 L)"),
        ("undivided gradients", "b E + 4 L, more where E or L is large: copies in float32 are added up"),
        ("activations", formula),
        ("logits, or backward", "of one chunk; of one layer, where larger"),
    )
    return tuple(Part(name, size, how, "learning") for (name, how), size in zip(named, most, strict=True) if size)


def _activations(
    d: Dimensions, machine: Machine, batch: Batch, kernels: bool, recompute: bool, tensor: int = 1, alone: bool = True
) -> tuple[Activations, PathName]:
    """Of learning on rows of the longest kind, as many as a micro-batch takes."""
    path = path_of(d, kernels=kernels, plain=batch.plain and tensor == 1)
    row = int(batch.longest)
    whole, rest = divmod(max(batch.tokens, row), row)
    rows = [row] * whole + ([rest] if rest else [])
    own = replace(d, heads=max(1, d.heads // tensor), key_heads=max(1, d.key_heads // tensor), inner=d.inner // tensor)
    a = activations(
        own, rows, min(sum(rows), int(batch.response * (whole + 1))), machine.itemsize, path, kernels=kernels,
        fused=machine.device.gpu, recompute=recompute, lean=machine.recompute, alone=alone,
    )  # fmt: skip
    return a, path


def _formula(path: PathName, machine: Machine, sharding: ShardingChoice) -> str:
    if machine.recompute or sharding.recompute:
        return "layers N b h: their inputs alone" + (", two streams of each" if path != "transformers" else "")
    return FORMULAS[path]


def refusal(tensor: int, d: Dimensions, adapted: bool) -> str:
    """Why a run does not divide each matrix of a model among `tensor` processes; "" where it does."""
    if tensor == 1:
        return ""
    if d.heads % tensor or d.key_heads % tensor:
        return f"sharding.tensor={tensor} does not divide {d.heads} query and {d.key_heads} key heads"
    if d.experts is not None or d.latent is not None or adapted:
        return f"sharding.tensor={tensor} does not divide {'adapters' if adapted else 'experts or compressed keys'}"
    return ""
