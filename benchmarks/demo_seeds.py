"""The demo's claims over several seeds: one row a seed, before and after, with the thresholds that they must pass.

    python benchmarks/demo_seeds.py --seeds 0 1 2 [--out runs/seeds] [--json]

Runs `aha run demo` for each seed (or resumes it), and prints machine, commit and date with the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aha.config import override
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run

CLAIMS = {
    "pass@1": lambda b, a: a["pass@1"] >= 0.85,
    "format": lambda b, a: a["format"] >= 0.99,
    "length ratio": lambda b, a: a["mean_length"] >= 2.5 * b["mean_length"],
    "reflection ratio": lambda b, a: a["reflection_words"] >= 3 * b["reflection_words"],
    "cons@16 above pass@1": lambda b, a: a["cons@k"] > a["pass@1"],
    "arithmetic": lambda b, a: a["arithmetic_right"] >= 0.98,
    "minutes of training": lambda b, a: a["train_s"] <= 300,
}


def one(seed: int, out: Path) -> dict[str, Any]:
    """Figures before and after for one seed, and which claims hold."""
    folder = out / f"seed{seed}"
    result = run(override(recipe("demo"), [f"seed={seed}"]), folder)
    evaluation = json.loads((folder / "stages/01-zero/evaluation.json").read_text())
    before, after = evaluation["before"], {**evaluation["after"], "train_s": result["train_s"]}
    machine = json.loads((folder / "run.json").read_text())
    return {
        "seed": seed,
        "before": before,
        "after": after,
        "holds": {name: bool(claim(before, after)) for name, claim in CLAIMS.items()},
        "machine": {key: machine[key] for key in ("cpu", "threads", "dtype", "torch", "commit", "started")},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [one(seed, arguments.out) for seed in arguments.seeds]
    if arguments.json:
        print(json.dumps(rows))
        return
    print("| seed | pass@1 | format | length | reflection words | cons@16 | arithmetic | training | holds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        b, a = row["before"], row["after"]
        failed = [name for name, holds in row["holds"].items() if not holds]
        print(
            f"| {row['seed']} | {b['pass@1']:.1%} -> {a['pass@1']:.1%} | {b['format']:.1%} -> {a['format']:.1%} "
            f"| {b['mean_length']:.0f} -> {a['mean_length']:.0f} "
            f"| {b['reflection_words']:.2f} -> {a['reflection_words']:.2f} | {b['cons@k']:.1%} -> {a['cons@k']:.1%} "
            f"| {b['arithmetic_right']:.1%} -> {a['arithmetic_right']:.1%} | {a['train_s']:.0f} s "
            f"| {'all' if not failed else 'not ' + ', '.join(failed)} |"
        )
    print(json.dumps(rows[0]["machine"]))


if __name__ == "__main__":
    main()
