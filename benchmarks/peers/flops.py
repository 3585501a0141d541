"""Floating-point operations: what learning needs, and what the machine's matrix products reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

SQUARES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
SECONDS = 0.3  # of trying one size


def training_flops(model: Any, lengths: Sequence[Sequence[int]]) -> float:
    """Operations of a forward and a backward pass over rows of (prompt, completion) lengths, nothing computed twice.

    6 for each weight of a matrix that a token meets (2 forward, 4 backward), 6 T^2 for each head's width and layer
    (causal attention looks at half of the T^2 pairs, twice), and the head on the completion's tokens alone.
    """
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    embedding = model.get_input_embeddings().weight
    body = sum(p.numel() for p in model.base_model.parameters() if p.ndim == 2 and p is not embedding)
    tokens = sum(p + c for p, c in lengths)
    pairs = sum((p + c) ** 2 for p, c in lengths)
    attention = config.num_hidden_layers * config.num_attention_heads * width * pairs
    head = model.get_output_embeddings().weight.numel() * sum(c for _, c in lengths)
    return 6.0 * (body * tokens + attention + head)


def matmul_flops(dtype: torch.dtype, device: str, wait: Callable[[], None] = lambda: None) -> float:
    """Operations a second of this process's fastest square matrix product, with the threads that are set."""
    best = 0.0
    for size in SQUARES[device.partition(":")[0]]:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = a @ b
        wait()
        began = last = time.perf_counter()
        while last - began < SECONDS:
            torch.mm(a, b, out=out)
            wait()
            now = time.perf_counter()
            best, last = max(best, 2 * size**3 / (now - last)), now
    return best


def bandwidth(device: str, wait: Callable[[], None] = lambda: None, size: int = 1 << 30) -> float:
    """Bytes a second that the device's memory moves while it copies `size` bytes: read once, written once."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    wait()
    best, began = 0.0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        before = time.perf_counter()
        target.copy_(source)
        wait()
        best = max(best, 2 * size / (time.perf_counter() - before))
    return best


def decode_bytes(model: Any, rows: int, positions: float, bytes_a_number: int) -> float:
    """Bytes that one decoding step of `rows` rows has to read: every weight once (of the embedding only a row each,
    unless it is the head as well) and the keys and values of `positions` positions a row."""
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weights = sum(p.numel() for p in model.parameters())
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if embedding is not head:
        weights -= embedding.numel()
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * width * positions * rows
    return bytes_a_number * (weights + cache)
