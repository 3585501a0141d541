"""The four benchmarks on one GPU in bfloat16, with random models of Qwen2.5's sizes, and the shares of two limits.

    python benchmarks/gpu.py [--json] [--quick]
    python benchmarks/gpu.py --dry-run          # the same path on the CPU with a tiny model: it shows that it works

Sampling is against `generate` and `generate_batch`, learning and whole steps against TRL. No row stops by itself, so
all sides draw the same lengths. Decoding is shown as a share of the measured memory bandwidth: bytes that a step has to
read (weights, keys and values) at the rate at which rows get tokens after their first. Learning is shown as a share of
the measured rate of square bfloat16 matrix products, of the operations that it needs.
"""

from __future__ import annotations

import random
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import grpo_step
import learn
import rollout
import scale
from peers.models import SHAPES, Shape, random_model
from peers.start import Side
from results import Figures, Results, compare, cores, machine, parser

MODELS = ("qwen2.5-0.5b", "qwen2.5-1.5b")
DRY = Shape("qwen2", 64, 128, 2, 2, 1, 32, tied=True)
Part = tuple[str, Side, list[Side], dict[str, Any]]


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--dry-run", action="store_true", help="on the CPU, with a tiny model")
    made.add_argument("--models", nargs="+", choices=[n for n in SHAPES if n.startswith("qwen")], default=MODELS)
    made.add_argument("--micro-batch-tokens", type=int, default=16_384, help="ours: tokens of one micro-batch")
    made.add_argument("--rows", type=int, default=16, help="peers: rows of one micro-batch")
    made.set_defaults(dtypes=["bfloat16"], threads=[cores()])
    arguments = made.parse_args()
    arguments.quick |= arguments.dry_run
    if not arguments.dry_run and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; --dry-run shows on the CPU that the script works")
    where = {**machine(), "gpu": "none: a dry run" if arguments.dry_run else torch.cuda.get_device_name(0)}
    with tempfile.TemporaryDirectory() as folder:
        found = [compare(*part, arguments) for part in parts(arguments, Path(folder))]
    results = Results.joined("gpu", where, found)
    print(results.as_json() if arguments.json else "\n\n".join([*(p.table(cell) for p in found), results.footer()]))


def parts(arguments: Namespace, folder: Path) -> Iterator[Part]:
    """The four benchmarks of each model: ours, the peers, and what is to be measured."""
    small = arguments.quick
    common = {
        "device": "cpu" if arguments.dry_run else "cuda",
        "repeats": 1 if small else arguments.repeats,
        "budget_s": 5 if small else 120,
        "micro_batch_tokens": arguments.micro_batch_tokens,
        "rows": 4 if small else arguments.rows,
        "limits": True,
    }
    for name in ["dry"] if arguments.dry_run else arguments.models[: 1 if small else None]:
        shape = DRY if arguments.dry_run else SHAPES[name]
        model = random_model(folder / name, shape, dtype=torch.bfloat16)
        sampled = {**common, "model": model, "points": rollouts(name, shape.vocabulary, small)}
        yield "rollout", rollout.OURS, rollout.sides(arguments)[:2], sampled
        learned = {**common, "points": updates(name, model, small)}
        yield "learn", learn.OURS, learn.sides(arguments), learned
        yield "grpo_step", grpo_step.OURS, grpo_step.sides(arguments), {**common, "points": steps(name, model, small)}
        yield "scale", scale.OURS, [], {**common, "points": scales(name, model, small)}


def rollouts(name: str, vocabulary: int, small: bool) -> list[dict[str, Any]]:
    """Batches at a context of 512, and contexts at 64 rows; (rows, prompt length)."""
    cases = [(4, 16)] if small else [(1, 256), (16, 256), (64, 256), (256, 256), (64, 1792), (64, 3840)]
    drawn = 8 if small else 256
    rng = random.Random(0)
    found = []
    for rows, length in cases:
        group = min(rows, rollout.GROUP)
        prompts = [rollout.random_prompt(rng, vocabulary, length) for _ in range(rows // group)]
        label = f"{name}, rollout, {rows} rows, context {length + drawn}"
        found.append({"name": label, "prompts": prompts, "n": group, "max_tokens": drawn})
    return found


def updates(name: str, model: str, small: bool) -> list[dict[str, Any]]:
    """The mixes of lengths of the CPU's benchmark, and long rows."""
    mixes = dict(list(learn.mixes(512 if small else 4 * learn.TOKENS).items())[: 1 if small else None])
    if not small:
        mixes["rows of 2,048"] = [(256, 1792)] * 64
    return [{"name": f"{name}, learn, {mix}", "model": model, "lengths": rows} for mix, rows in mixes.items()]


def steps(name: str, model: str, small: bool) -> list[dict[str, Any]]:
    """One whole step."""
    questions, group, drawn = (2, 2, 8) if small else (32, 16, 256)
    return [step(f"{name}, step, {questions} x {group}, {drawn} tokens", model, questions, group, drawn)]


def scales(name: str, model: str, small: bool) -> list[dict[str, Any]]:
    """Steps of growing groups, lengths and numbers of questions; (questions, group, length)."""
    cases = [(2, 2, 8), (2, 4, 8)] if small else [
        *((8, group, 256) for group in (2, 8, 32, 64)),
        *((8, 8, length) for length in (512, 1024, 2048)),
        *((questions, 8, 256) for questions in (1, 32)),
    ]  # fmt: skip
    return [step(f"{name}, scale, {q} x {g}, {length} tokens", model, q, g, length) for q, g, length in cases]


def step(name: str, model: str, questions: int, group: int, drawn: int) -> dict[str, Any]:
    """One point of whole steps."""
    return {
        "name": name, "model": model, "questions": questions, "group": group, "max_tokens": drawn, "rewards": "parity",
    }  # fmt: skip


def cell(figures: Figures) -> str:
    """As the benchmark of the figures prints them, with the share of a limit."""
    if "step_s" in figures:
        return grpo_step.cell(figures)
    share = figures.get("bandwidth_share")
    return learn.cell(figures) + (f", {share:.0%} of the bandwidth" if share is not None else "")


if __name__ == "__main__":
    main()
