"""Runs that are killed at random moments end as the unbroken one."""

from __future__ import annotations

import os
import subprocess
import sys

from peers.start import BENCHMARKS


def test_ten_kills_change_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "kills.py"), "--kills", "10", "--seed", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("10 kills over ") and "bit for bit" in done.stdout
