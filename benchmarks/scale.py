"""How the time of a whole GRPO step grows with group size, length, questions and model size; 1 thread and all.

    python benchmarks/scale.py [--json] [--quick]

One thing at a time changes from 8 questions x 8 samples of exactly 128 tokens by a random model of 2 M parameters,
which never stops by itself; each row is the best dtype for its threads. A group of one has no advantage, so its step
samples and learns nothing. `growth` is seconds a token over those of the first row of the same table.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from peers.models import random_model
from peers.start import Side, fastest, settings
from results import Figures, Results, choices, machine, markdown, parser

OURS = Side("aha", "peers.ours_step")
BASE = {"questions": 8, "group": 8, "length": 128, "model": "2m"}
AXES: dict[str, tuple[Any, ...]] = {
    "group": (1, 2, 4, 8, 16, 32, 64),
    "length": (128, 256, 512, 1024, 2048, 4096),
    "questions": (1, 4, 8, 16, 32, 64),
    "model": ("0.1m", "2m", "8m", "25m", "75m"),
}
QUICK_BASE = {"questions": 2, "group": 2, "length": 16, "model": "0.1m"}
QUICK_AXES: dict[str, tuple[Any, ...]] = {"group": (1, 2, 4), "length": (16, 32)}


def main() -> None:
    """Measure and print, a table for each axis."""
    made = parser(__doc__ or "")
    made.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    made.add_argument("--micro-batch-tokens", type=int, default=2048)
    arguments = made.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        asked = job(arguments, Path(folder))
        found, missing = measured(asked, arguments)
    results = Results("scale", found, {}, missing, where, arguments.quick)
    print(results.as_json() if arguments.json else f"{tables(results, arguments)}\n\n{results.footer()}")


def points(arguments: Namespace, folder: Path) -> list[dict[str, Any]]:
    """Every value of every axis, named "AXIS VALUE"."""
    base, axes = (QUICK_BASE, QUICK_AXES) if arguments.quick else (BASE, AXES)
    chosen = {axis: values for axis, values in axes.items() if axis in arguments.axes}
    names = {base["model"], *chosen.get("model", ())}
    folders = {name: random_model(folder / str(name), str(name)) for name in sorted(map(str, names))}
    found = []
    for axis, values in chosen.items():
        for value in values:
            at = {**base, axis: value}
            found.append(
                {
                    "name": f"{axis} {value}", "model": folders[str(at["model"])], "questions": at["questions"],
                    "group": at["group"], "max_tokens": at["length"], "rewards": "parity",
                }
            )  # fmt: skip
    return found


def job(arguments: Namespace, folder: Path) -> dict[str, Any]:
    """All points, in one process for each setting."""
    return {
        "points": points(arguments, folder),
        "repeats": 1 if arguments.quick else arguments.repeats,
        "budget_s": 5 if arguments.quick else 120,
        "micro_batch_tokens": arguments.micro_batch_tokens,
    }


def measured(asked: dict[str, Any], arguments: Namespace) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Figures of each point and number of threads, with `growth` along its axis."""
    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for threads in sorted({choice["threads"] for choice in choices(arguments)}):
        dtypes = arguments.dtypes[-1:] if arguments.quick else arguments.dtypes
        best, faults = fastest(OURS, asked, settings(dtypes, [threads]), arguments.timeout_s)
        first: dict[str, float] = {}
        for point in asked["points"]:
            if point["name"] in best:
                figures = best[point["name"]]
                cost = figures["step_s"] / (point["questions"] * point["group"] * figures["mean_length"])
                axis = point["name"].split()[0]
                growth = cost / first.setdefault(axis, cost)
                found[f"{point['name']}, threads {threads}"] = {**figures, "token_s": cost, "growth": growth}
        missing |= {f"aha, {label}": why for label, why in faults.items()}
    return found, missing


def tables(results: Results, arguments: Namespace) -> str:
    """A table for each axis: seconds of a step, its sampling and learning, microseconds a token, growth."""
    parts = []
    for axis in arguments.axes:
        rows = [row(name, figures) for name, figures in results.ours.items() if name.split()[0] == axis]
        if rows:
            parts.append(markdown([axis, "step", "rollout", "learn", "a token", "growth", "dtype"], rows))
    return "\n\n".join(parts)


def row(name: str, figures: Figures) -> list[str]:
    """One line of an axis's table."""
    seconds = [f"{figures[f'{phase}_s']:.2f} s" for phase in ("step", "rollout", "learn")]
    return [name, *seconds, f"{1e6 * figures['token_s']:.1f} us", f"{figures['growth']:.2f} x", figures["dtype"]]


if __name__ == "__main__":
    main()
