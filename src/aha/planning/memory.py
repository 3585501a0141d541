"""What a stage holds at once, part by part, and on how many devices that fits.

    needs = Needs(states=(Part("optimiser", 8 * P, "8 P"), ...), ...)
    fitting(needs, 8, device)       # the parts of one of 8 devices, or of as few of them as an engine needs

On several devices a learner is divided as `learners.py` says, an engine is taken to lie on as few of them as hold it,
and a micro-batch to lie on one, or on those that divide its matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from aha.engines.native.cache import ROUND
from aha.engines.native.prefill import SHARED_FROM
from aha.models.packing import rounded
from aha.planning.activations import PathName
from aha.planning.dimensions import Dimensions
from aha.planning.hardware import Device

USABLE = 0.9  # of a device's memory: the rest is the driver's, and lost between allocations
MOST_DEVICES = 8192
When = Literal["always", "learning", "sampling"]


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one part, by which formula; parts of learning and of sampling are not there at the same time."""

    name: str
    size: float
    formula: str
    when: When = "always"


@dataclass(frozen=True, slots=True)
class Rows:
    """The call of an engine that takes most room: its rows, and the bytes of each."""

    count: float = 0  # that could run together, over all devices
    slots: int = 1  # that run together in one engine
    samples: int = 1  # of a prompt
    cache: float = 0.0  # keys and values of one row
    prefix: float = 0.0  # of a prompt that its samples share
    step: float = 0.0  # of one row in a step of decoding
    formula: str = ""


@dataclass(frozen=True, slots=True)
class Several:
    """What each of several processes holds that divide a learner."""

    states: tuple[Part, ...]
    each: tuple[Part, ...]
    host: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage holds. `several` is asked where there is more than one device; without it states are divided
    evenly. Devices come in multiples of `tensor`."""

    states: tuple[Part, ...]
    engine: tuple[Part, ...] = ()  # divided over an engine's devices
    each: tuple[Part, ...] = ()  # of learning, whole on every device
    rows: Rows = Rows()
    host: tuple[Part, ...] = ()  # in main memory, where that is not the device's
    several: Callable[[int], Several] | None = None
    tensor: int = 1


@dataclass(frozen=True, slots=True)
class Fit:
    """A stage on `count` devices, `engine` of them an engine's."""

    count: int
    engine: int
    parts: tuple[Part, ...]  # of one device
    room: float  # bytes of one device that can be used
    host: tuple[Part, ...] = ()  # in main memory, of the process that has the device

    @property
    def size(self) -> float:
        """Bytes at the moment that needs most."""
        return total(self.parts)

    @property
    def fits(self) -> bool:
        """At every moment."""
        return self.size <= self.room

    @property
    def samples(self) -> bool:
        """While it samples, whatever learning needs."""
        return total([p for p in self.parts if p.when != "learning"]) <= self.room


def total(parts: Sequence[Part]) -> float:
    """What is always there, and the larger of what learning and sampling add."""
    sums = {when: sum(p.size for p in parts if p.when == when) for when in ("always", "learning", "sampling")}
    return sums["always"] + max(sums["learning"], sums["sampling"])


def cache_numbers(d: Dimensions, compressed: bool = False) -> int:
    """Numbers of keys and values that one token leaves in all layers. The native engine stores what attention is given;
    `compressed` is what multi-head latent attention could store."""
    if compressed and d.latent is not None:
        return d.layers * (d.latent.rank + d.latent.rotary)
    return d.layers * d.key_heads * (d.head + d.value_head)


def rows_of(
    d: Dimensions, b: int, *, rows: float, samples: int, slots: int, prompt: float, longest: float, path: PathName,
    paged: bool = False, response: float | None = None,
) -> Rows:  # fmt: skip
    """Of one call of an engine. The native one reserves each slot for the longest response; a paged one takes what the
    mean `response` takes."""
    numbers = cache_numbers(d, paged) * b
    shared = samples > 1 and prompt >= SHARED_FROM
    own = (0 if shared else prompt) + (response if paged and response is not None else longest)
    places, prefix = (_up(x) for x in (own, prompt if shared else 0))
    # logits in the type and in float32, probabilities, and sums in float64; without a kernel also scores
    step = d.vocabulary * (b + (4 if path == "kernels" else 16))
    step += 0 if path == "kernels" or paged else b * (2 * d.heads + 1) * (places + prefix)
    return Rows(
        rows, slots, samples, numbers * places, numbers * prefix, step,
        f"rows of {places:,} tokens, {numbers // b:,} numbers of {b} bytes each",
    )  # fmt: skip


def fitting(needs: Needs, count: int, device: Device) -> Fit:
    """On `count` devices, with engines on as few of them as they fit on, or would if learning took less."""
    room = device.memory * USABLE
    sizes = [size for power in range(count.bit_length()) if count % (size := 1 << power) == 0]
    found = [_on(needs, count, size, room) for size in dict.fromkeys([*sizes, count])]
    return next((f for f in found if f.fits), next((f for f in found if f.samples), found[-1]))


def least(needs: Needs, device: Device) -> int | None:
    """The fewest devices that hold it: 1 to 8, then multiples of 8. None where no number does."""
    numbers = [n for n in (*range(1, 8), *range(8, MOST_DEVICES + 1, 8)) if n % needs.tensor == 0]
    if not numbers or not fitting(needs, numbers[-1], device).fits:
        return None
    return next((n for n in numbers if fitting(needs, n, device).fits), None)


def most_slots(needs: Needs, count: int, device: Device) -> int:
    """The most slots with which it fits on `count` devices; 0 where even one is too many."""
    fits, too_many = 0, needs.rows.slots + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        tried = replace(needs, rows=replace(needs.rows, slots=middle))
        fits, too_many = (middle, too_many) if fitting(tried, count, device).fits else (fits, middle)
    return fits


def _on(needs: Needs, count: int, engine: int, room: float) -> Fit:
    r = needs.rows
    here = -int(-r.count * engine // count)  # rows of one engine
    rows = rounded(min(r.slots, here))
    prompts = min(rows, -(-here // r.samples))
    held = Several(tuple(_divided(p, count) for p in needs.states), needs.each, needs.host)
    if count > 1 and needs.several is not None:
        held = needs.several(count)
    parts = [*held.states, *(_divided(p, engine) for p in needs.engine)]
    if rows:
        cache = Part("KV cache", rows * r.cache + prompts * r.prefix, f"{rows:,} {r.formula}")
        step = Part("sampling, a step", rows * r.step, f"{rows:,} rows, logits of V and scores of each", "sampling")
        parts += [_divided(cache, engine), _divided(step, engine)]
    return Fit(count, engine, (*parts, *held.each), room, held.host)


def _divided(part: Part, count: int) -> Part:
    return replace(part, size=part.size / count, formula=f"({part.formula}) / {count}") if count > 1 else part


def _up(tokens: float) -> int:
    return -int(-tokens // ROUND) * ROUND
