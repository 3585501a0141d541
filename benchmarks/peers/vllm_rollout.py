"""Sampling by vLLM, with its own environment's Python. Jobs as those of `ours_rollout`.

Its threads are not bound to cores, so that their number is what the job says; the cache is large enough for all rows.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from peers.job import Figures, Job, sampling_figures, serve

CACHE_GB = 6


def measure(job: Job) -> Iterator[Figures]:
    """Figures of each point."""
    os.environ |= {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GB),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
    }
    vllm: Any = importlib.import_module("vllm")
    points = job["points"]
    longest = max(len(p) + point["max_tokens"] for point in points for p in point["prompts"])
    engine = vllm.LLM(
        model=job["model"], dtype=job["dtype"], max_model_len=64 * math.ceil(longest / 64),
        max_num_seqs=max(point["n"] * len(point["prompts"]) for point in points), seed=0, disable_log_stats=True,
    )  # fmt: skip
    draw = functools.partial(vllm.SamplingParams, temperature=1.0, detokenize=False)
    for point in points:
        sample = functools.partial(lengths, engine, draw, point["prompts"], point["n"])
        yield {"name": point["name"], **sampling_figures(job, sample, point["max_tokens"])}


def lengths(engine: Any, draw: Any, prompts: Sequence[Sequence[int]], n: int, max_tokens: int, seed: int) -> list[int]:
    """Lengths of `n` completions of each prompt. The seed is left to the engine: one a request makes it slower."""
    engine.reset_prefix_cache()  # else the second run would not prefill
    asked = [{"prompt_token_ids": ids} for ids in prompts]
    groups = engine.generate(asked, draw(n=n, max_tokens=max_tokens), use_tqdm=False)
    return [len(output.token_ids) for group in groups for output in group.outputs]


if __name__ == "__main__":
    serve(measure)
