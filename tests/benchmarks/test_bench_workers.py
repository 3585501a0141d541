"""Benchmarks of rollout workers: quick runs, and when workers are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

import worker_kills
from aha.types import StepMetrics
from peers.start import BENCHMARKS


def printed(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--quick", "--json", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_each_moment_kills_one_worker_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    there, killed, waited = [7, 8], list[int](), list[float]()

    def kill(number: int, by: int) -> None:
        assert by == signal.SIGKILL
        killed.append(number)
        there.remove(number)

    monkeypatch.setattr(worker_kills, "workers", lambda: list(there))
    monkeypatch.setattr(worker_kills.os, "kill", kill)
    monkeypatch.setattr(worker_kills.time, "sleep", waited.append)
    killer = worker_kills.Killer([1.25, 3.0, 3.5], seed=0)
    for step in range(1, 5):
        killer.step(StepMetrics(step, {"time/step_s": 2.0}))
        for thread in killer._threads:
            thread.join(60)
        there += [10 + step] if len(there) < 2 else []
        assert killer.hit == len(killed) == {1: 1, 2: 1, 3: 3, 4: 3}[step]
    assert sorted(waited) == [0.0, 0.5, 1.0]


@pytest.mark.slow
def test_a_quick_run_of_killed_workers_makes_all_steps() -> None:
    said = printed("worker_kills.py", "--kills", "2", "--steps", "20", "--set", "threads=1")
    assert said["broken"]["taken"] == said["whole"]["taken"] == 80 and said["whole"]["kills"] == 0


@pytest.mark.slow
def test_a_quick_run_measures_every_part() -> None:
    ours = printed("workers.py")["ours"]
    assert set(ours) == {
        "limit: engines 1", "limit: engines 2", "processes: sampling, workers 1", "processes: sampling, workers 2",
        "processes: publishing 0.1m", "here: step 0.1m", "processes: step 0.1m",
    }  # fmt: skip
    assert ours["processes: publishing 0.1m"]["held_s"] > ours["processes: publishing 0.1m"]["load_s"] > 0
