"""The learner: samples and a pure loss function in, updated weights out. It does not know which algorithm it serves.

    learner.forward_backward(samples, loss, denominator)   # any number of times
    learner.optim_step()

Master weights and AdamW's moments are in float32. With a narrower `dtype` the forward and backward passes run on a copy
in that type, which is also what `weights()` hands to an engine: both then compute the same mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aha.models.decoder import Forward, Frozen, forward_of
from aha.models.loading import cast_
from aha.models.logits import head_entropies, head_logprobs
from aha.models.packing import rounded
from aha.protocols import LossFunction
from aha.training.batch import MicroBatch, collate, plan
from aha.training.lora import has_lora, merged
from aha.types import Sample, Sampling

LOGITS_CHUNK = 8_000_000  # elements of one chunk of float32 logits

# model, hidden states [N, H], targets [N], sampling, tokens at a time -> a number of each trained token [N]
Read = Callable[[Any, Tensor, Tensor, Sampling, int], Tensor]


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW and its schedule: linear warm-up, then constant, or cosine down to `final_share` over `total_steps`."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    warmup_steps: int = 0
    schedule: str = "constant"
    total_steps: int = 1
    final_share: float = 0.1

    def lr_at(self, step: int) -> float:
        """Learning rate of update number `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.lr
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.lr * (self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * done)))


class TorchLearner:
    """A policy, its frozen reference and AdamW on one device."""

    def __init__(
        self,
        model: nn.Module,
        optimiser: Optimiser,
        *,
        dtype: torch.dtype = torch.float32,
        micro_batch_tokens: int = 4096,
        sampling: Sampling | None = None,
        reference: nn.Module | None = None,
        share_prompts: bool = True,
        read: Read = head_logprobs,
    ) -> None:
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._same = dtype in (torch.float32, torch.float64)
        self._master: list[Tensor] = self._parameters if self._same else [_master_of(p) for p in self._parameters]
        if not self._same:
            for p, master in zip(self._parameters, self._master, strict=True):
                p.register_post_accumulate_grad_hook(_moving(master))
        self.model = cast_(model, dtype).eval()  # no dropout, no router noise: the distribution that was sampled
        self.reference = cast_(reference, dtype).eval().requires_grad_(False) if reference is not None else None
        self._forward = forward_of(self.model)
        self._reference_forward = Frozen(self.reference) if self.reference is not None else None
        self._adapted = has_lora(self.model)
        self.optimiser = optimiser
        self.micro_batch_tokens = micro_batch_tokens
        self.share_prompts, self._read = share_prompts, read
        self.sampling = sampling or Sampling(max_tokens=1)
        self.updates = 0
        self.device = self._parameters[0].device
        fused = self.device.type in ("cpu", "cuda")
        self._adamw = torch.optim.AdamW(
            self._master, lr=optimiser.lr, betas=optimiser.betas, weight_decay=optimiser.weight_decay, fused=fused
        )

    def logprobs(self, samples: Sequence[Sample], which: str = "policy") -> list[tuple[float, ...]]:
        """Log-probs of the trained tokens of every sample, in place; 0 on the others."""
        model: nn.Module = self.model
        forward: Forward = self._forward
        if which == "reference":
            assert self.reference is not None and self._reference_forward is not None, "no reference model was given"
            model, forward = self.reference, self._reference_forward
        result: list[tuple[float, ...]] = [()] * len(samples)

        for indices in self._plan(samples):
            with torch.no_grad():
                batch = self._collate(samples, indices)
                found = iter(self._numbers(model, self._hidden(forward, batch), batch).tolist())
            for i in indices:
                result[i] = tuple(next(found) if on else 0.0 for on in samples[i].loss_mask)
        return result

    def with_reference(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with their log-probs under the reference."""
        rows = self.logprobs(samples, "reference")
        return [replace(s, reference_logprobs=row) for s, row in zip(samples, rows, strict=True)]

    def forward_backward(
        self, samples: Sequence[Sample], loss: LossFunction, denominator: float, *, entropies: bool = False
    ) -> dict[str, float]:
        """Add the gradient of sum(`loss`) / `denominator`; returns the sums that `loss` reports, over all tokens. With
        `entropies` the loss finds those of the sampled distributions in its batch."""
        assert denominator > 0, "the denominator is computed once over the global batch"
        sums: dict[str, float] = {}
        for indices in self._plan(samples):
            batch = self._collate(samples, indices)
            hidden = self._hidden(self._forward, batch)
            if entropies:
                batch = replace(batch, entropies=head_entropies(self.model, hidden, self.sampling, self._chunk))
            total, reported = loss(self._numbers(self.model, hidden, batch), batch)
            (total / denominator).backward()  # each gradient is added where it is found
            for name, value in {"loss": total.detach(), **reported}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def optim_step(self) -> dict[str, float]:
        """Clip the global norm, update, clear. A gradient that is not finite is refused: nothing changes."""
        norm = torch.nn.utils.clip_grad_norm_(self._master, self.optimiser.max_grad_norm)
        lr = self.optimiser.lr_at(self.updates)
        finite = bool(torch.isfinite(norm))
        if finite:
            for group in self._adamw.param_groups:
                group["lr"] = lr
            self._adamw.step()
            if not self._same:
                torch._foreach_copy_([p.data for p in self._parameters], self._master)
        for p in self._master:
            p.grad = None
        self.updates += 1
        return {"grad_norm": float(norm), "lr": lr, "update_refused": float(not finite)}

    def refresh_reference(self) -> None:
        """Reference := policy (the paper does so every 400 steps)."""
        assert self.reference is not None, "no reference model was given"
        self.reference.load_state_dict(self.weights())

    def weights(self) -> dict[str, Tensor]:
        """The policy's weights in the compute dtype, by name."""
        return self._plain({name: p.detach() for name, p in self.model.state_dict().items()})

    def master_weights(self, frozen: nn.Module | None = None) -> dict[str, Tensor]:
        """The policy's trained weights in float32, by name; what is saved. Of a policy with adapters they are all
        weights, those of `frozen` with the adapters added: the learner's own copy of them may be narrower."""
        named = dict(self.model.named_parameters())
        trained = [name for name, p in named.items() if p.requires_grad]
        masters = {name: p.detach() for name, p in zip(trained, self._master, strict=True)}
        if not self._adapted:
            return masters
        return merged(self.model, {**named, **masters}, dict(frozen.named_parameters()) if frozen is not None else {})

    def _plain(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return merged(self.model, tensors) if self._adapted else tensors

    def state(self) -> dict[str, Any]:
        """Master weights, AdamW's state, the reference and the update count."""
        return {
            "master": [p.detach() for p in self._master],
            "adamw": self._adamw.state_dict(),
            "reference": self.reference.state_dict() if self.reference is not None else None,
            "updates": self.updates,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        with torch.no_grad():
            torch._foreach_copy_([p.data for p in self._master], list(state["master"]))
            torch._foreach_copy_([p.data for p in self._parameters], [p.data for p in self._master])
        self._adamw.load_state_dict(state["adamw"])
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])
        self.updates = state["updates"]

    def _plan(self, samples: Sequence[Sample]) -> list[list[int]]:
        return plan(samples, self.micro_batch_tokens, share=self.share_prompts)

    def _collate(self, samples: Sequence[Sample], indices: Sequence[int]) -> MicroBatch:
        return collate([samples[i] for i in indices], self.device, share=self.share_prompts)

    def _hidden(self, forward: Forward, batch: MicroBatch) -> Tensor:
        """[N, H] where the trained tokens are predicted."""
        return forward(batch.ids, batch.layout.positions, batch.layout).index_select(0, batch.predicted_at)

    def _numbers(self, model: nn.Module, hidden: Tensor, batch: MicroBatch) -> Tensor:
        """[N] log-probs of the trained tokens, or what else is read; logits exist for one chunk of them at a time."""
        count = len(batch.targets)
        more = rounded(count) - count  # the head's products too are of few shapes
        padded, targets = F.pad(hidden, (0, 0, 0, more)), F.pad(batch.targets, (0, more))
        return self._read(model, padded, targets, self.sampling, self._chunk)[:count]

    @property
    def _chunk(self) -> int:
        """Tokens whose logits exist at a time."""
        return max(1, LOGITS_CHUNK // self.model.get_output_embeddings().weight.shape[0])  # type: ignore[operator]


def _add(master: Tensor, gradient: Tensor) -> None:
    """Add `gradient` to the master's, in the master's type."""
    gradient = gradient.to(master.dtype)
    master.grad = gradient if master.grad is None else master.grad.add_(gradient)


def _moving(master: Tensor) -> Callable[[Tensor], None]:
    """A hook that hands a parameter's gradient to its master as soon as it is there."""

    def move(p: Tensor) -> None:
        assert p.grad is not None
        gradient, p.grad = p.grad, None
        _add(master, gradient)

    return move


def _master_of(p: Tensor) -> Tensor:
    return p.detach().float().clone().requires_grad_()
