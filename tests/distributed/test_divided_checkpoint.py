"""Checkpoints that several processes write: whole or absent, verified, read by any number."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_sharded import ROWS, learner_of, ratio_loss, same, whole

from aha.distributed import checkpoint
from aha.distributed.sharded import Sharded
from aha.distributed.world import World, joined
from aha.training.learner import TorchLearner
from aha.training.spread import ALONE, Spread
from rank_processes import on_ranks
from tiny_models import TinyFactory


def made(folder: str, spread: Spread = ALONE) -> tuple[TorchLearner, TorchLearner]:
    """A policy with a reference, and something like a critic, without one."""
    return learner_of(folder, spread), learner_of(folder, spread, reference=None)


def updated(learners: tuple[TorchLearner, TorchLearner]) -> None:
    for learner, rows in zip(learners, (ROWS, ROWS[:1]), strict=True):
        learner.forward_backward(rows, ratio_loss, 11.0)
        learner.optim_step()


def seen(learners: tuple[TorchLearner, TorchLearner]) -> list[dict[str, Any]]:
    return [{name: whole(w) for name, w in one.weights().items()} for one in learners]


def written(folder: str, out: str, tensor: int = 1) -> list[Any]:
    """After each of two steps."""
    with joined(60, "cpu") as world:
        learners = made(folder, Sharded(world, "cpu", tensor))
        found = []
        for step in (1, 2):
            updated(learners)
            state = {**learners[0].state(), "critic": learners[1].state(), "seconds": step / 3, "none": None}
            checkpoint.save(world, Path(out), step, state)
            found.append(seen(learners))
        updated(learners)
        return [*found, seen(learners)]


def read(folder: str, out: str, tensor: int = 1, world: World | None = None) -> tuple[Any, ...]:
    """The newest that is sound, and one update more."""
    if world is None:
        with joined(60, "cpu") as several:
            return read(folder, out, tensor, several)
    learners = made(folder, ALONE if world.size == 1 else Sharded(world, "cpu", tensor))

    def blank() -> dict[str, Any]:
        return {**learners[0].blank_state(), "critic": learners[1].blank_state()}

    found = checkpoint.newest(world, Path(out), blank)
    assert found is not None
    step, state = found
    learners[0].load_state(state)
    learners[1].load_state(state["critic"])
    before = seen(learners)
    updated(learners)
    return step, state["seconds"], state["none"], learners[0].updates, before, seen(learners)


@pytest.fixture(scope="module")
def folder(tiny: TinyFactory) -> str:
    return str(tiny("qwen3"))


@pytest.fixture(scope="module")
def whole_ones(folder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    out = tmp_path_factory.mktemp("divided") / "checkpoints"
    return out, on_ranks(written, folder, str(out))[0]


@pytest.fixture
def saved(whole_ones: tuple[Path, list[Any]], tmp_path: Path) -> tuple[Path, list[Any]]:
    """Checkpoints that a test may damage, and what was in them."""
    shutil.copytree(whole_ones[0], tmp_path / "checkpoints")
    return tmp_path / "checkpoints", whole_ones[1]


def test_any_number_of_processes_goes_on(folder: str, saved: tuple[Path, list[Any]]) -> None:
    out, (_, second, third) = saved
    assert sorted(p.name for p in out.iterdir()) == ["step-000001", "step-000002"], "nothing is left aside"
    for found in (*on_ranks(read, folder, str(out)), *on_ranks(read, folder, str(out), size=3)):
        assert found[:4] == (2, 2 / 3, None, 3)
        same(found[4], second, atol=0, rtol=0)
        same(found[5], third)
    same(read(folder, str(out), world=World())[4], second, atol=0, rtol=0)


def test_as_many_processes_repeat_the_bits(folder: str, saved: tuple[Path, list[Any]]) -> None:
    out, (_, _, third) = saved
    for found in on_ranks(read, folder, str(out)):
        same(found[5], third, atol=0, rtol=0)


def file_of_one(folder: str, out: Path) -> list[Any]:
    """As `written`, by one process: its checkpoint is one file."""
    learners, found = made(folder), []
    for step in (1, 2, 3):
        updated(learners)
        found.append(seen(learners))
        if step < 3:
            state = {**learners[0].state(), "critic": learners[1].state(), "seconds": step / 3, "none": None}
            checkpoint.save(World(), out, step, state)
    return found


ROUNDED = {"atol": 1e-5, "rtol": 1e-5}  # a model's own code rounds elsewhere


def test_divided_matrices_go_on(folder: str, tmp_path: Path) -> None:
    """Those who divide matrices repeat the bits, and others read what they have written."""
    out = str(tmp_path / "checkpoints")
    (_, second, third), _ = on_ranks(written, folder, out, 2)
    for found in on_ranks(read, folder, out, 2):
        assert found[:4] == (2, 2 / 3, None, 3)
        same(found[4], second, atol=0, rtol=0)
        same(found[5], third, atol=0, rtol=0)
    alone = read(folder, out, world=World())
    same(alone[4], second, atol=0, rtol=0)
    same(alone[5], third, **ROUNDED)


def test_a_file_is_divided_by_matrices(folder: str, tmp_path: Path) -> None:
    _, second, third = file_of_one(folder, tmp_path / "file")
    for found in on_ranks(read, folder, str(tmp_path / "file"), 2):
        same(found[4], second, atol=0, rtol=0)
        same(found[5], third, **ROUNDED)


@pytest.mark.slow
def test_any_way_of_dividing_goes_on(folder: str, tmp_path: Path) -> None:
    """A file and two by two; two by two and rows alone; one and the other."""
    one, four = str(tmp_path / "file"), str(tmp_path / "four")
    _, second, _ = file_of_one(folder, tmp_path / "file")
    for found in on_ranks(read, folder, one, 2, size=4):
        same(found[4], second, atol=0, rtol=0)
    (_, second, third), *_ = on_ranks(written, folder, four, 2, size=4)
    for found in on_ranks(read, folder, four, 2, size=4):
        same(found[4], second, atol=0, rtol=0)
        same(found[5], third, atol=0, rtol=0)
    for found in (
        *on_ranks(read, folder, four),
        *on_ranks(read, folder, four, 2),
        *on_ranks(read, folder, four, size=3),
    ):
        same(found[4], second, atol=0, rtol=0)
        same(found[5], third, **ROUNDED)


@pytest.mark.parametrize("damage", ["flip", "remove", "no words"])
def test_a_damaged_one_is_passed_over(folder: str, saved: tuple[Path, list[Any]], damage: str) -> None:
    out, (first, _, _) = saved
    part = sorted((out / "step-000002/divided").glob("__1_*"))[0]
    match damage:
        case "flip":
            data = bytearray(part.read_bytes())
            data[len(data) // 2] ^= 1
            part.write_bytes(data)
        case "remove":
            part.unlink()
        case "no words":
            (out / "step-000002/rest.json").write_text("{}")
    step, _, _, _, before, _ = read(folder, str(out), world=World())
    assert step == 1
    same(before, first, atol=0, rtol=0)


def test_none_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(World(), tmp_path / "nowhere", dict) is None
    state = {"numbers": [1, 2.5], "tensor": torch.ones(2), "deep": {"3": (None, True)}}
    checkpoint.save(World(), tmp_path, 7, state)
    found = checkpoint.newest(World(), tmp_path, dict)
    assert found is not None and found[0] == 7 and found[1]["deep"] == state["deep"]
