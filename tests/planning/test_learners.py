"""What learners hold and allocate, offloaded and divided, against what is planned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from measuring import allocated, learn, learner_of, qwen3, samples
from test_memory import MILLIONS, size

from aha.choices import ShardingChoice
from aha.config import Recipe, override
from aha.distributed.sharded import Sharded
from aha.distributed.world import World, joined
from aha.errors import UserError
from aha.models.kernels.build import library
from aha.pipeline.recipes import recipe
from aha.planning.dimensions import KNOWN, of_config, parameters
from aha.planning.hardware import GIB, GPUS, Device
from aha.planning.learners import Batch, Held, Trained, learning, refusal
from aha.planning.memory import Part, total
from aha.planning.plan import Assumptions, StagePlan, plan
from aha.planning.work import Machine
from rank_processes import on_ranks

ROWS = [50] * 10
HOST = Device("a machine", 16 * GIB, 1e12, 1e12, 1e11, gpu=False)
FEW = [16] * 2  # so few tokens that weights and gradients are what counts
WIDE = {**MILLIONS, "vocab_size": 8000}  # embedding and head are more than the layers
TIED = {**WIDE, "num_hidden_layers": 3, "tie_word_embeddings": True}


def planned(sizes: dict[str, Any], dtype: torch.dtype, rows: list[int] = ROWS, **sharding: Any) -> Held:
    d = of_config(qwen3(**sizes).config)
    machine = Machine(HOST, dtype="bfloat16" if dtype == torch.bfloat16 else "float32")
    batch = Batch(sum(rows), rows[0], rows[0] - 1)
    p = parameters(d)
    choice = ShardingChoice(**sharding)
    return learning(choice, d, machine, trained=[Trained(p, p)], batch=batch, kernels=library() is not None)


def sizes_of(parts: tuple[Part, ...]) -> dict[str, float]:
    return {part.name: part.size for part in parts if part.name != "model as loaded"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_offloaded_states(dtype: torch.dtype) -> None:
    """On a CPU both lie in one memory; what is where on a GPU is in the names."""
    learner = learner_of(qwen3(**MILLIONS), dtype, 4096, offload=True)
    rows = samples([20, 30])
    learn(learner, rows)
    learner.optim_step()
    learn(learner, rows)
    moments = [t for state in learner._adamw.state.values() for t in state.values() if t.ndim]
    gradients = [p.grad for p in learner._master if p.grad is not None]
    assert not [p.grad for p in learner._parameters if p.grad is not None], "they are where the masters are"
    held = {
        "weights": size(learner.model.parameters()), "masters": size(learner._master), "gradients": size(gradients),
        "optimiser": size(moments),
    }  # fmt: skip
    assert sizes_of(planned(MILLIONS, dtype, offload=True).states) == held
    on_gpu = plan(offloaded(), 1, GPUS["H100"], Assumptions(mean=100)).stages[0].fit
    assert {"weights"} < {p.name for p in on_gpu.parts} and sizes_of(on_gpu.host).keys() == held.keys() - {"weights"}


def offloaded(*more: str) -> Recipe:
    return override(recipe("zero"), ["model=Qwen/Qwen2.5-1.5B", "sharding.offload=true", *more])


Case = tuple[dict[str, Any], list[int], dict[str, Any], str]  # sizes, rows of a process, sharding, type


def measured(cases: list[Case]) -> list[tuple[dict[str, int], int]]:
    """Of each case: bytes that one of two processes holds, and the most that a pass allocates above that."""
    with joined(600, "cpu") as world:
        return [one(world, *case) for case in cases]


def one(
    world: World, sizes: dict[str, Any], own: list[int], sharding: dict[str, Any], name: str
) -> tuple[dict[str, int], int]:
    chosen = {"tensor": 1, "recompute": False, "offload": False, **sharding}
    spread = Sharded(world, "cpu", chosen.pop("tensor"))
    learner = learner_of(qwen3(**sizes), getattr(torch, name), sum(own), spread=spread, **chosen)
    rows = samples(own * spread.size)
    learn(learner, rows)
    learner.optim_step()
    learn(learner, rows)
    masters: list[Any] = learner._master
    moments: list[Any] = [t for state in learner._adamw.state.values() for t in state.values() if t.ndim]
    held = {
        "weights": sum(p.to_local().nbytes for p in masters),
        "gradients": sum(p.grad.to_local().nbytes for p in masters),
        "optimiser": sum(t.to_local().nbytes for t in moments),
    }
    found = []
    for _ in range(PASSES):  # where one of gloo's threads frees what it has added up last, a pass seems to hold more
        most, left = allocated(lambda: learn(learner, rows))
        found.append(most)
        if not world.any(left != 0):
            break
    return held, min(found)


PASSES = 8
QUICK: list[Case] = [
    (MILLIONS, ROWS, {"recompute": True}, "bfloat16"),
    (MILLIONS, ROWS, {"tensor": 2}, "float32"),
    (WIDE, FEW, {}, "bfloat16"),
    (TIED, FEW, {"tensor": 2, "recompute": True}, "bfloat16"),
]
EVERY: list[Case] = [
    (sizes, rows, sharding, dtype)
    for sizes, rows in ((MILLIONS, ROWS), (WIDE, ROWS), (WIDE, FEW), (TIED, FEW))
    for sharding in ({}, {"recompute": True}, {"tensor": 2}, {"tensor": 2, "recompute": True})
    for dtype in ("float32", "bfloat16")
]


@pytest.mark.parametrize(
    "cases", [pytest.param(QUICK, id="some"), pytest.param(EVERY, id="every", marks=pytest.mark.slow)]
)
def test_what_each_of_two_processes_holds(cases: list[Case]) -> None:
    for case, *found in zip(cases, *on_ranks(measured, cases), strict=True):
        sizes, rows, sharding, dtype = case
        several = planned(sizes, getattr(torch, dtype), rows, **sharding).several(2)
        for held, most in found:
            assert sizes_of(several.states) == pytest.approx(held, rel=1e-12), case
            assert total(several.each) == pytest.approx(most, rel=0.1), case


def test_offloaded_and_divided() -> None:
    """What lies on the device without it lies in main memory; passes are the same."""
    choice: dict[str, Any] = {"tensor": 2, "recompute": True}
    there, here = (planned(MILLIONS, torch.bfloat16, **choice, offload=o).several(4) for o in (True, False))
    assert sizes_of(there.host) == sizes_of(here.states) and not sizes_of(there.states)
    assert there.each == here.each


def zero(*more: str, count: int = 8) -> StagePlan:
    changed = override(recipe("zero"), ["model=Qwen/Qwen2.5-7B", "rollouts.max_tokens=2048", *more])
    return plan(changed, count, GPUS["H100"], Assumptions(mean=500)).stages[0]


def part(stage: StagePlan, name: str) -> float:
    return next((p.size for p in stage.fit.parts if p.name == name), 0.0)


def test_a_plan_reads_sharding() -> None:
    plain, again, away, cut = zero(), zero("sharding.recompute=true"), zero("sharding.offload=true"), zero(
        "sharding.tensor=2"
    )  # fmt: skip
    learns = {s: next(p.most for p in s.phases if p.name == "learn") for s in (plain, again, away, cut)}
    assert part(again, "activations") < part(plain, "activations") / 4
    assert learns[plain].flops < learns[again].flops < 4 / 3 * learns[plain].flops
    assert learns[again].seconds / learns[plain].seconds == pytest.approx(4 / 3, rel=0.05)
    assert part(plain, "optimiser") == 8 * plain.parameters / 8 and part(away, "optimiser") == 0
    in_main = {p.name: p.size for p in away.fit.host}
    assert in_main["optimiser"] == plain.parameters and in_main["model as loaded"] == 4 * plain.parameters
    assert [p.name for p in away.phases if p not in plain.phases] == ["policy, updates"]
    updates = next(p.most for p in away.phases if p.name == "policy, updates")
    assert updates.seconds > 0 and (away.seconds() or 0) == pytest.approx((plain.seconds() or 0) + updates.seconds)
    assert part(cut, "activations") < part(plain, "activations") and part(cut, "optimiser") > part(plain, "optimiser")
    assert learns[cut].flops > learns[plain].flops and not cut.notes and cut.least is not None and cut.least % 2 == 0


def test_what_a_run_would_refuse() -> None:
    with pytest.raises(UserError, match=r"sharding\.tensor=2 does not divide 1 device; plan for others with --gpus"):
        zero("sharding.tensor=2", count=1)
    assert any(
        "it will not run: sharding.tensor=8 does not divide 28" in note for note in zero("sharding.tensor=8").notes
    )
    assert "adapters" in refusal(2, KNOWN["Qwen/Qwen2.5-7B"], adapted=True)
    assert "experts" in refusal(2, KNOWN["deepseek-ai/DeepSeek-V3-Base"], adapted=False)
    assert refusal(1, KNOWN["deepseek-ai/DeepSeek-V3-Base"], adapted=True) == ""


def test_a_critic_is_offloaded_too() -> None:
    stage = plan(offloaded("algorithm.name=ppo"), 1, GPUS["H100"], Assumptions(mean=100)).stages[0]
    host = {p.name: p.size for p in stage.fit.host}
    assert host["critic"] > 15 * stage.parameters and part(stage, "critic") < 2.1 * stage.parameters
    assert {"policy, updates", "critic, updates"} <= {p.name for p in stage.phases}
