"""Runs a second of the sandbox, against starting bubblewrap for each run: a row a way.

    python benchmarks/sandbox.py [--quick] [--json]

Each run is a small program that reads two numbers and prints their sum. `calls` is a run of 20 function calls. Latency
is what one run takes from call to answer; the load at the start is printed, and where it is not near 0 the rates are
lower bounds and `p10` is the nearest to a quiet machine's latency.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aha.rewards.sandbox import Call, Limits, Pool, available, run_calls, run_program

PROGRAM = "a, b = map(int, input().split())\nprint(a + b)"
FUNCTION = "def f(a, b):\n    return a + b"
COLD = [
    "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--proc", "/proc",
    sys.executable, "-I", "-S", "-c", PROGRAM,
]  # fmt: skip


def warm(pool: Pool) -> None:
    """One run in a slot."""
    assert run_program(PROGRAM, "3 4", pool=pool).stdout == "7\n"


def calls(pool: Pool) -> None:
    """Twenty calls in one run."""
    results = run_calls(FUNCTION, [Call("f", (n, 1)) for n in range(20)], Limits(), pool=pool)
    assert [result.value for result in results] == list(range(1, 21))


def cold(pool: Pool) -> None:
    """One run in a bubblewrap of its own, with fewer protections than a slot has."""
    ran = subprocess.run(COLD, input="3 4", capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "7\n"


def measure(run: Callable[[Pool], None], slots: int, count: int) -> dict[str, Any]:
    """`count` runs by as many threads as there are slots."""
    pool = Pool(slots)
    taken: list[float] = []

    def timed(_: int) -> None:
        begun = time.perf_counter()
        run(pool)
        taken.append(1000 * (time.perf_counter() - begun))

    try:
        with ThreadPoolExecutor(slots) as threads:
            list(threads.map(timed, range(4 * slots)))  # starts the slots
            taken.clear()
            begun = time.perf_counter()
            list(threads.map(timed, range(count)))
            seconds = time.perf_counter() - begun
    finally:
        pool.close()
    cuts = statistics.quantiles(taken, n=100)
    rate = {"runs_per_s": round(count / seconds, 1)}
    rate |= {f"p{part}_ms": round(cuts[part - 1], 2) for part in (10, 50, 99)}
    return {"way": run.__name__, "slots": slots, "runs": count, **rate}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if missing := available():
        sys.exit(missing)
    machine = {
        "machine": platform.machine(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
        "python": platform.python_version(), "load": round(os.getloadavg()[0], 1), "bwrap": shutil.which("bwrap"),
        "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    part = 10 if arguments.quick else 1
    rows = [measure(run, slots, 1000 // part) for slots in (1, 2) for run in (warm, calls)]
    rows += [measure(cold, slots, 200 // part) for slots in (1, 2)]
    if arguments.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    names = ("way", "slots", "runs_per_s", "p10_ms", "p50_ms", "p99_ms")
    print("|" + "|".join(names) + "|\n" + "|---" * len(names) + "|")
    for row in rows:
        print("|" + "|".join(str(row[name]) for name in names) + "|")
    print(json.dumps(machine))


if __name__ == "__main__":
    main()
