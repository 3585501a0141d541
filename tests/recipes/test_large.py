"""Recipes for GPUs: the paper's hyper-parameters, and every stage of each on a random model of its architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha.config import Recipe, RLStage, SFTStage, validate
from aha.pipeline.recipes.large import LARGE, TASK
from aha.pipeline.run import run
from shrink import shrunk
from tiny_models import TinyFactory

PAPER = {
    "zero_qwen_32b": 2e-6, "distill_qwen_1_5b": 1e-4, "distill_qwen_7b": 8e-5, "distill_qwen_14b": 7e-5,
    "distill_qwen_32b": 6e-5, "distill_llama_8b": 5e-5, "distill_llama_70b": 2e-5,
}  # fmt: skip


def rows(file: Path, made: list[dict[str, object]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return str(file)


def local(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with small files in place of what it would fetch."""
    files = {
        next(iter(TASK)).removeprefix("math:"): rows(folder / "math.jsonl", [
            {"problem": f"What is {n}+1?", "solution": f"\\boxed{{{n + 1}}}", "level": "Level 1", "type": "Algebra"}
            for n in range(60)
        ]),
        "traces.jsonl": rows(folder / "traces.jsonl", [
            {"prompt": f"{n}?", "completion": f"<think>{n}</think>{n}"} for n in range(20)
        ]),
        "pairs.jsonl": rows(folder / "pairs.jsonl", [
            {"prompt": f"{n}?", "chosen": f"<think>a</think>{n}", "rejected": "<think>a</think>no"} for n in range(40)
        ]),
        "labels.jsonl": rows(folder / "labels.jsonl", [
            {"prompt": f"{n}?", "response": f"<think>a</think>{n}", "safe": n % 2 == 0} for n in range(40)
        ]),
        "prompts.jsonl": rows(folder / "prompts.jsonl", [
            {"prompt": f"Write {n}.", "preference": "safety" if n % 2 else "helpful"} for n in range(40)
        ]),
    }  # fmt: skip
    text = recipe.model_dump_json()
    for name, file in files.items():
        text = text.replace(name, file)
    return validate(json.loads(text))


@pytest.mark.parametrize("name", LARGE)
def test_the_papers_hyper_parameters(name: str) -> None:
    recipe = LARGE[name]()
    assert recipe.name == name
    for stage in recipe.stages.values():
        if isinstance(stage, RLStage):
            samples = stage.rollouts.questions * stage.rollouts.group
            assert samples == 8192 and samples // stage.algorithm.updates_per_rollout == 512
            assert stage.algorithm.reference_refresh * stage.algorithm.updates_per_rollout == 400
            assert stage.optimiser.lr == PAPER.get(name, 3e-6)
            assert stage.rollouts.temperature == (0.7 if stage.preferences else 1.0)
        if isinstance(stage, SFTStage):
            assert stage.optimiser.schedule == "cosine" and stage.optimiser.final_share == 0.1
            assert stage.max_tokens == 32_768
    if name in PAPER and "distill" in name:
        made = recipe.stages["distilled"]
        assert isinstance(made, SFTStage) and made.optimiser.lr == PAPER[name] and made.batch == 64


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("zero_qwen_7b", "qwen2"),
        ("distill_qwen_7b", "qwen2"),
        ("distill_llama_8b", "llama"),
        ("r1_qwen_1_5b", "qwen2"),
        ("r1_deepseek_v3", "deepseek_v3"),
    ],
)
def test_every_stage_on_a_random_model(tiny: TinyFactory, tmp_path: Path, name: str, architecture: str) -> None:
    recipe = local(LARGE[name](), tmp_path)
    made = shrunk(recipe, str(tiny(architecture, max_position_embeddings=512)))
    stages = {n: s.model_copy(update={"review": False}) if n == "cold" else s for n, s in made.stages.items()}
    run(made.model_copy(update={"stages": stages}), tmp_path / "run")
    for folder in (tmp_path / "run" / "stages").iterdir():
        assert json.loads((folder / "stage.json").read_text())["state"] == "finished", folder.name
