"""What can happen to a run from outside, and how each ends: damaged and misplaced files, clocks, engines that die."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.commands import load_recipe
from aha.config import Recipe
from aha.engines.native.engine import NativeEngine
from aha.errors import UserError
from aha.pipeline.observer import Silent
from aha.pipeline.run import run
from aha.training.step_metrics import WINDOW, grows
from aha.types import StepMetrics
from small_runs import KillAt, Killed, small, steady, stored, weights
from tiny_models import TinyFactory

STAGE = Path("stages/01-zero")


def same(one: Path, two: Path) -> bool:
    """Metrics, rollouts and weights of two runs, to the last bit."""
    left, right = weights(one / STAGE / "model"), weights(two / STAGE / "model")
    return (
        steady(one / STAGE / "metrics.jsonl") == steady(two / STAGE / "metrics.jsonl")
        and stored(one / STAGE / "rollouts") == stored(two / STAGE / "rollouts")
        and all(torch.equal(left[name], right[name]) for name in left)
    )


@pytest.fixture
def whole(tiny: TinyFactory, tmp_path: Path, lucky: None) -> tuple[Recipe, Path]:
    """A recipe and the folder of its unbroken run."""
    made = small(tiny, "optimiser.schedule=cosine", "optimiser.warmup_steps=2", "algorithm.options.kl_beta=0")
    run(made, tmp_path / "whole")
    return made, tmp_path / "whole"


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_checkpoint_costs_its_steps_alone(whole: tuple[Recipe, Path], tmp_path: Path, damage: str) -> None:
    """Without a reference, with a schedule: what a checkpoint holds is all that an exact resume needs."""
    made, unbroken = whole
    with pytest.raises(Killed):
        run(made, tmp_path / "run", KillAt(4))
    newest = sorted((tmp_path / "run" / STAGE / "checkpoints").glob("step-*"))[-1] / "state.pt"
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 4
    newest.write_bytes(data if damage == "flip" else data[: len(data) // 2])

    told: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            told.append(text)

    run(made, tmp_path / "run", Notes())
    assert "going on after step 2" in told
    assert same(unbroken, tmp_path / "run")


def test_an_engine_that_dies_ends_the_run_and_the_same_command_goes_on(
    whole: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, unbroken = whole
    stream = NativeEngine.stream

    def dying(self: NativeEngine, *args: Any) -> Iterator[Any]:
        found = stream(self, *args)
        for number, one in enumerate(found):
            if self.version == 2 and number == 3:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            yield one

    monkeypatch.setattr(NativeEngine, "stream", dying)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(made, tmp_path / "run")
    noted = json.loads((tmp_path / "run" / STAGE / "stage.json").read_text())
    assert noted["state"] == "failed" and "illegal memory access" in noted["reason"]
    monkeypatch.setattr(NativeEngine, "stream", stream)
    run(made, tmp_path / "run")
    assert same(unbroken, tmp_path / "run")


def test_clocks_that_jump_change_nothing(
    whole: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours forth and back: the wall clock is only written down, and waiting goes by another."""
    made, unbroken = whole
    now, jumps = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: now() + jumps.uniform(-1e6, 1e6))
    run(made, tmp_path / "run")
    assert same(unbroken, tmp_path / "run")


def test_its_own_recipe_repeats_it(whole: tuple[Recipe, Path], tmp_path: Path) -> None:
    _, unbroken = whole
    run(load_recipe(str(unbroken / "recipe.yaml"), []), tmp_path / "again")
    assert same(unbroken, tmp_path / "again")


def test_deterministic_has_the_same_bits(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    """Nothing that a run does on a CPU is refused, and threads do not change what comes out twice."""
    made = small(tiny, "deterministic=true", "threads=2", architecture="llama")
    try:
        for name in ("one", "two"):
            run(made, tmp_path / name)
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(1)
    assert same(tmp_path / "one", tmp_path / "two")


def test_a_stage_folder_of_another_recipe_is_kept_and_made_anew(whole: tuple[Recipe, Path], tmp_path: Path) -> None:
    made, unbroken = whole
    with pytest.raises(Killed):
        run(made, tmp_path / "run", KillAt(3))
    state = tmp_path / "run" / STAGE / "stage.json"
    noted = json.loads(state.read_text())
    state.write_text(json.dumps({**noted, "inputs": {**noted["inputs"], "stage": "of something else"}}))
    run(made, tmp_path / "run")
    assert (tmp_path / "run/stages/01-zero.replaced-1/metrics.jsonl").exists()
    assert same(unbroken, tmp_path / "run")


def test_a_second_process_is_sent_away_and_the_first_goes_on(whole: tuple[Recipe, Path], tmp_path: Path) -> None:
    made, unbroken = whole
    code = (
        "import sys; from pathlib import Path\n"
        "from aha.commands import load_recipe\nfrom aha.pipeline.run import run\n"
        "from aha.errors import UserError\n"
        "try: run(load_recipe(sys.argv[1], []), Path(sys.argv[2]))\n"
        "except UserError as error: print(error); sys.exit(2)\n"
    )
    ended: list[subprocess.CompletedProcess[str]] = []

    class Second(Silent):
        def step(self, metrics: StepMetrics) -> None:
            if metrics.step == 2:
                command = [sys.executable, "-c", code, str(unbroken / "recipe.yaml"), str(tmp_path / "run")]
                ended.append(subprocess.run(command, capture_output=True, text=True, timeout=120))

    run(made, tmp_path / "run", Second())
    assert ended[0].returncode == 2 and "in use by another process" in ended[0].stdout, ended[0].stderr
    assert same(unbroken, tmp_path / "run")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("unshare"), reason="root writes everywhere")
def test_a_read_only_folder_is_one_sentence(tiny: TinyFactory, tmp_path: Path) -> None:
    made = small(tiny)
    (tmp_path / "shelf").mkdir(mode=0o500)
    if os.geteuid():
        with pytest.raises(UserError, match=r"cannot be written .*choose another folder with --out"):
            run(made, tmp_path / "shelf" / "run")
        return
    command = f"mount --bind {tmp_path}/shelf {tmp_path}/shelf && mount -o remount,ro,bind {tmp_path}/shelf && "
    command += f"{sys.executable} -m aha run zero --set model={made.model} --out {tmp_path}/shelf/run"
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, timeout=120)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no folder can be made read-only here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    assert "choose another folder with --out" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_thousand_steps_take_no_more_memory(tiny: TinyFactory, tmp_path: Path, lucky: None) -> None:
    """Neither the alarm nor the plain comparison of the first fifth with the last sees growth."""
    seen: list[float] = []

    class Memory(Silent):
        def step(self, metrics: StepMetrics) -> None:
            seen.append(metrics.values["memory/rss_gb"])

    run(small(tiny, "steps=1000", "checkpoint_every=50", "rollouts.max_tokens=24"), tmp_path / "run", Memory())
    assert len(seen) == 1000
    assert not any(grows(seen[:end]) for end in range(WINDOW, 1001))
    early, late = sum(seen[100:300]) / 200, sum(seen[800:]) / 200
    assert late < 1.05 * early, f"{early:.3f} GB in steps 100 to 300, {late:.3f} GB in the last 200"
