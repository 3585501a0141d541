"""Kills rollout workers at random moments of a run, and compares how it ends with the unbroken run.

    python benchmarks/worker_kills.py [--kills 30] [--steps 50] [--ahead 1] [--workers 2] [--json] [--quick]

Both runs are the demo with more steps, of the same seed; workers are processes, which get SIGKILL, those that are
just starting too. The broken run has to end by itself with all of its steps made, its books have to balance (no rollout
lost, none counted twice), and its final pass@1 has to be within the noise of the other's: the difference is given in
standard errors of both. With `--rewards` above 0 the workers that grade are killed as well.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from aha.config import Recipe, override
from aha.distributed.rollout.books import BOOKS, balance, read
from aha.pipeline.observer import Silent
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run
from aha.types import StepMetrics
from results import machine, markdown

STAGE = Path("stages/01-zero")
PATIENCE_S = 300.0  # for a worker to be there that can be killed


class Killer(Silent):
    """Kills a worker at each of `moments`, which are counted in steps; the fraction is of the step before."""

    def __init__(self, moments: list[float], seed: int) -> None:
        self.hit = 0
        self._moments, self._rng = moments, random.Random(seed)
        self._threads: list[threading.Thread] = []

    def step(self, metrics: StepMetrics) -> None:
        due = [moment for moment in self._moments if metrics.step <= moment < metrics.step + 1]
        for moment in due:
            wait = (moment - metrics.step) * metrics.values["time/step_s"]
            self._threads.append(threading.Thread(target=self._kill, args=(wait,), daemon=True))
            self._threads[-1].start()

    def _kill(self, wait: float) -> None:
        time.sleep(wait)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if there := workers():
                os.kill(self._rng.choice(there), signal.SIGKILL)
                self.hit += 1
                return
            time.sleep(0.05)


def workers() -> list[int]:
    """The processes of workers that live."""
    found = []
    for child in psutil.Process().children():
        try:
            if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """What both runs make."""
    settings = [
        f"steps={arguments.steps}", f"workers.rollout={arguments.workers}", f"workers.reward={arguments.rewards}",
        f"rollouts.ahead={arguments.ahead}", "launcher=processes", "keep_rollouts=false", "evaluation.every=0",
    ]  # fmt: skip
    if arguments.quick:
        settings += [
            "model=tiny-small", "rollouts.questions=4", "rollouts.group=4", "rollouts.max_tokens=48",
            "evaluation.problems=8", "evaluation.samples=4",
        ]  # fmt: skip
    return override(recipe("demo"), [*settings, *arguments.settings])


def ended(made: Recipe, out: Path, killer: Killer) -> dict[str, Any]:
    """How a run ends: seconds, pass@1 with its error, steps, and what the books say."""
    began = time.monotonic()
    result = run(made, out, killer)
    found = balance(read(out / STAGE / BOOKS))
    lines = [json.loads(line) for line in (out / STAGE / "metrics.jsonl").read_text().splitlines()]
    size = {len(names) for names in found.by_step.values()}
    return {
        "kills": killer.hit, "seconds": time.monotonic() - began, "pass@1": result["pass@1"],
        "stderr": result["pass@1_stderr"], "steps": len(lines), "questions a step": sorted(size),
        "taken": len(found.taken), "outstanding": len(found.outstanding), "given again": found.again,
        "late": found.late, "workers": len(found.workers),
        "staleness": max(line["rollout/staleness_max"] for line in lines),
    }  # fmt: skip


def main() -> None:
    """Both runs, and their difference. Raises AssertionError where the broken one has not made what was planned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--ahead", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rewards", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small model and short answers")
    arguments = parser.parse_args()
    where, made = machine(), recipe_of(arguments)
    rng = random.Random(arguments.seed)
    moments = sorted(rng.uniform(1, arguments.steps) for _ in range(arguments.kills))
    with tempfile.TemporaryDirectory() as folder:
        whole = ended(made, Path(folder) / "whole", Killer([], 0))
        broken = ended(made, Path(folder) / "broken", Killer(moments, arguments.seed))
    assert broken["steps"] == arguments.steps and broken["questions a step"] == whole["questions a step"]
    error = math.hypot(whole["stderr"], broken["stderr"])
    apart = abs(whole["pass@1"] - broken["pass@1"]) / error if error else 0.0
    if arguments.json:
        print(json.dumps({"machine": where, "whole": whole, "broken": broken, "standard errors apart": apart}))
        return
    rows = [[name, str(whole[name]), str(broken[name])] for name in whole]
    print(markdown(["", "unbroken", "killed"], rows))
    print(f"\npass@1 is {apart:.2f} standard errors apart\n")
    print(", ".join(f"{key} {value}" for key, value in where.items()))


if __name__ == "__main__":
    main()
