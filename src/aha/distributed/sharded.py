"""A learner divided among processes: weights, gradients, masters and moments by FSDP2, samples by their tokens.

    spread = Sharded(world, "cuda:1", tensor=2)
    learner = TorchLearner(model, optimiser, spread=spread)     # on every process, with the same model

Each decoder layer is a unit whose weights are gathered when it runs and whose gradients are added up over all processes
as soon as they are there; embedding, last norm and head are one more. FSDP2 does so in the hooks of modules, so layers
are called as such: by `models/decoder.py` where it covers a model, else by the model's own code.

Source: Zhao et al., PyTorch FSDP, arXiv 2304.11277; FSDP2 is `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from aha.distributed.tensor import divide_
from aha.distributed.world import World
from aha.models.decoder import Forward, forward_of
from aha.models.layers import decoder_layers, recompute_
from aha.models.loading import cast_
from aha.models.logits import hidden_states
from aha.training.batch import prompt_length
from aha.training.spread import Placed, Row
from aha.types import Sample


class Sharded:
    """How one learner lies on all processes of `world`."""

    divided = True

    def __init__(self, world: World, device: str, tensor: int = 1) -> None:
        assert world.size % tensor == 0, "checked before anything runs"
        self._world, self._device, self._tensor = world, torch.device(device), tensor
        self._mesh = init_device_mesh(
            self._device.type, (world.size // tensor, tensor), mesh_dim_names=("data", "tensor")
        )
        self._partial: set[int] = set()  # parameters of whose gradients each process of a matrix has a part only

    @property
    def size(self) -> int:
        return self._world.size // self._tensor

    def trained(self, model: nn.Module, dtype: torch.dtype, *, recompute: bool, offload: bool) -> Placed:
        """Masters are in float32 at least; passes gather them in `dtype`, and gradients are added in float32."""
        exact = dtype in (torch.float32, torch.float64)
        cast_(model, dtype if exact else torch.float32)
        policy = MixedPrecisionPolicy() if exact else MixedPrecisionPolicy(dtype, torch.float32)
        return self._placed(model, policy, recompute=recompute, offload=offload)

    def frozen(self, model: nn.Module, dtype: torch.dtype) -> Placed:
        return self._placed(cast_(model, dtype).requires_grad_(False), MixedPrecisionPolicy())

    def _placed(
        self, model: nn.Module, policy: MixedPrecisionPolicy, *, recompute: bool = False, offload: bool = False
    ) -> Placed:
        forward, partial = self._forward(model.eval(), recompute)
        offloaded = CPUOffloadPolicy(pin_memory=self._device.type == "cuda") if offload else OffloadPolicy()
        for layer in decoder_layers(model):
            fully_shard(layer, mesh=self._mesh["data"], mp_policy=policy, offload_policy=offloaded)
        whole: Any = fully_shard(_Whole(model), mesh=self._mesh["data"], mp_policy=policy, offload_policy=offloaded)
        self._partial |= {id(p) for name, p in model.named_parameters() if name in partial}

        def run(compute: Callable[[], Any]) -> Any:
            found = whole(compute)
            if not torch.is_grad_enabled():
                whole.reshard()  # what the backward pass does elsewhere: else stale weights stay
            return found

        return Placed(model, forward, self._device, run)

    def _forward(self, model: nn.Module, recompute: bool) -> tuple[Forward, list[str]]:
        """The forward pass through modules, and the names of the parameters whose gradients are partial."""
        if self._tensor == 1:
            return forward_of(model, recompute=recompute, hooked=True), []
        partial = divide_(model, self._mesh["tensor"])
        if recompute:
            recompute_(model)
        return functools.partial(hidden_states, model), partial

    def share(self, samples: Sequence[Sample]) -> list[int]:
        """Consecutive samples of as equal numbers of tokens as can be, those of one prompt side by side."""
        return shares(samples, self.size)[self._world.rank // self._tensor]

    def most(self, count: int) -> int:
        return max(self._world.told(count))

    def added(self, sums: Mapping[str, float]) -> dict[str, float]:
        total: dict[str, float] = {}
        for own in self._world.told(dict(sums))[:: self._tensor]:
            for name, value in own.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def joined(self, samples: Sequence[Sample], rows: Sequence[Row]) -> list[Row]:
        """Only the numbers of trained tokens travel; where they belong is known everywhere."""
        share = [samples[i] for i in self.share(samples)]
        numbers = [x for sample, row in zip(share, rows, strict=True) for x in _trained(row, sample)]
        found: list[Row] = [()] * len(samples)
        gathered = self._world.gather(struct.pack(f"{len(numbers)}d", *numbers))[:: self._tensor]
        for indices, data in zip(shares(samples, self.size), gathered, strict=True):
            left = iter(struct.unpack(f"{len(data) // 8}d", data))
            for i in indices:
                found[i] = tuple(next(left) if on else 0.0 for on in samples[i].loss_mask)
        return found

    def clip(self, masters: Sequence[Tensor], largest: float) -> Tensor:
        """The norm is that of the whole gradient, so what is not finite is refused on all processes together."""
        found = [(p, p.grad.to_local()) for p in masters if isinstance(p.grad, DTensor)]
        for p, gradient in found:
            if id(p) in self._partial:
                dist.all_reduce(gradient, group=self._mesh["tensor"].get_group())
        squares = [torch.linalg.vector_norm(g, dtype=torch.float64).square() / self._copies(p) for p, g in found]
        norm = math.sqrt(sum(self._world.told(float(torch.stack(squares).sum()))))
        torch._foreach_mul_([gradient for _, gradient in found], min(1.0, largest / (norm + 1e-6)))
        return torch.tensor(norm, dtype=torch.float64)

    def _copies(self, p: Any) -> int:
        """Processes that have the same part of a parameter."""
        sizes = [size for size, lies in zip(p.device_mesh.shape, p.placements, strict=True) if not lies.is_replicate()]
        return self._world.size // math.prod(sizes)

    def as_lies(self, like: Tensor, value: Tensor) -> Tensor:
        if not isinstance(like, DTensor) or isinstance(value, DTensor):
            return value
        mesh, part = like.device_mesh, value
        for axis in reversed(range(mesh.ndim)):  # matrices are divided first, then each part among the data's
            lies: Any = like.placements[axis]
            if not lies.is_replicate():
                part = _chunk(part, mesh.size(axis), mesh.get_local_rank(axis), lies.dim)
        own = part.to(like.device).contiguous()
        return DTensor.from_local(own, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())

    def rounded(self, weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        return {name: x.to(dtype) if isinstance(x, DTensor) else x for name, x in weights.items()}

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gathered one by one, kept in the first process's main memory alone."""
        found = {}
        for name, tensor in tensors.items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self._world.first:
                found[name] = full.cpu()
        return found


