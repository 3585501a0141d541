"""Two ranks that each learn half of a batch have, summed, the gradient of one rank that learns all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_algorithms import MAX_TOKENS, gradients, learner_of, prepared

from aha.algorithms.aggregation import aggregate
from aha.algorithms.table import algorithm
from aha.types import Sample

WORLD = 2


def rank(number: int, model: str, name: str, rows: Sequence[Sample], folder: str) -> None:
    """Its share of the rows, which were weighted as one batch; the first rank writes the sum."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=WORLD)
    row = algorithm(name)
    weighted, denominator = aggregate(rows, row.setting.aggregation, len(rows), MAX_TOKENS)
    learner = learner_of(model)
    learner.forward_backward(weighted[number::WORLD], row.loss(row.setting), denominator)
    found = {}
    for parameter_name, p in learner.model.named_parameters():
        found[parameter_name] = torch.zeros_like(p) if p.grad is None else p.grad.to_dense()
        dist.all_reduce(found[parameter_name])
    if number == 0:
        torch.save(found, f"{folder}/summed.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "gspo"])  # one of each way to average
def test_two_ranks_are_one(tiny, tmp_path: Path, name: str) -> None:
    folder = tiny("qwen3")
    rows = prepared(folder, drift=0.1)
    setting = algorithm(name).setting
    neutral = {key: getattr(setting, key) for key in ("kl_beta", "kl", "kl_in", "entropy_beta")}
    whole = gradients(learner_of(folder), rows, name, **neutral)
    mp.spawn(rank, (str(folder), name, rows, str(tmp_path)), nprocs=WORLD)
    summed = torch.load(tmp_path / "summed.pt")
    assert max(g.abs().max() for g in whole.values()) > 1e-3
    for parameter_name, g in whole.items():
        torch.testing.assert_close(summed[parameter_name], g, atol=1e-10, rtol=1e-10)
