"""Tokens a second of learning (forward, backward, step) and its peak memory, against TRL and a padded baseline.

    python benchmarks/learn.py [--models 2m 25m] [--json] [--quick]

Useful tokens count, prompts included, padding not. The same number of tokens is measured in rows of equal length, as a
tiny base writes them, and with a long tail. The share of the matrix products' rate is of the operations that learning
needs (nothing computed twice), over what square products reach in the same process, dtype and threads. Memory is the
peak of one update above what weights, gradients and optimiser take, each in a fresh process; its ratio is how many
times less we take. A peer whose logits could not fit into the machine's memory is not started.
"""

from __future__ import annotations

import dataclasses
import random
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.models import SHAPES, random_model
from peers.rows import tokens
from peers.start import Side, fastest
from results import Figures, Results, compare, machine, parser, trl

OURS = Side("aha", "peers.ours_learn")
PROMPT = 40
TOKENS = 32_768
VOCABULARIES = (1024, 32_768, 151_936)
MEMORY_ROWS, MEMORY_LENGTHS = 16, (256, 1024)
MEMORY_MODEL = "25m"
MEMORY_TOKENS = 1024  # ours: of one micro-batch where memory is measured, a row of the longest
COPIES = 3  # of float32 logits that a loss over whole rows keeps: logits, log-probs, gradient
SAFE_SHARE = 0.7  # of the machine's memory

Lengths = list[tuple[int, int]]


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--models", nargs="+", choices=SHAPES, default=["2m", "25m"])
    made.add_argument("--vocabularies", type=int, nargs="*", default=VOCABULARIES)
    made.add_argument("--micro-batch-tokens", type=int, default=4096, help="ours: tokens of one micro-batch")
    made.add_argument("--rows", type=int, default=16, help="peers: rows of one micro-batch")
    made.add_argument("--tokens", type=int, default=TOKENS, help="of one update, about; peers pad a long tail manifold")
    arguments = made.parse_args()
    peers = sides(arguments)
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        speed = compare("learn", OURS, peers, speed_job(arguments, Path(folder)), arguments)
        memory = memories(peers, arguments, Path(folder), SAFE_SHARE * where["memory_gb"])
    results = Results.joined("learn", where, [speed, memory])
    print(results.as_json() if arguments.json else f"{results.table(cell)}\n\n{results.footer()}")


def sides(arguments: Namespace) -> list[Side]:
    """TRL's loss path and the padded baseline."""
    return [trl(arguments, "trl", "peers.trl_learn"), Side("padded", "peers.padded_learn")]


def mixes(total: int) -> dict[str, Lengths]:
    """Rows of (prompt, completion) lengths that make about `total` tokens each: equal, natural and long-tailed."""
    rng = random.Random(0)
    draws = {
        "equal lengths": lambda: 88,
        "natural lengths": lambda: min(1 + int(rng.expovariate(1 / 40)), 256),
        "long tail": lambda: min(1 + int(rng.lognormvariate(3.5, 1.2)), 2000),
    }
    found: dict[str, Lengths] = {}
    for name, draw in draws.items():
        lengths: Lengths = []
        while tokens(lengths) < total or len(lengths) % 16:  # whole micro-batches, which TRL insists on
            lengths.append((PROMPT, draw()))
        found[name] = lengths
    return found


def speed_job(arguments: Namespace, folder: Path) -> dict[str, Any]:
    """Every model with every mix of lengths."""
    quick = arguments.quick
    models = arguments.models[:1] if quick else arguments.models
    folders = {name: random_model(folder / name, name) for name in models}
    points = [
        {"name": f"{model}, {mix}", "model": folders[model], "lengths": lengths}
        for model in models
        for mix, lengths in mixes(1024 if quick else arguments.tokens).items()
    ]
    return {**common(arguments), "points": points[: 2 if quick else None]}


def common(arguments: Namespace) -> dict[str, Any]:
    """What speed and memory share."""
    return {
        "repeats": 1 if arguments.quick else arguments.repeats,
        "budget_s": 5 if arguments.quick else 120,
        "micro_batch_tokens": arguments.micro_batch_tokens,
        "rows": arguments.rows,
    }


def memories(peers: Sequence[Side], arguments: Namespace, folder: Path, limit_gb: float) -> Results:
    """Peak memory for each vocabulary and length, each side and point in a process of its own, in float32 with all
    threads: the dtype in which all sides hold the same weights."""
    found: dict[str, dict[str, Figures]] = {}
    missing: dict[str, str] = {}
    choice = {"dtype": "float32", "threads": arguments.threads[-1]}
    for vocabulary in arguments.vocabularies[: 1 if arguments.quick else None]:
        shape = SHAPES["0.1m" if arguments.quick else MEMORY_MODEL]
        shape = dataclasses.replace(shape, vocabulary=vocabulary, tied=True)
        model = random_model(folder / f"v{vocabulary}", shape)
        for length in MEMORY_LENGTHS[: 1 if arguments.quick else None]:
            name = f"memory, vocabulary {vocabulary:,}, {MEMORY_ROWS} x {length:,}"
            point = {"name": name, "model": model, "lengths": [(8, length - 8)] * MEMORY_ROWS, "memory": True}
            for side in [OURS, *([] if arguments.no_peers else peers)]:
                needed = 4 * COPIES * min(arguments.rows, MEMORY_ROWS) * length * vocabulary / 2**30
                if side is not OURS and needed > limit_gb:
                    missing[f"{side.name}: {name}"] = f"its logits could take {needed:.0f} GiB; try --rows 1"
                    continue
                tokens_at_a_time = min(arguments.micro_batch_tokens, MEMORY_TOKENS)
                job = {**common(arguments), "points": [point], "micro_batch_tokens": tokens_at_a_time}
                best, faults = fastest(side, job, [choice], arguments.timeout_s)
                found.setdefault(side.name, {}).update(best)
                missing |= {f"{side.name}: {name}": why for why in faults.values()}
    return Results("learn", found.pop(OURS.name, {}), found, missing, quick=arguments.quick)


def cell(figures: Figures) -> str:
    """Tokens a second with the share of the matrix products' rate, or memory."""
    if "above_bytes" in figures:
        return f"{figures['above_bytes'] / 2**30:.2f} GiB above {figures['baseline_bytes'] / 2**30:.2f}"
    share = f", {figures['matmul_share']:.0%} of matmul" if "matmul_share" in figures else ""
    return f"{figures['tokens_per_s']:,.0f} tokens/s{share}"


if __name__ == "__main__":
    main()
