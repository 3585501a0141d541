"""Configuration: frozen, validated, complete. A recipe returns a `Recipe`; `override` changes any of its fields.

    override(recipe, ["model=/models/qwen", "zero.optimiser.lr=1e-6", "steps=200"])

A key is looked for among the recipe's own fields and its stages' names; where neither has it, it goes to the one
stage that does. Unknown keys are errors that name the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aha.errors import UserError, nearest

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, nothing changes after it was validated."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rollouts(Section):
    """How completions are sampled at each step."""

    questions: Positive = 32  # the paper's 32 questions a step
    group: Annotated[int, Field(ge=2)] = 16  # the paper's group size
    max_tokens: Positive = 1024
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    slots: Positive = 512  # rows that run together


class AlgorithmChoice(Section):
    """A row of the table of algorithms; `options` replace parts of its setting (algorithms/setting.py), which is its
    paper's."""

    name: str = "grpo"
    options: dict[str, bool | float | str] = {}

    # Updates that one rollout is split into; the paper takes 16 minibatches from one rollout of 8,192 samples.
    updates_per_rollout: Positive = 1
    reference_refresh: Count = 400  # steps after which reference := policy; 0: never

    @field_validator("options", mode="before")
    @classmethod
    def _numbers(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {name: _number(value) if isinstance(value, str) else value for name, value in options.items()}


class OptimiserChoice(Section):
    """AdamW. The paper prints the learning rate alone (3e-6 at 671 B parameters)."""

    lr: Annotated[float, Field(gt=0)] = 1e-6
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    warmup_steps: Count = 0
    schedule: Literal["constant", "cosine"] = "constant"
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    micro_batch_tokens: Positive = 4096


class EvaluationChoice(Section):
    """What is evaluated before and after a stage, and every `every` steps (0: only before and after)."""

    problems: Positive = 64
    samples: Positive = 16
    temperature: Annotated[float, Field(ge=0)] = 1.0
    every: Count = 0
    every_problems: Positive = 64
    every_samples: Positive = 1


class RLStage(Section):
    """Reinforcement learning on verifiable rewards."""

    kind: Literal["rl"] = "rl"
    start: str = "base"  # "base" or the name of an earlier stage
    steps: Positive = 100
    rewards: dict[str, float] = {"accuracy": 1.0, "format": 1.0}  # DeepSeek-R1 eq. 4: equal weight
    rollouts: Rollouts = Rollouts()
    algorithm: AlgorithmChoice = AlgorithmChoice()
    optimiser: OptimiserChoice = OptimiserChoice()
    evaluation: EvaluationChoice = EvaluationChoice()
    checkpoint_every: Positive = 10
    keep_rollouts: bool = True
    reward_threads: Count = 4  # that wait for verifiers beside sampling; 0: rewards run in the loop's own thread
    largest_failure_share: Annotated[float, Field(ge=0, le=1)] = 0.2  # of rewards in one step, before the run stops


class PretrainStage(Section):
    """Next-token training of a tiny model on the generated web."""

    kind: Literal["pretrain"] = "pretrain"
    hidden_size: Positive = 192
    layers: Positive = 4
    heads: Positive = 6
    key_heads: Positive = 1
    head_size: Positive = 32
    mlp_size: Positive = 512
    context: Positive = 1024
    tokenizer_pages: Positive = 20_000
    pages_per_step: Positive = 220
    steps: Positive = 1000
    optimiser: OptimiserChoice = OptimiserChoice()
    evaluation: EvaluationChoice = EvaluationChoice()
    checkpoint_every: Positive = 100


Stage = Annotated[RLStage | PretrainStage, Field(discriminator="kind")]


class Recipe(Section):
    """All that a run needs to be repeated."""

    name: str
    about: str = ""
    model: str = "tiny"  # an embedded model, a folder or a hub id
    task: str = "countdown"  # a task's name, or gsm8k:FILE_OR_HUB_ID
    task_options: dict[str, Any] = {}
    template: str = "auto"  # how a question is put to the model
    seed: int = 0
    device: str = "auto"  # cuda, then mps, then cpu
    # auto: bfloat16 on cuda, float32 elsewhere. fastest: bfloat16 also on a CPU that multiplies it natively.
    dtype: Literal["auto", "fastest", "float32", "bfloat16"] = "auto"
    threads: Count = 0  # of one process; 0: the physical cores
    deterministic: bool = False  # refuse operations that have no repeatable form on this device
    stuck_after_s: Annotated[float, Field(ge=0)] = 7200.0  # of a step or an evaluation, before the run ends; 0: never
    stages: dict[str, Stage]

    @model_validator(mode="after")
    def _stages_exist(self) -> Recipe:
        seen = {"base"}
        for name, stage in self.stages.items():
            if isinstance(stage, RLStage) and stage.start not in seen:
                raise ValueError(f"stage {name!r} starts from {stage.start!r}, which does not come before it")
            seen.add(name)
        return self


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """`recipe` with each `key.path=value` of `settings` applied; values are read as YAML. Raises UserError."""
    data = recipe.model_dump(mode="python")
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise UserError(f"--set {setting!r} has no value; write it as key=value")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise UserError(f"--set {setting!r} is no YAML value; quote it") from error
        if isinstance(value, str):
            value = _number(value)
        _assign(data, _resolve(recipe, path.split("."), data), value, path)
    return validate(data)


def validate(data: Any) -> Recipe:
    """A `Recipe` from plain data; its first fault becomes one sentence."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"] if part not in ("rl", "pretrain"))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "there is no such key"
        raise UserError(f"recipe key {where or '(whole)'} = {fault.get('input')!r}: {message}") from error


def _number(text: str) -> float | str:
    """YAML reads `1e-6` as a string; people mean a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _resolve(recipe: Recipe, parts: list[str], data: dict[str, Any]) -> list[str]:
    """The full path of a key as the user wrote it."""
    if parts[0] in data:
        return parts
    if parts[0] in recipe.stages:
        return ["stages", *parts]
    owners = [name for name, stage in recipe.stages.items() if parts[0] in type(stage).model_fields]
    if len(owners) == 1:
        return ["stages", owners[0], *parts]
    if owners:
        raise UserError(
            f"key {parts[0]!r} is in several stages; write one of {', '.join(f'{o}.{parts[0]}' for o in owners)}"
        )
    known = {*data, *recipe.stages, *(f for stage in recipe.stages.values() for f in type(stage).model_fields)}
    raise UserError(f"unknown key {parts[0]!r}{nearest(parts[0], known)}")


_FREE = {"task_options", "rewards", "options"}  # mappings whose keys are checked by their readers


def _assign(data: dict[str, Any], parts: list[str], value: Any, written: str) -> None:
    for depth, part in enumerate(parts):
        free = depth and parts[depth - 1] in _FREE
        if not isinstance(data, dict) or (part not in data and not free):
            known = data if isinstance(data, dict) else {}
            raise UserError(f"unknown key {written!r}{nearest(part, known) if known else ': it has no parts'}")
        if depth == len(parts) - 1:
            data[part] = value
        else:
            data = data[part]
