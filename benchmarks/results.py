"""What all benchmarks share: their arguments, the machine, and how results are compared and printed.

    arguments = parser(__doc__).parse_args()
    results = compare("rollout", ours, peers, job, arguments)
    print(results.as_json() if arguments.json else results.table(cell))

`ratios` of a result says for each peer and point how many times faster we are: our best rate over the peer's best.
A peer without a figure is named under `missing` and has no ratio.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from aha.runtime import processor_name
from peers.start import BENCHMARKS, Side, fastest, settings

Figures = Mapping[str, Any]
REMEDY = "python benchmarks/peers/install.py {} makes it"


def parser(about: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    made.add_argument("--quick", action="store_true", help="about a minute: shows that it runs, not who is faster")
    made.add_argument("--no-peers", action="store_true", help="measure this project alone")
    made.add_argument("--trl-python", default=str(BENCHMARKS.parent / ".peers/trl/bin/python"), metavar="PATH")
    made.add_argument("--vllm-python", default=str(BENCHMARKS.parent / ".peers/vllm/bin/python"), metavar="PATH")
    made.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores()}), help="tried on each side")
    made.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="tried on each side")
    made.add_argument("--repeats", type=int, default=3, help="measurements after the warm-up; the median counts")
    made.add_argument("--timeout-s", type=float, default=3600.0, metavar="S", help="of one side under one setting")
    return made


def choices(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The settings to try on each side; the likeliest alone with `--quick`."""
    if arguments.quick:
        return settings(arguments.dtypes[-1:], arguments.threads[-1:])
    return settings(arguments.dtypes, arguments.threads)


def trl(arguments: argparse.Namespace, name: str, module: str, **extra: Any) -> Side:
    """TRL as a side of a comparison."""
    return Side(name, module, arguments.trl_python, extra, REMEDY.format("trl"))


def vllm(arguments: argparse.Namespace, name: str, module: str) -> Side:
    """vLLM as a side of a comparison."""
    return Side(name, module, arguments.vllm_python, {}, REMEDY.format("vllm"))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Where and when: processor, memory, versions, commit, date."""
    return {
        "cpu": processor_name(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),  # at the start; above about 0.3 the figures are worth little
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@dataclass(frozen=True, slots=True)
class Results:
    """One benchmark's outcome. `ours` and `peers[name]` map a point's name to its figures, `rate` among them."""

    benchmark: str
    ours: Mapping[str, Figures]
    peers: Mapping[str, Mapping[str, Figures]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    machine: Figures = field(default_factory=machine)
    quick: bool = False

    @property
    def ratios(self) -> dict[str, float]:
        """How many times faster we are, by "PEER: POINT", where both sides have a figure."""
        return {
            f"{peer}: {point}": self.ours[point]["rate"] / figures["rate"]
            for peer, points in self.peers.items()
            for point, figures in points.items()
            if point in self.ours and figures["rate"]
        }

    @staticmethod
    def joined(benchmark: str, where: Figures, parts: Sequence[Results]) -> Results:
        """Several results as one; their points have different names, and a side's faults are told once each."""
        peers: dict[str, dict[str, Figures]] = {}
        for part in parts:
            for name, points in part.peers.items():
                peers.setdefault(name, {}).update(points)
        ours = {name: figures for part in parts for name, figures in part.ours.items()}
        told: dict[str, list[str]] = {}
        for part in parts:
            for name, why in part.missing.items():
                told.setdefault(name, []).append(why)
        missing = {name: "; ".join(dict.fromkeys(reasons)) for name, reasons in told.items()}
        return Results(benchmark, ours, peers, missing, where, parts[0].quick)

    def as_json(self) -> str:
        """One object on one line."""
        return json.dumps(
            {
                "benchmark": self.benchmark, "quick": self.quick, "machine": dict(self.machine), "ratios": self.ratios,
                "ours": self.ours, "peers": self.peers, "missing": self.missing,
            }
        )  # fmt: skip

    def table(self, cell: Callable[[Figures], str]) -> str:
        """A row for each point: what we reach, what each peer reaches, and the ratio."""
        ratios = self.ratios
        header = ["", "aha", *(title for peer in self.peers for title in (peer, "ratio"))]
        rows = []
        for point in {name: None for points in (self.ours, *self.peers.values()) for name in points}:
            row = [point, _cell(self.ours, point, cell)]
            for peer, points in self.peers.items():
                ratio = ratios.get(f"{peer}: {point}")
                row += [_cell(points, point, cell), "" if ratio is None else f"{ratio:.2f} x"]
            rows.append(row)
        return markdown(header, rows)

    def footer(self) -> str:
        """What is missing, and where and when it was measured."""
        lines = [f"{name} has no (or not every) figure: {reason}" for name, reason in self.missing.items()]
        if self.quick:
            lines.append("Quick run: it shows that the benchmark works, not who is faster.")
        lines.append(", ".join(f"{key} {value}" for key, value in self.machine.items()))
        return "\n\n".join(lines)


def compare(
    benchmark: str, ours: Side, peers: Sequence[Side], job: Mapping[str, Any], arguments: argparse.Namespace
) -> Results:
    """Measure the job's points on every side, one process after the other, each side under its best setting."""
    where = machine()
    found, missing = {}, {}
    for side in [ours, *([] if arguments.no_peers else peers)]:
        found[side.name], faults = fastest(side, job, choices(arguments), arguments.timeout_s)
        if faults:
            missing[side.name] = "; ".join(f"{label}: {why}" if label else why for label, why in faults.items())
    return Results(benchmark, found.pop(ours.name), found, missing, where, arguments.quick)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tuned(text: str, figures: Figures) -> str:
    """`text` with the setting that it was reached under."""
    return f"{text} ({figures['dtype']}, {figures['threads']} thread{'s' * (figures['threads'] > 1)})"


def _cell(points: Mapping[str, Figures], point: str, cell: Callable[[Figures], str]) -> str:
    return tuned(cell(points[point]), points[point]) if point in points else "none"


def _commit() -> str:
    """The commit of this checkout, with a + where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
