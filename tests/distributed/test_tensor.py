"""Matrices divided among processes: the same update, and one sentence where it cannot be exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_sharded import ROWS, learned, learner_of, same, whole
from torch.distributed.device_mesh import init_device_mesh

from aha.distributed.sharded import Sharded
from aha.distributed.tensor import divide_
from aha.distributed.world import joined
from aha.errors import UserError
from aha.models.loading import load
from rank_processes import on_ranks
from tiny_models import TinyFactory

# A model's own code computes norms in float32 whatever its type: what comes before is rounded there.
ROUNDED = {"atol": 1e-5, "rtol": 1e-5}


def divided(folder: str, tensor: int) -> tuple[dict[str, Any], dict[str, Any], Any]:
    with joined(60, "cpu") as world:
        found = []
        for recompute in (False, True):
            learner = learner_of(folder, Sharded(world, "cpu", tensor), recompute=recompute)
            found.append(learned(learner, ROWS, 1))
            del found[-1]["gradient"]  # of norms of heads, parts are added when the update is made
        first: Any = dict(learner.model.named_parameters())["model.layers.0.self_attn.q_proj.weight"]
        return found[0], found[1], first.to_local().shape


# norms of heads, biases, windows
@pytest.mark.parametrize("architecture", ["qwen3", "qwen2", pytest.param("gemma2", marks=pytest.mark.slow)])
def test_halves_of_matrices_are_whole(tiny: TinyFactory, architecture: str) -> None:
    folder = str(tiny(architecture))
    expected = learned(learner_of(folder), ROWS, 1)
    del expected["gradient"]
    width = load(folder).model.model.layers[0].self_attn.q_proj.weight.shape[0]  # type: ignore[union-attr,index]
    for found, again, shape in on_ranks(divided, folder, 2):
        same(found, expected, **ROUNDED)
        same(again, expected, **ROUNDED)
        assert shape[0] == width // 2


@pytest.mark.slow
def test_matrices_and_samples_are_divided(tiny: TinyFactory) -> None:
    """Two by two."""
    folder = str(tiny("qwen3"))
    expected = learned(learner_of(folder), ROWS, 1)
    del expected["gradient"]
    for found, again, _ in on_ranks(divided, folder, 2, size=4):
        same(found, expected, **ROUNDED)
        same(again, expected, **ROUNDED)


def refused(folders: list[str]) -> list[str]:
    said = []
    with joined(60, "cpu") as world:
        mesh = init_device_mesh("cpu", (world.size,))
        for folder in folders:
            try:
                divide_(load(folder).model, mesh)
            except UserError as error:
                said.append(str(error))
    return said


def test_what_cannot_be_exact_is_refused(tiny: TinyFactory) -> None:
    folders = [str(tiny("deepseek_v3")), str(tiny("gemma"))]
    experts, heads = on_ranks(refused, folders)[0]
    assert experts.startswith("DeepseekV3ForCausalLM ") and experts.endswith("set sharding.tensor=1")
    assert heads.startswith("sharding.tensor=2 does not divide the 4 query and 1 key heads of GemmaForCausalLM")


def saved(folder: str, file: str) -> dict[str, Any]:
    with joined(60, "cpu") as world:
        learner = learner_of(folder, Sharded(world, "cpu", 2))
        learner.forward_backward(ROWS, lambda logprobs, _: (-logprobs.sum(), {}), 1.0)
        learner.optim_step()
        weights = {name: whole(w) for name, w in learner.weights().items()}
        masters = learner.master_weights()
        if world.first:
            torch.save(masters, file)
        return weights


def test_what_is_written_is_whole(tiny: TinyFactory, tmp_path: Any) -> None:
    file = str(tmp_path / "masters.pt")
    one, two = on_ranks(saved, str(tiny("qwen3")), file)
    same(one, two, atol=0, rtol=0)
    for name, master in torch.load(file).items():
        assert torch.equal(master, one[name])