class _Whole(nn.Module):
    """The unit that holds all others: it runs what is computed with a model, whose output head is a part of that."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()


def _chunk(tensor: Tensor, count: int, number: int, axis: int) -> Tensor:
    """One of `count` parts along an axis, as large as the others but for the last ones, which may be empty.

    >>> [_chunk(torch.arange(5), 4, i, 0).tolist() for i in range(4)]
    [[0, 1], [2, 3], [4], []]
    """
    size = -(-tensor.shape[axis] // count)
    first = min(number * size, tensor.shape[axis])
    return tensor.narrow(axis, first, min(size, tensor.shape[axis] - first))


def shares(samples: Sequence[Sample], count: int) -> list[list[int]]:
    """The places of samples in `count` parts of as equal numbers of tokens as whole samples allow; some may be empty.

    >>> rows = [Sample((prompt,) * 4 + (0,) * length, (0,) * 4 + (1,) * length)
    ...         for prompt, length in ((1, 9), (2, 1), (1, 2), (2, 1))]
    >>> shares(rows, 2), shares(rows[:1], 3)
    ([[0], [2, 1, 3]], [[], [0], []])
    """
    prompts: dict[tuple[int, ...], int] = {}
    first = [prompts.setdefault(sample.ids[: prompt_length(sample)], i) for i, sample in enumerate(samples)]
    order = sorted(range(len(samples)), key=lambda i: (first[i], i))
    total = sum(len(s.ids) for s in samples)
    parts: list[list[int]] = [[] for _ in range(count)]
    before = 0
    for i in order:
        middle = 2 * before + len(samples[i].ids)  # twice the tokens up to the middle of this sample
        parts[min(count - 1, middle * count // (2 * total))].append(i)
        before += len(samples[i].ids)
    return parts


def _trained(row: Row, sample: Sample) -> list[float]:
    return [x for x, on in zip(row, sample.loss_mask, strict=True) if on]
