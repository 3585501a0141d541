"""Sampling by `transformers`: `generate`, or `generate_batch` (continuous batching) with `continuous` in the job.

Jobs as those of `ours_rollout`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from peers.continuous import sizes
from peers.job import Figures, Job, completion_lengths, sampling_figures, serve


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point."""
    torch.set_num_threads(job["threads"])
    device = job.get("device", "cpu")
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])).to(device).eval()
    draw = continuous if job["continuous"] else padded
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    for point in job["points"]:
        sample = functools.partial(draw, model, point["prompts"], point["n"])
        yield {"name": point["name"], **sampling_figures(job, sample, point["max_tokens"], wait)}


def choice(model: Any, n: int, max_tokens: int) -> GenerationConfig:
    """Temperature 1 and the whole distribution."""
    config = model.config
    return GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=max_tokens, num_return_sequences=n,
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id,
    )  # fmt: skip


@torch.no_grad()
def padded(model: Any, prompts: Sequence[Sequence[int]], n: int, max_tokens: int, seed: int) -> list[int]:
    """Lengths of the completions by `generate`, prompts padded on the left."""
    torch.manual_seed(seed)
    width = max(map(len, prompts))
    pad = model.config.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    out = model.generate(input_ids=ids, attention_mask=mask, generation_config=choice(model, n, max_tokens))
    return completion_lengths(out[:, width:].tolist(), {model.config.eos_token_id})


@torch.no_grad()
def continuous(model: Any, prompts: Sequence[Sequence[int]], n: int, max_tokens: int, seed: int) -> list[int]:
    """Lengths of the completions by `generate_batch`, which prefills a prompt of `n` samples once."""
    sized = sizes(model.device.type, len(prompts) * n, max(map(len, prompts)) + max_tokens)
    out = model.generate_batch(
        [list(p) for p in prompts],
        generation_config=choice(model, n, max_tokens),
        continuous_batching_config=ContinuousBatchingConfig(seed=seed, **sized),
    )
    assert len(out) == len(prompts) * n, f"{len(out)} of {len(prompts) * n} completions came back"
    return completion_lengths([o.generated_tokens for o in out.values()], {model.config.eos_token_id})


if __name__ == "__main__":
    serve(measure)
