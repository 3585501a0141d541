"""Recipes and overrides: complete, frozen, and clear about what is wrong."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from aha.config import PretrainStage, Recipe, RLStage, override, validate
from aha.errors import UserError
from aha.pipeline.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_yaml(name: str) -> None:
    made = recipe(name)
    assert made.name == name and made.about
    assert validate(yaml.safe_load(yaml.safe_dump(made.model_dump(mode="json"), sort_keys=False))) == made


def test_overrides_reach_every_level() -> None:
    made = override(
        recipe("zero"),
        ["model=/m", "steps=7", "zero.rollouts.group=4", "stages.zero.optimiser.lr=1e-7", "rewards.accuracy=2",
         "algorithm.options.kl_beta=0", "task_options={numbers: 4}", "task=gsm8k:/data/train.jsonl"],
    )  # fmt: skip
    stage = made.stages["zero"]
    assert isinstance(stage, RLStage)
    assert (made.model, stage.steps, stage.rollouts.group, stage.optimiser.lr) == ("/m", 7, 4, 1e-7)
    assert stage.rewards == {"accuracy": 2.0, "format": 1.0}
    assert stage.algorithm.options == {"kl_beta": 0.0}
    assert made.task_options == {"numbers": 4} and made.task == "gsm8k:/data/train.jsonl"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("stepz=3", "unknown key 'stepz'; did you mean 'steps'"),
        ("zero.rollouts.grup=3", "unknown key 'zero.rollouts.grup'; did you mean 'group'"),
        ("steps.more=3", "unknown key 'steps.more'"),
        ("steps", "'steps' has no value"),
        ("steps=0", "stages.zero.steps = 0"),
        ("steps=many", "stages.zero.steps = 'many'"),
        ("rollouts.top_p=1.5", "stages.zero.rollouts.top_p = 1.5"),
        ("dtype=int8", "dtype = 'int8'"),
        ("steps={a: [", "is no YAML value"),
        ("zero.start=nowhere", "starts from 'nowhere'"),
    ],
)
def test_faults_are_named(setting: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        override(recipe("zero"), [setting])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_keys_in_a_file_are_refused() -> None:
    data = recipe("zero").model_dump(mode="json")
    data["stages"]["zero"]["lenght"] = 3
    with pytest.raises(UserError, match="lenght"):
        validate(data)


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        recipe("zero").seed = 1  # type: ignore[misc]


def test_a_key_of_several_stages_must_say_which() -> None:
    two = Recipe(name="two", stages={"a": PretrainStage(), "b": RLStage(start="a")})
    with pytest.raises(UserError, match=r"a\.steps, b\.steps"):
        override(two, ["steps=3"])
    assert override(two, ["b.steps=3"]).stages["b"].steps == 3


def test_unknown_recipe() -> None:
    with pytest.raises(UserError, match="did you mean 'zero'"):
        recipe("zeroo")
