"""What rollout workers are worth and what they cost: sampling by 2 against 1, publishing to them, and a whole step.

    python benchmarks/workers.py [--launchers processes ray] [--parts limit sampling publishing steps] [--json]

Each worker has one thread. `sampling` is tokens a second of one call that is divided among them, of a random model that
ends by chance after 40 tokens on average; it needs as many free cores as workers. `limit` is what the machine allows:
engines in processes that have nothing to do with each other, one of them and as many at once. `publishing` is of a
random Qwen3 model: seconds until its weights lie where workers read them, until a worker has them, and both. `step` is
the median of whole steps (sample, grade, learn, publish) with one worker and as many threads as the same run has in one
process, over the time of which `cost` is what it takes more.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from aha.choices import WorkersChoice
from aha.config import Recipe, override
from aha.distributed.ray.launcher import Actors
from aha.distributed.rollout.books import Books
from aha.distributed.rollout.channel import Kind, Launcher, Setup
from aha.distributed.rollout.engine import PoolEngine
from aha.distributed.rollout.local import Processes
from aha.distributed.rollout.pool import Pool
from aha.engines.native.engine import NativeEngine
from aha.models.loading import load
from aha.pipeline.context import dialogue_of, task_of
from aha.pipeline.observer import Silent
from aha.pipeline.recipes import recipe
from aha.pipeline.run import run
from aha.pipeline.workers import kit_of
from aha.seeds import seed_of
from aha.types import Prompt, Sampling, StepMetrics
from peers.models import random_model
from peers.questions import REWARDS
from results import Figures, Results, machine, markdown, parser

STAGE = "zero"
START_S = 120.0  # for processes to be there


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "")
    made.add_argument("--launchers", nargs="+", choices=("processes", "ray"), default=["processes"])
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    made.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    made.add_argument("--model", default="25m", help="of publishing and steps; 0.1m with --quick")
    made.add_argument("--steps", type=int, default=6, help="of each run; the first does not count")
    arguments = made.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Figures] = {}
        for part in arguments.parts:
            found |= dict(PARTS[part](arguments, Path(folder)))
    results = Results("workers", found, {}, {}, where, arguments.quick)
    print(results.as_json() if arguments.json else f"{table(found)}\n\n{results.footer()}")


def recipe_of(folder: Path, shape: str, mean: float | None, *settings: str) -> Recipe:
    """A run of a random model that ends by chance after `mean` tokens, or never."""
    name = f"{shape}-{mean}"
    if not (folder / name).exists():
        random_model(folder / name, shape, mean_length=mean)
    return override(recipe(STAGE), [f"model={folder / name}", "dtype=float32", *settings])


@contextlib.contextmanager
def pool_of(launcher: str, made: Recipe, count: int) -> Iterator[tuple[Pool, PoolEngine]]:
    """`count` workers of one thread, that are there."""
    choice = WorkersChoice(rollout=count, threads=1)
    counts: dict[Kind, int] = {"rollout": count, "reward": 0}
    setup = Setup("rollout", made.model_dump_json(), STAGE, made.model, "cpu", "float32", 1, kit_of)
    starts: Launcher = Actors(made, "benchmark") if launcher == "ray" else Processes()
    with Pool(starts, {"rollout": setup}, choice, lambda: counts, Books(), slots=512) as pool:
        engine = PoolEngine(pool)
        engine.publish(dict(load(made.model).model.state_dict()), 0)
        pool.settle()
        pool.until(functools.partial(holds, pool, 0))
        yield pool, engine


def limit(arguments: Namespace, folder: Path) -> Iterator[tuple[str, Figures]]:
    """Tokens a second of engines that share nothing but the machine, for some seconds at once."""
    made = recipe_of(folder, "0.1m" if arguments.quick else "2m", 40.0, "threads=1")
    context = multiprocessing.get_context("spawn")
    alone = 0.0
    for count in arguments.workers:
        start, rates = context.Barrier(count), context.SimpleQueue()
        given = (made.model_dump_json(), 1.0 if arguments.quick else 3.0 * arguments.repeats, start, rates)
        processes = [context.Process(target=drawing, args=given, daemon=True) for _ in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(arguments.timeout_s)
        rate = sum(rates.get() for _ in processes if not rates.empty())
        alone = alone or rate
        yield f"limit: engines {count}", {"rate": rate, "over one": rate / alone}


def drawing(recipe_json: str, seconds: float, start: Barrier, rates: SimpleQueue[float]) -> None:
    """One of them."""
    torch.set_num_threads(1)
    made = Recipe.model_validate_json(recipe_json)
    loaded = load(made.model)
    engine = NativeEngine(loaded.model, loaded.eos_ids, dtype=torch.float32, context=loaded.context)
    prompts = prompts_of(made, 8, 16)
    engine.generate(prompts, Sampling(256))
    start.wait(START_S)
    tokens, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        tokens += sum(len(c.ids) for own in engine.generate(prompts, Sampling(256)) for c in own)
    rates.put(tokens / (time.perf_counter() - began))


def prompts_of(made: Recipe, questions: int, group: int) -> list[Prompt]:
    """The first questions of a recipe's task."""
    task, dialogue = task_of(made), dialogue_of(load(made.model), made.template)
    return [Prompt(dialogue.prompt(task.problem("train", i)), group, seed_of("benchmark", i)) for i in range(questions)]


