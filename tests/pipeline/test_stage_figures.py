"""What stages write for those who read a run: evaluations on the way, what a reward model says of each preference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha.choices import EvaluationChoice, OptimiserChoice
from aha.config import Recipe, RewardModelStage, SFTStage
from aha.pipeline.reward_stage import held_back
from aha.pipeline.run import run
from aha.studio.made import held_back as read_back
from aha.studio.read import read_run
from aha.types import Sample
from small_runs import KillAt, Killed, steady
from tiny_models import TinyFactory


def taught(model: Path, data: Path) -> Recipe:
    looks = EvaluationChoice(problems=2, samples=2, max_tokens=8, every=2, every_problems=3, every_samples=1)
    rows = [json.dumps({"prompt": f"{i}?", "response": "<think>a</think><answer>1</answer>"}) for i in range(10)]
    data.write_text("".join(row + "\n" for row in rows))
    stage = SFTStage(data=(str(data),), epochs=1, batch=2, evaluation=looks, optimiser=OptimiserChoice(lr=1e-3))
    return Recipe(name="taught", model=str(model), template="short", threads=1, stages={"sft": stage})


def test_supervised_stages_are_evaluated_on_the_way(tiny: TinyFactory, tmp_path: Path) -> None:
    recipe = taught(tiny("qwen3"), tmp_path / "rows.jsonl")
    run(recipe, tmp_path / "whole")
    lines = steady(tmp_path / "whole/stages/01-sft/metrics.jsonl")
    assert [line["step"] for line in lines if "eval/pass@1" in line] == [2, 4], "of 5; the last is evaluated anyway"
    assert all(0 <= line["eval/format"] <= 1 for line in lines if "eval/format" in line)
    for step in (3, 5):
        with pytest.raises(Killed):
            run(recipe, tmp_path / "broken", KillAt(step))
    run(recipe, tmp_path / "broken")
    assert steady(tmp_path / "broken/stages/01-sft/metrics.jsonl") == lines


def row(length: int) -> Sample:
    return Sample((1,) * length, (0,) * (length - 1) + (1,))


def test_what_the_numbers_say_of_pairs_and_of_labels() -> None:
    pairs = [(row(5), row(3)), (row(3), row(5)), (row(4), row(4))]
    found = held_back(pairs, [True] * 3, [1.0, 0.25, -0.5, 0.5, 2.0, 2.0])
    assert [(one["kind"], one["margin"], one["right"]) for one in found] == [
        ("better is longer", 0.75, True), ("better is shorter", -1.0, False), ("as long as the other", 0.0, False),
    ]  # fmt: skip
    found = held_back([(row(3),), (row(3),)], [True, False], [0.5, 0.25])
    assert [(one["kind"], one["margin"], one["right"]) for one in found] == [
        ("safe", 0.5, True), ("unsafe", -0.25, False),
    ]  # fmt: skip


def test_readers_find_what_the_stage_wrote(tiny: TinyFactory, tmp_path: Path) -> None:
    stage = RewardModelStage(data="rules:requests", loss="pointwise", examples=8, held_back=8, batch=8, max_tokens=200)
    model = str(tiny("qwen3", max_position_embeddings=512))
    recipe = Recipe(name="rm", model=model, template="short", threads=1, stages={"safety": stage})
    result = run(recipe, tmp_path / "run")
    (read,) = read_run(tmp_path / "run").stages
    found = read_back(read)
    assert len(found) == result["asked"] and {one.kind for one in found} <= {"safe", "unsafe"}
    assert sum(one.right for one in found) / len(found) == result["agreement"]
