"""The evaluations that a stage makes of itself, with a few samples to read."""

from __future__ import annotations

import time

from aha.config import EvaluationChoice
from aha.evaluation.evaluate import Evaluation, evaluate
from aha.evaluation.grading import Share
from aha.models.dialogue import Dialogue
from aha.pipeline.context import Context
from aha.pipeline.processes import share_of
from aha.pipeline.store import examples
from aha.protocols import Engine
from aha.types import Sampling

SAMPLES_SHOWN = 3


def evaluate_when(
    context: Context, engine: Engine, dialogue: Dialogue, choice: EvaluationChoice, sampling: Sampling, when: str,
    share: Share | None = None,
) -> Evaluation:  # fmt: skip
    """The evaluation `when` ("before" or "after") the stage: figures, samples and a line for who watches. By `share`
    processes divide it; in its place, as they divide other questions."""
    folder = context.folder
    context.observer.note(f"evaluating {when} training: {choice.problems} problems x {choice.samples} samples")
    began = time.perf_counter()
    result = evaluate(
        engine, dialogue, context.task, problems=choice.problems, samples=choice.samples, sampling=sampling,
        seed=context.recipe.seed, share=share or share_of(context, dialogue),
    )  # fmt: skip
    folder.write_json("samples.json", {**folder.read_json("samples.json"), when: examples(result, SAMPLES_SHOWN)})
    folder.write_json("evaluation.json", {**folder.evaluation(), when: result.figures})  # last: all is there
    context.observer.note(
        f"{when}: pass@1 {result.figures['pass@1']:.1%}, format {result.figures['format']:.1%}, "
        f"{result.figures['mean_length']:.0f} tokens a response ({time.perf_counter() - began:.0f} s)"
    )
    context.alive()
    return result
