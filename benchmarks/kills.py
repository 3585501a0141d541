"""Kills a run at random moments and lets the same command go on, until it is done; then compares with an unbroken one.

    python benchmarks/kills.py [--kills 200] [--seed 0]

The run has every kind of stage: pretraining, RL, collecting, SFT, a reward model and evaluation, on a model that is
small enough for hundreds of starts. A start is a fork of a process that has imported everything. Weights, metrics and
stored rollouts have to be the same to the last bit; whatever a kill left half-written must never have been read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from aha.config import (
    CollectStage,
    EvaluateStage,
    EvaluationChoice,
    OptimiserChoice,
    PretrainStage,
    Recipe,
    RewardModelStage,
    RLStage,
    Rollouts,
    SFTStage,
)  # fmt: skip
from aha.pipeline.run import run

CLOCK = ("time", "memory", "tokens_per_s")  # parts of the names of metrics that the clock and the machine decide
LONGEST_RUN_S = 600.0


def recipe() -> Recipe:
    """Stages of a few steps each, with a checkpoint after every second."""
    evaluation = EvaluationChoice(problems=4, samples=2, max_tokens=16, every=2, every_problems=2)
    optimiser = OptimiserChoice(lr=3e-3, schedule="cosine", warmup_steps=3)
    return Recipe(
        name="kills",
        template="short",
        threads=1,
        dtype="float32",
        stages={
            "base": PretrainStage(
                hidden_size=32, layers=2, heads=2, head_size=16, mlp_size=64, tokenizer_pages=200, pages_per_step=8,
                steps=12, optimiser=optimiser, evaluation=evaluation, checkpoint_every=2,
            ),
            "zero": RLStage(
                start="base", steps=12, rollouts=Rollouts(questions=4, group=4, max_tokens=24), reward_threads=0,
                optimiser=optimiser, evaluation=evaluation, checkpoint_every=2,
            ),
            "gather": CollectStage(
                start="zero", questions=150, samples=2, max_tokens=16, least={"repetition": -0.9}, reward_threads=0,
                decontaminate=20,
            ),
            "taught": SFTStage(
                data=("gather",), epochs=2, batch=32, max_tokens=200, optimiser=optimiser, evaluation=evaluation,
                checkpoint_every=2,
            ),
            "helpful": RewardModelStage(
                start="zero", data="rules:requests", examples=48, held_back=12, batch=8, optimiser=optimiser,
                checkpoint_every=2,
            ),
            "evaluated": EvaluateStage(models=("zero", "taught"), tasks={"countdown": 4}, samples=2, max_tokens=16),
        },
    )  # fmt: skip


def start(made: Recipe, out: Path) -> int:
    """Run it in a fork of this process; returns its number."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        run(made, out)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(number: int, within_s: float) -> int | None:
    """The status of a process that ends within so many seconds; None for one that does not."""
    deadline = time.monotonic() + within_s
    while True:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def survive(made: Recipe, folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Run it until `kills` kills have hit it, over as many runs as that takes; returns kills and runs. Raises
    AssertionError where one ends other than the unbroken run."""
    began = time.monotonic()
    assert ended(start(made, folder / "whole"), LONGEST_RUN_S) == 0, "the unbroken run failed"
    whole_s, expected = time.monotonic() - began, contents(folder / "whole")
    rng = random.Random(seed)
    hit = runs = 0
    while hit < kills:
        out = folder / f"broken{runs}"
        status: int | None = None
        while status is None:
            number = start(made, out)
            # mostly early, so that a run is hit many times; now and then anywhere
            wait = rng.uniform(0, whole_s if rng.random() < 0.2 else whole_s / 6)
            status = ended(number, wait if hit < kills else LONGEST_RUN_S)
            if status is None:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
                hit += 1
        runs += 1
        assert status == 0, f"run {runs} failed after {hit} kills"
        found = contents(out)
        assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())
        different = [name for name in expected if found[name] != expected[name]]
        assert not different, f"run {runs}, after {hit} kills, differs in {different}"
    return hit, runs


def contents(out: Path) -> dict[str, Any]:
    """What must be the same: digests of weights, metrics without the clock's, stored rollouts, evaluations."""
    found: dict[str, Any] = {}
    for file in sorted(out.rglob("*")):
        name = str(file.relative_to(out))
        if any(part.startswith(".") for part in file.relative_to(out).parts) or "checkpoints" in name:
            continue
        if file.suffix == ".safetensors":
            found[name] = {key: _digest(tensor) for key, tensor in load_file(file).items()}
        elif file.name == "metrics.jsonl":
            lines = map(json.loads, file.read_text().splitlines())
            found[name] = [{k: v for k, v in line.items() if not any(c in k for c in CLOCK)} for line in lines]
        elif file.suffix == ".parquet":
            found[name] = pq.read_table(file).to_pylist()
        elif file.name in ("evaluation.json", "samples.json", "table.json"):
            found[name] = json.loads(file.read_text())
        elif file.name == "data.jsonl":
            found[name] = file.read_text()
    return found


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def main() -> None:
    """Kill, compare, print the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        hit, runs = survive(recipe(), Path(folder), arguments.kills, arguments.seed)
    seconds = time.monotonic() - began
    print(f"{hit} kills over {runs} runs in {seconds:.0f} s: every run ended as the unbroken one, bit for bit")


if __name__ == "__main__":
    main()
