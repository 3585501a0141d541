"""Every algorithm on the embedded base model: pass@1 before and after the same few minutes, over several seeds.

    python benchmarks/algorithms.py [--seeds 0 1 2] [--names grpo dapo] [--out runs/algorithms] [--picture FILE.png]

Each run is the recipe `demo` with fewer steps and another row of the table of algorithms, at its paper's setting but
for what a model of 2 M parameters needs: one learning rate for all, and one for PPO's critic. Runs that are done are
not made again. Prints a table with machine, commit and date, and draws the curves.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from aha.algorithms.table import ALGORITHMS
from aha.config import Recipe, override
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run
from results import markdown

CRITIC = ["algorithm.options.critic_lr=1e-3"]
ROWS: dict[str, list[str]] = {
    **{name: [f"algorithm.name={name}", *(CRITIC if row.critic else [])] for name, row in ALGORITHMS.items()},
    "ppo, lambda 0.95": ["algorithm.name=ppo", *CRITIC, "algorithm.options.gae_lambda=0.95"],
}
ASKED = 0.20  # of pass@1, within
LONGEST_S = 180.0
COLUMNS = 5  # of the picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: figures before and after, seconds of training, and pass@1 by second of training."""

    before: dict[str, Any]
    after: dict[str, Any]
    seconds: float
    curve: list[tuple[float, float]]

    @property
    def lift(self) -> float:
        return float(self.after["pass@1"] - self.before["pass@1"])


def made(name: str, seed: int, steps: int) -> Recipe:
    """The recipe of one run."""
    settings = [f"seed={seed}", f"steps={steps}", "keep_rollouts=false"]
    return override(recipe("demo"), [*settings, "evaluation.problems=125", "evaluation.every=4", *ROWS[name]])


def outcome(folder: Path) -> Outcome:
    """What a finished run left."""
    stage = folder / "stages/01-zero"
    evaluation = json.loads((stage / "evaluation.json").read_text())
    lines = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    seconds = list(itertools.accumulate(line["time/step_s"] for line in lines))
    curve = [(0.0, evaluation["before"]["pass@1"])]
    curve += [(s, line["eval/pass@1"]) for s, line in zip(seconds, lines, strict=True) if "eval/pass@1" in line]
    curve.append((seconds[-1], evaluation["after"]["pass@1"]))
    return Outcome(evaluation["before"], evaluation["after"], seconds[-1], curve)


def line(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table."""
    return [
        f"`{name}`",
        f"{statistics.mean(o.before['pass@1'] for o in outcomes):.1%}",
        " / ".join(f"{o.after['pass@1']:.1%}" for o in outcomes),
        f"{100 * min(o.lift for o in outcomes):+.0f}",
        f"{max(o.seconds for o in outcomes):.0f} s",
        f"{statistics.mean(o.after['format'] for o in outcomes):.1%}",
        f"{statistics.mean(o.after['mean_length'] for o in outcomes):.0f}",
        "yes" if all(o.lift >= ASKED and o.seconds <= LONGEST_S for o in outcomes) else "no",
    ]


def draw(found: dict[str, list[Outcome]], file: Path) -> None:
    """A small plot for each algorithm, a line for each seed."""
    rows = -(-len(found) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(12, 2.5 * rows), sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, (name, outcomes) in zip(axes.flat, found.items(), strict=False):
        for one in outcomes:
            axis.plot(*zip(*one.curve, strict=True), color="#2563eb", alpha=0.7, linewidth=1.2)
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_ylim(0, 1)
        axis.grid(color="#e5e7eb", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("seconds of training, 2 cores", fontsize=9)
    figure.supylabel("pass@1", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--names", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    found: dict[str, list[Outcome]] = {name: [] for name in arguments.names}
    for seed, name in itertools.product(arguments.seeds, arguments.names):
        folder = arguments.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
        run(made(name, seed, arguments.steps), folder)
        found[name].append(outcome(folder))
        print(f"{name}, seed {seed}: {100 * found[name][-1].lift:+.0f} in {found[name][-1].seconds:.0f} s", flush=True)
    headings = ["algorithm", "before", "after, by seed", "least gain", "longest", "format", "tokens", "asked"]
    print("\n" + markdown(headings, [line(name, outcomes) for name, outcomes in found.items()]))
    machine = json.loads((folder / "run.json").read_text())
    commit = json.loads((folder / "stages/01-zero/stage.json").read_text())["commit"]
    about = {key: machine[key] for key in ("cpu", "threads", "dtype", "torch", "started")}
    print(json.dumps({**about, "commit": commit}))
    if arguments.picture:
        draw(found, arguments.picture)


if __name__ == "__main__":
    main()
