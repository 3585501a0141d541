"""The collecting stage: a model's samples that pass -> conversations (`data.jsonl`) and their table by domain.

Work goes on in parts of `PART` questions, each written whole, so that a broken stage goes on after its last part. What
is drawn follows from the seed and the question alone.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.config import CollectStage
from aha.engines.native.engine import NativeEngine
from aha.errors import Stopped, UserError
from aha.evaluation.grading import graded
from aha.models.dialogue import Dialogue
from aha.models.loading import load
from aha.pipeline import review, ways
from aha.pipeline.context import Context, dialogue_of, engine_of, task_of
from aha.pipeline.conversations import Conversation, read, write
from aha.pipeline.refine import refiner
from aha.pipeline.run_folder import write_text
from aha.pipeline.selection import Rules, select, table_of
from aha.protocols import Writes
from aha.rewards.compose import find
from aha.seeds import seed_of
from aha.tasks.decontaminate import grams_of_tests
from aha.tasks.mixture import Mixture
from aha.types import Problem, Prompt, Sampling, StepMetrics

PART = 64  # questions
LONGEST = 32  # examples, of which a few-shot prompt has one


@dataclass(frozen=True, slots=True)
class Collecting:
    """What the parts of a stage share."""

    context: Context
    stage: CollectStage
    engine: NativeEngine
    dialogue: Dialogue
    rules: Rules
    examples: tuple[Conversation, ...]


def run_collect(context: Context, stage: CollectStage) -> dict[str, Any]:
    """Sample, keep what passes, write it; goes on after the last part that is there. Returns the stage's result."""
    for name in stage.least:
        find(name)
    ways.check(stage.ways)
    loaded = load(context.start, context.runtime.device)
    tasks = context.task.tasks if isinstance(context.task, Mixture) else (context.task,)
    rules = Rules(stage.least, stage.keep, refiner(stage.refine), grams_of_tests(tasks, stage.decontaminate))
    dialogue = dialogue_of(loaded, context.recipe.template)
    engine = engine_of(loaded, context.runtime, stage.slots)
    collecting = Collecting(context, stage, engine, dialogue, rules, _examples(context, stage))
    parts = -(-stage.questions // PART)
    context.folder.set_state(planned_steps=parts)
    files = [context.folder.path / "parts" / f"part-{number:05d}.json" for number in range(1, parts + 1)]
    done = next((i for i, file in enumerate(files) if not file.exists()), parts)
    context.folder.rewind(done)
    context.observer.stage(context.folder.name, done, parts)
    noted = context.folder.steps()
    for number, file in enumerate(files):
        if number >= done:
            write_part(collecting, number, file)
        if number >= noted:
            metrics = StepMetrics(number + 1, _read(file)["values"])
            context.folder.append(metrics)
            context.observer.step(metrics)
        context.alive()
        if context.stop.asked and number + 1 < parts:
            raise Stopped(f"part {number + 1} is saved")
    return _finish(collecting, [_read(file) for file in files])


def write_part(collecting: Collecting, number: int, file: Path) -> None:
    """Sample and select part `number` (from 0), and write it with its counts."""
    began = time.perf_counter()
    stage = collecting.stage
    places = range(number * PART, min(stage.questions, (number + 1) * PART))
    kept, dropped = _sampled(collecting, [stage.first_question + place for place in places])
    samples = len(places) * stage.samples
    values = {
        "asked": float(len(places)),
        "kept": float(len(kept)),
        "questions_kept": float(len({c.id.rpartition("-")[0] for c in kept})),
        **{f"dropped/{reason}": float(count) for reason, count in sorted(dropped.items())},
        "time/step_s": time.perf_counter() - began,
    }
    assert len(kept) + dropped.total() == samples, "every sample is kept or dropped for a reason"
    file.parent.mkdir(exist_ok=True)
    write_text(file, json.dumps({"values": values, "rows": [c.as_row() for c in kept]}, ensure_ascii=False))


def _sampled(collecting: Collecting, indices: Sequence[int]) -> tuple[list[Conversation], Counter[str]]:
    context, stage = collecting.context, collecting.stage
    problems = [context.task.problem("train", index) for index in indices]
    put = [_put(collecting, index, problem) for index, problem in zip(indices, problems, strict=True)]
    prompts = [
        Prompt(collecting.dialogue.prompt(problem), stage.samples, seed_of("collect", context.recipe.seed, problem.id))
        for problem in put
    ]
    sampling = Sampling(stage.max_tokens, stage.temperature, stage.top_k, stage.top_p)
    finished = collecting.engine.stream(prompts, sampling)
    pairs = graded(
        finished, problems, prompts, collecting.dialogue, context.task, lambda _: stage.least, stage.reward_threads
    )
    kept: list[Conversation] = []
    dropped: Counter[str] = Counter()
    for problem, own in zip(problems, pairs, strict=True):
        found, others = select(problem, own, collecting.rules)
        kept += found
        dropped += others
    return kept, dropped


def _put(collecting: Collecting, index: int, problem: Problem) -> Problem:
    """The problem in the way that is drawn for it."""
    stage = collecting.stage
    rng = random.Random(f"way {collecting.context.recipe.seed} {index}")
    name = rng.choices(list(stage.ways), weights=list(stage.ways.values()))[0]
    fitting = [c for c in collecting.examples if c.task in ("", problem.task) and c.language == problem.language]
    return ways.WAYS[name](problem, rng.sample(fitting[:LONGEST], min(1, len(fitting))))


def _examples(context: Context, stage: CollectStage) -> tuple[Conversation, ...]:
    """All examples of few-shot prompts, those with the longest responses first."""
    rows = [c for name in stage.examples for c in read(Path(context.data[name]))]
    return tuple(sorted(rows, key=lambda c: (-len(c.response), c.id)))


def _finish(collecting: Collecting, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put parts, written conversations and files together, let a person look at them, and write the table."""
    context, stage = collecting.context, collecting.stage
    folder = context.folder.path
    rows = [Conversation.of_row(row) for part in parts for row in part["rows"]]
    rows += [c for task, count in stage.written.items() for c in _written(context, task, count)]
    rows += [c for file in stage.also for c in read(Path(file))]
    if not rows:
        raise UserError(f"stage {context.folder.name!r} kept none of its samples; lower `least`, or ask more questions")
    if stage.review:
        rows = review.reviewed(folder, rows)
    write(folder / "data.jsonl", rows)
    table = table_of(rows)
    context.folder.write_json("table.json", table)
    asked = sum(part["values"]["asked"] for part in parts)
    kept = sum(part["values"]["questions_kept"] for part in parts)
    return {"conversations": len(rows), "asked": int(asked), "questions_kept": kept / asked, "table": table}


def _written(context: Context, name: str, count: int) -> Iterator[Conversation]:
    """Conversations whose response the task writes itself."""
    task = task_of(context.recipe, name)
    if not isinstance(task, Writes):
        raise UserError(f"task {name!r} writes no responses; name one that does under `written`, such as 'requests'")
    for index in range(count):
        problem = task.problem("train", index)
        yield Conversation(f"{problem.id}-w", problem.task, problem.messages, task.response(problem), problem.language)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))
