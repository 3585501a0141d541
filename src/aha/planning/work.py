"""Operations, bytes and seconds of a stage's phases: drawing samples, and passes over rows that are there.

    cost(Draw("rollouts", d, calls=40, prompts=32, samples=16, prompt=20, response=85, longest=320, slots=512), machine)

Symbols: N weights that a token is multiplied by (experts that it does not take left out), V h the output head's, T
tokens, M those that are predicted, pairs of a token and one that it looks at. A multiplication and an addition are two
operations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aha.planning.activations import PathName
from aha.planning.dimensions import (
    Dimensions,
    adapter_parameters,
    expert_weights,
    head_weights,
    multiplied,
)
from aha.planning.hardware import Device
from aha.planning.memory import cache_numbers

# Operations that are started one by one in a step of decoding (tests/planning/test_work.py counts them): beside the
# layers, and in each layer by the path of its model; a CPU's kernel does all layers in one. A forward pass over a
# micro-batch takes about as many, a backward pass twice as many.
STEP_CALLS = 40
LAYER_CALLS = {"kernels": 0, "torch": 40, "transformers": 100}
CALL_S = 5e-6  # of one of them
HOST_BYTES_S = 25e9  # of one process, assumed: its share of main memory's bandwidth and of the way there
MFU, BANDWIDTH_SHARE = 0.4, 0.6  # of a device's rates, assumed to be reached

FORWARD = "2 N T + 2 V h M + pairs"
DECODE = "2 (N + V h) T + pairs; bytes: steps x weights + pairs x keys and values; calls: steps x layers"


@dataclass(frozen=True, slots=True)
class Machine:
    """`count` devices, and the shares of their rates that are assumed to be reached; an engine takes `engine` of
    them."""

    device: Device
    count: int = 1
    engine: int = 1
    dtype: str = "bfloat16"
    mfu: float = MFU  # of FLOP/s, in products that the model needs
    bandwidth_share: float = BANDWIDTH_SHARE  # of bytes/s, when decoding
    paged: bool = False
    recompute: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return 2 if self.dtype == "bfloat16" else 4

    @property
    def rate(self) -> float:
        """FLOP/s of all devices together, as assumed."""
        return self.count * self.device.flops(self.dtype) * self.mfu

    @property
    def bandwidth(self) -> float:
        """Bytes/s of all devices together, as assumed."""
        return self.count * self.device.bandwidth * self.bandwidth_share


@dataclass(frozen=True, slots=True)
class Draw:
    """Samples drawn in `calls` of an engine, each of so many prompts; `response` is their mean length, and in each call
    one runs to `longest`."""

    name: str
    d: Dimensions
    calls: int
    prompts: float
    samples: int
    prompt: float
    response: float
    longest: float
    slots: int
    path: PathName = "torch"

    @property
    def rows(self) -> float:
        """Of one call."""
        return self.prompts * self.samples


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass over `rows` responses, whose prompts are read `prompts` times in all."""

    name: str
    d: Dimensions
    rows: float
    prompts: float
    prompt: float
    response: float
    backward: bool = False
    vocabulary: bool = True  # False: the head is one number
    rank: int = 0  # of adapters, in place of all weights
    micro_batch: int = 4096  # tokens
    path: PathName = "torch"
    recompute: bool = False  # layers, in the backward pass
    tensor: int = 1  # processes that divide each matrix, and compute the output head each for itself