def sampling(arguments: Namespace, folder: Path) -> Iterator[tuple[str, Figures]]:
    """Tokens a second of one call, by the number of workers."""
    questions, group = (4, 4) if arguments.quick else (32, 16)
    made = recipe_of(folder, "0.1m" if arguments.quick else "2m", 40.0, "threads=1")
    prompts = prompts_of(made, questions, group)
    first: dict[str, float] = {}
    for launcher, count in itertools.product(arguments.launchers, arguments.workers):
        with pool_of(launcher, made, count) as (_, engine):
            rates = []
            for _ in range(1 + arguments.repeats):
                began = time.perf_counter()
                tokens = sum(len(c.ids) for own in engine.generate(prompts, Sampling(256)) for c in own)
                rates.append(tokens / (time.perf_counter() - began))
        rate = statistics.median(rates[1:])
        over = rate / first.setdefault(launcher, rate)
        yield f"{launcher}: sampling, workers {count}", {"rate": rate, "over one": over, "tokens": tokens}


def publishing(arguments: Namespace, folder: Path) -> Iterator[tuple[str, Figures]]:
    """Seconds from the call until one worker holds the weights."""
    shape = "0.1m" if arguments.quick else arguments.model
    made = recipe_of(folder, shape, None, "threads=1")
    weights = dict(load(made.model).model.state_dict())
    numbers = sum(tensor.numel() for tensor in weights.values())
    for launcher in arguments.launchers:
        seconds: dict[str, list[float]] = {"call_s": [], "load_s": [], "held_s": []}
        with pool_of(launcher, made, 1) as (pool, engine):
            for version in range(1, 2 + 3 * arguments.repeats):
                weights = {name: tensor + 1e-4 for name, tensor in weights.items()}
                began = time.perf_counter()
                engine.publish(weights, version)
                seconds["call_s"].append(time.perf_counter() - began)
                pool.until(functools.partial(holds, pool, version))
                seconds["held_s"].append(time.perf_counter() - began)
                seconds["load_s"].append(pool.figures()["workers/load_s"])
        medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        yield f"{launcher}: publishing {shape}", {"numbers": numbers, **medians}


def holds(pool: Pool, version: int) -> bool | None:
    """Whether every worker has these weights, or newer ones."""
    return pool.held() >= version or None


class Timed(Silent):
    """Keeps what each step took."""

    def __init__(self) -> None:
        self.steps: list[StepMetrics] = []

    def step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)


def steps(arguments: Namespace, folder: Path) -> Iterator[tuple[str, Figures]]:
    """Whole steps in one process, and with a worker of each launcher."""
    shape, questions, group, tokens = ("0.1m", 2, 4, 16) if arguments.quick else (arguments.model, 8, 8, 64)
    settings = [
        f"steps={3 if arguments.quick else arguments.steps}", f"rollouts.questions={questions}",
        f"rollouts.group={group}", f"rollouts.max_tokens={tokens}", "evaluation.problems=1", "evaluation.samples=1",
        f"threads={max(arguments.threads)}", "optimiser.lr=1e-6", "checkpoint_every=1000",
        "rewards={" + ", ".join(f'"{name}": {weight}' for name, weight in REWARDS["parity"].items()) + "}",
    ]  # fmt: skip
    alone = 0.0
    for launcher in ("here", *arguments.launchers):
        watched = Timed()
        run(recipe_of(folder, shape, None, *settings, f"launcher={launcher}"), folder / f"run-{launcher}", watched)
        lines = [step.values for step in watched.steps[1:]]
        middle = {
            name: statistics.median(line[f"time/{name}_s"] for line in lines)
            for name in ("step", "rollout", "learn", "publish")
        }
        alone = alone or middle["step"]
        figures: dict[str, Any] = {f"{name}_s": value for name, value in middle.items()}
        yield f"{launcher}: step {shape}", {**figures, "cost": middle["step"] / alone - 1}


PARTS = {"limit": limit, "sampling": sampling, "publishing": publishing, "steps": steps}


def table(found: dict[str, Figures]) -> str:
    """A row for each point."""
    rows = []
    for name, figures in found.items():
        shown = [f"{key} {value:.3g}" for key, value in figures.items()]
        rows.append([name, ", ".join(shown)])
    return markdown(["", "figures"], rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
