"""Start the process of one side of a comparison, wait for it, and keep the best of its settings.

    ours = Side("aha", "peers.ours_rollout")
    measured = measure(ours, {"points": [...], "dtype": "float32", "threads": 2, ...}, timeout_s=600)
    best, faults = fastest(ours, job, settings(("float32",), (1, 2)), timeout_s=600)

Sides run one after the other, each in fresh processes, so that threads and memory of one never touch another. A side
that is missing or fails is a fault with a reason, and never a figure.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
SOURCE = BENCHMARKS.parent / "src"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
REASON_LENGTH = 300  # characters of an error's text that are shown


@dataclass(frozen=True, slots=True)
class Side:
    """A participant: its name in the results, the module that its process runs, and the Python that runs it.

    `extra` goes into its jobs alone; `remedy` says how to get it where it is missing.
    """

    name: str
    module: str
    python: str = sys.executable
    extra: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of each point that was measured; `fault` says what kept the rest from it, empty where nothing did."""

    points: tuple[dict[str, Any], ...]
    fault: str = ""


def settings(dtypes: Sequence[str], threads: Sequence[int]) -> list[dict[str, Any]]:
    """Every pair of a dtype and a number of threads."""
    return [{"dtype": d, "threads": t} for d in dtypes for t in threads]


def measure(side: Side, job: Mapping[str, Any], timeout_s: float) -> Measured:
    """Run one job in a process of its own; past `timeout_s` seconds the process and its children are killed."""
    if not Path(side.python).exists():
        return Measured((), f"there is no {side.python}" + (f"; {side.remedy}" if side.remedy else ""))
    with tempfile.TemporaryDirectory() as folder:
        asked, told, errors = (Path(folder) / name for name in ("job.json", "figures.jsonl", "errors.txt"))
        asked.write_text(json.dumps({**job, **side.extra}), encoding="utf-8")
        told.touch()
        with errors.open("wb") as sink:
            process = subprocess.Popen(
                [side.python, "-m", side.module, str(asked), str(told)],
                cwd=folder, env=_environment(job), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                start_new_session=True,
            )  # fmt: skip
            fault = _wait(process, timeout_s)
        points = tuple(json.loads(line) for line in told.read_text(encoding="utf-8").splitlines())
        if fault == "failed":
            fault = _reason(errors.read_text(encoding="utf-8", errors="replace"), process.returncode)
    return Measured(points, fault)


def fastest(
    side: Side, job: Mapping[str, Any], choices: Sequence[Mapping[str, Any]], timeout_s: float
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """For each point of the job, by name, the figures of the setting with the highest `rate`, with all rates that were
    found (`tried`); and the settings that failed, with the reason. A side that is missing fails once, under ""."""
    best: dict[str, dict[str, Any]] = {}
    faults: dict[str, str] = {}
    for choice in choices:
        label = ", ".join(f"{value}" for value in choice.values())
        print(f"{side.name}: {label}", file=sys.stderr, flush=True)
        measured = measure(side, {**job, **choice}, timeout_s)
        if measured.fault:
            faults[label if Path(side.python).exists() else ""] = measured.fault
        for figures in measured.points:
            before = best.get(figures["name"])
            tried = {**(before["tried"] if before else {}), label: figures["rate"]}
            winner = figures if before is None or figures["rate"] > before["rate"] else before
            best[figures["name"]] = {**winner, **({} if winner is before else choice), "tried": tried}
        if "" in faults:
            break
    return best, faults


def _environment(job: Mapping[str, Any]) -> dict[str, str]:
    threads = str(job["threads"])
    environment = {**os.environ, **dict.fromkeys(THREADS, threads)}
    if job.get("device", "cpu") == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join((str(BENCHMARKS), str(SOURCE))),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> str:
    """What went wrong: "" for nothing, "failed" where the process itself says what."""
    try:
        return "failed" if process.wait(timeout_s) else ""
    except subprocess.TimeoutExpired:
        return f"not done after {timeout_s:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children outlive it otherwise
        process.wait()


def _reason(errors: str, status: int) -> str:
    """The last error that a process printed."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception", "Interrupt"))]
    said = (named or lines or ["it said nothing"])[-1]
    return f"ended with status {status}: {said[:REASON_LENGTH]}"