@dataclass(frozen=True, slots=True)
class Update:
    """Updates of `trained` parameters that lie in main memory: gradients come there and weights go back, and masters,
    moments and gradients are read and written by the CPU."""

    name: str
    trained: float
    updates: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a phase takes: the longest of its operations, of the bytes that it reads and of the calls that it makes."""

    tokens: float
    flops: float
    seconds: float
    formula: str
    bound: str = "FLOPs"  # what its time follows from: FLOPs, bytes, or calls of operations

    def plus(self, other: Cost) -> Cost:
        """Both together; what bounds the longer one is said of both."""
        bound = max(self, other, key=lambda c: c.seconds).bound
        return Cost(
            self.tokens + other.tokens, self.flops + other.flops, self.seconds + other.seconds, self.formula, bound
        )  # fmt: skip


def forward_flops(d: Dimensions, tokens: float, pairs: float, predicted: float) -> float:
    """One pass over `tokens`, which look at `pairs`, of which `predicted` go through the output head."""
    return 2 * multiplied(d) * tokens + pair_flops(d) * pairs + 2 * head_weights(d) * predicted


def pair_flops(d: Dimensions, compressed: bool = False) -> float:
    """Of one token that looks at one, in all layers. `compressed`: at narrow keys and values as they are stored, whose
    projections are folded into the query's and the output's."""
    width = d.head + d.value_head
    if compressed and d.latent is not None:
        width = 2 * d.latent.rank + d.latent.rotary
    return 2.0 * d.layers * d.heads * width


def pairs_of(prompt: float, response: float) -> float:
    """Of a response: each token looks at the prompt, at those before it and at itself."""
    return response * prompt + response * (response + 1) / 2


def cost(phase: Draw | Pass | Update, machine: Machine) -> list[tuple[str, Cost]]:
    """The parts of a phase with what each takes."""
    if isinstance(phase, Update):
        return [(phase.name, _update(phase, machine))]
    if isinstance(phase, Pass):
        return [(phase.name, _pass(phase, machine))]
    return [(f"{phase.name}, prompts", _prefill(phase, machine)), (phase.name, _decode(phase, machine))]


def _pass(p: Pass, machine: Machine) -> Cost:
    drawn = p.rows * p.response
    tokens = drawn + p.prompts * p.prompt
    pairs = p.rows * pairs_of(p.prompt, p.response) + p.prompts * pairs_of(0, p.prompt)
    once = forward_flops(p.d, tokens, pairs, drawn if p.vocabulary else 0)
    flops, formula = once, FORWARD
    if p.backward and p.rank:
        flops += once + 6 * adapter_parameters(p.d, p.rank) * tokens
        formula = "4 N T + 6 adapters T + 4 V h M + 2 pairs"
    elif p.backward:
        flops, formula = 3 * once, "6 N T + 6 V h M + 3 pairs"
    again = p.backward and (machine.recompute or p.recompute)
    if again:
        flops, formula = flops + forward_flops(p.d, tokens, pairs, 0), f"{formula}, and 2 N T + pairs again"
    if p.tensor > 1 and p.vocabulary:
        heads = 2 * head_weights(p.d) * drawn * (1 if not p.backward else 2 if p.rank else 3)
        flops, formula = flops + (p.tensor - 1) * heads, f"{formula}, V h M by each of {p.tensor}"
    batches = tokens / max(p.micro_batch, p.prompt + p.response) / (machine.count / p.tensor)
    passes = (3 if p.backward else 1) + again
    calls = batches * passes * (STEP_CALLS + p.d.layers * LAYER_CALLS[p.path]) * CALL_S
    if calls > flops / machine.rate:
        return Cost(drawn, flops, calls, formula, "calls")
    return Cost(drawn, flops, flops / machine.rate, formula)


def _update(p: Update, machine: Machine) -> Cost:
    """Of masters and two moments, each read and written, and a gradient, in float32; of a gradient and a weight on the
    way, where main memory is not the device's."""
    device = machine.device
    moved = (4 + machine.itemsize if device.gpu else 0) + 28
    rate = HOST_BYTES_S * machine.count if device.gpu else machine.bandwidth
    return Cost(0, 0, p.updates * p.trained * moved / rate, f"{moved} P an update, bytes", "bytes")


def _prefill(p: Draw, machine: Machine) -> Cost:
    prompts = p.calls * p.prompts
    flops = forward_flops(p.d, prompts * p.prompt, prompts * pairs_of(0, p.prompt), prompts)
    return Cost(prompts * p.prompt, flops, flops / machine.rate, FORWARD)


def _decode(p: Draw, machine: Machine) -> Cost:
    rows = p.calls * p.rows
    tokens, pairs = rows * p.response, rows * pairs_of(p.prompt, p.response)
    flops = forward_flops(p.d, tokens, 0, tokens) + pair_flops(p.d, machine.paged) * pairs
    engines = max(1, machine.count // machine.engine)
    steps = p.calls * steps_of(replace(p, prompts=p.prompts / engines))
    weights = step_weights(p.d, tokens / engines / steps)
    read = engines * steps * weights + pairs * cache_numbers(p.d, machine.paged)
    ways = {
        "FLOPs": flops / machine.rate,
        "bytes": machine.itemsize * read / machine.bandwidth,
        "calls": steps * CALL_S * (STEP_CALLS + p.d.layers * LAYER_CALLS[p.path]),
    }
    bound = max(ways, key=lambda name: ways[name])
    return Cost(tokens, flops, ways[bound], DECODE, bound)


def steps_of(p: Draw) -> float:
    """Steps of decoding in one call: until all rows have gone through the slots, and as long as the longest runs."""
    if p.response >= p.longest:
        return p.longest * max(1, -(-p.rows // p.slots))
    return max(p.longest, p.rows * p.response / p.slots)


def step_weights(d: Dimensions, rows: float) -> float:
    """Weights that a step of so many rows has to read: of experts those that one of the rows takes, by chance."""
    if d.experts is None:
        return multiplied(d) + head_weights(d)
    taken = d.experts.count * (1 - (1 - d.experts.active / d.experts.count) ** rows)
    return multiplied(d) + head_weights(d) + expert_weights(d, taken - d.experts.active)
