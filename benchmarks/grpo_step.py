"""One whole GRPO step (sample, score, learn, publish), against TRL's GRPOTrainer.

    python benchmarks/grpo_step.py [--models tiny 25m] [--json] [--quick]

Both sides: the same model, questions, graders, sampling (temperature 1, whole distribution), learning rate and loss (no
KL term, the mean over all tokens), one update a step; the first step warms up and does not count, then the median. The
tiny base stops where it has learned to. The random model stops by chance, after 40 tokens on average, and half of its
completions score, by a checksum. Lengths of both sides are printed. Groups without a signal are part of the step.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from aha.models.loading import resolve
from peers.models import SHAPES, random_model
from peers.start import Side
from results import Figures, compare, parser, trl

OURS = Side("aha", "peers.ours_step")
TINY = "tiny"
MEAN_LENGTH = 40


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--models", nargs="+", choices=[TINY, *SHAPES], default=[TINY, "25m"])
    made.add_argument("--questions", type=int, default=32)
    made.add_argument("--group", type=int, default=16)
    made.add_argument("--max-tokens", type=int, default=256)
    made.add_argument("--micro-batch-tokens", type=int, default=4096, help="ours: tokens of one micro-batch")
    made.add_argument("--trl-rows", type=int, default=64, help="TRL: rows of one micro-batch")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = compare("grpo_step", OURS, sides(arguments), job(arguments, Path(folder)), arguments)
    print(results.as_json() if arguments.json else f"{results.table(cell)}\n\n{results.footer()}")


def sides(arguments: Namespace) -> list[Side]:
    """TRL with each of its ways to sample that work without a server."""
    return [
        trl(arguments, "trl generate", "peers.trl_step", continuous=False),
        trl(arguments, "trl continuous batching", "peers.trl_step", continuous=True),
    ]


def job(arguments: Namespace, folder: Path) -> dict[str, Any]:
    """What each side is to measure; random models are written to `folder`."""
    quick = arguments.quick
    questions, group = (4, 4) if quick else (arguments.questions, arguments.group)
    points = [
        {
            "name": f"{name}, {questions} x {group}",
            "model": resolve(name) if name == TINY else random_model(folder / name, name, mean_length=MEAN_LENGTH),
            "questions": questions,
            "group": group,
            "max_tokens": 64 if quick else arguments.max_tokens,
            "rewards": "rules" if name == TINY else "parity",
        }
        for name in (arguments.models[:1] if quick else arguments.models)
    ]
    return {
        "points": points,
        "repeats": 1 if quick else arguments.repeats,
        "budget_s": 20 if quick else 600,
        "micro_batch_tokens": arguments.micro_batch_tokens,
        "rows": min(arguments.trl_rows, questions * group),
    }


def cell(figures: Figures) -> str:
    """Seconds of a step, with the lengths that it sampled."""
    return f"{figures['step_s']:.2f} s at {figures['mean_length']:.0f} tokens, longest {figures['longest']}"


if __name__ == "__main__":
    main()
