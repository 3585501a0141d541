"""What PyTorch allocates, and models to measure it on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn
from torch.profiler import ProfilerActivity, profile

from aha.models.attention import NAME
from aha.training.learner import Optimiser, TorchLearner
from aha.training.supervised import next_token_loss
from aha.types import Sample

WORDS = 200  # ids that samples are drawn from


def allocated(call: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that the allocator holds at most during a call and after it, above what it held before. What other threads
    free is not seen: the second number is not 0 then, and the first may be too large."""
    gc.collect()  # what calls before have left in cycles would be freed in this one
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        call()
        gc.collect()
    assert watched.profiler is not None
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most, live


def peak(call: Callable[[], Any]) -> int:
    """Bytes that the allocator holds at most during a call, above what it held before."""
    most, live = allocated(call)
    assert live == 0, "what a step has allocated is gone after it, where gradients were there before"
    return most


def qwen3(**sizes: int | bool) -> nn.Module:
    """A random Qwen3."""
    torch.manual_seed(0)
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(attn_implementation=NAME, **sizes))


def samples(lengths: list[int]) -> list[Sample]:
    """Rows whose first token is a prompt."""
    generator = torch.Generator().manual_seed(0)
    rows = [tuple(torch.randint(0, WORDS, (length,), generator=generator).tolist()) for length in lengths]
    return [Sample(row, (0,) + (1,) * (len(row) - 1)) for row in rows]


def learner_of(model: nn.Module, dtype: torch.dtype, tokens: int, **options: Any) -> TorchLearner:
    """A learner that takes `tokens` in one micro-batch."""
    return TorchLearner(model, Optimiser(lr=1e-3), dtype=dtype, micro_batch_tokens=tokens, **options)


def learn(learner: TorchLearner, rows: list[Sample]) -> None:
    """Forward and backward pass; gradients stay."""
    learner.forward_backward(rows, next_token_loss, float(sum(row.n_targets for row in rows)))
