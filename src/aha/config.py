"""Configuration: frozen, validated, complete. A recipe returns a `Recipe`; `override` changes any of its fields.

    override(recipe, ["model=/models/qwen", "zero.optimiser.lr=1e-6", "steps=200"])

A key is looked for among the recipe's own fields and its stages' names; where neither has it, it goes to the one
stage that does. Unknown keys are errors that name the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from aha.choices import (
    MEANS,
    AlgorithmChoice,
    Count,
    EngineChoice,
    EvaluationChoice,
    LoRAChoice,
    OptimiserChoice,
    Positive,
    PreferenceChoice,
    Rollouts,
    Section,
    ShardingChoice,
    SpeakerChoice,
    WorkersChoice,
    number,
)  # fmt: skip
from aha.errors import UserError, nearest

TaskChoice = str | dict[str, Annotated[float, Field(gt=0)]]  # one task, or several with their shares
# A refiner by its name (pipeline/refine.py), or a model. The tags stand in errors' places; `validate` takes them out.
TAGS = ("(name)", "(model)")
Refiner = Annotated[
    Annotated[str, Tag(TAGS[0])] | Annotated[SpeakerChoice, Tag(TAGS[1])],
    Discriminator(lambda value: TAGS[isinstance(value, dict | SpeakerChoice)]),
]


class RLStage(Section):
    """Reinforcement learning on verifiable rewards, and on reward models where no rule can check."""

    kind: Literal["rl"] = "rl"
    start: str = "base"  # "base" or the name of an earlier stage
    task: TaskChoice | None = None  # the recipe's where none is given
    positions: Count = 0  # that the model is to have, where the one that it starts from has fewer
    steps: Positive = 100
    rewards: dict[str, float] = {"accuracy": 1.0, "format": 1.0}  # DeepSeek-R1 eq. 4: equal weight
    rewards_of: dict[str, dict[str, float]] = {}  # in place of `rewards`, by task
    preferences: dict[str, PreferenceChoice] = {}  # by what a problem's `preference` may be: "helpful", "safety"
    rollouts: Rollouts = Rollouts()
    algorithm: AlgorithmChoice = AlgorithmChoice()
    optimiser: OptimiserChoice = OptimiserChoice()
    lora: LoRAChoice | None = None  # {} is the default rank; null trains all weights
    evaluation: EvaluationChoice = EvaluationChoice()
    checkpoint_every: Positive = 10
    keep_rollouts: bool = True
    reward_threads: Count = 4  # that wait for verifiers beside sampling; 0: rewards run in the loop's own thread
    largest_failure_share: Annotated[float, Field(ge=0, le=1)] = 0.2  # of rewards in one step, before the run stops


class SFTStage(Section):
    """Supervised training on conversations; only responses are learned.

    The paper's: 2 to 3 epochs, batches of 128, 5e-5 falling to a tenth by a cosine (v2, B.4.2).
    """

    kind: Literal["sft"] = "sft"
    start: str = "base"
    data: Annotated[tuple[str, ...], Field(min_length=1)]  # earlier stages that made conversations, or JSONL files
    task: TaskChoice | None = None  # that is evaluated; the recipe's where none is given
    positions: Count = 0  # that the model is to have, where the one that it starts from has fewer
    epochs: Positive = 2
    batch: Positive = 128  # conversations an update
    max_tokens: Positive = 32_768  # longer conversations are left out and counted
    optimiser: OptimiserChoice = OptimiserChoice(lr=5e-5, schedule="cosine")
    lora: LoRAChoice | None = None
    evaluation: EvaluationChoice = EvaluationChoice()
    checkpoint_every: Positive = 50


class CollectStage(Section):
    """Samples of a model that pass become conversations to learn from: cold start, and rejection sampling.

    `least` has rewards by name with the lowest value that passes; one that abstains passes, one that fails does not.
    """

    kind: Literal["collect"] = "collect"
    start: str = "base"
    task: TaskChoice | None = None
    questions: Positive = 1024  # of the train split
    first_question: Count = 0
    samples: Positive = 4  # of each question
    keep: Positive = 1  # conversations of each question at most
    ways: dict[str, float] = {"plain": 1.0}  # how questions are put (pipeline/ways.py), with their shares
    max_tokens: Positive = 1024
    temperature: Annotated[float, Field(ge=0)] = 1.0  # v2 B.3.2: 1.0
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    slots: Positive = 512
    least: dict[str, float] = {"accuracy": 1.0, "format": 1.0, "language": 0.9, "repetition": -0.2}
    examples: tuple[str, ...] = ()  # of the way few-shot: earlier stages that made conversations, or JSONL files
    judge: SpeakerChoice | None = None  # of answers that no rule of the task can check, beside their reference
    refine: Refiner = ""  # rewrites what passes: a name (pipeline/refine.py), or a model
    unrefined: Literal["nothing", "original"] = "nothing"  # kept where what the model has rewritten does not pass
    written: dict[str, Positive] = {}  # conversations that a task writes itself, by task: non-reasoning data
    also: tuple[str, ...] = ()  # JSONL files of conversations that are added as they are
    decontaminate: Count = 1000  # test problems of each task that no conversation may share 10 words in a row with
    review: bool = False  # a person accepts, edits or rejects each conversation (`aha review`) before the stage ends
    reward_threads: Count = 4


class CompareStage(Section):
    """Pairs of a model's responses, each judged several times in both orders: preferences for a reward model.

    The paper's: four judgements a pair, pairs whose scores differ by more than 1 (v2, section 3.1).
    """

    kind: Literal["compare"] = "compare"
    start: str = "base"
    task: TaskChoice | None = None
    questions: Positive = 1024  # of the train split
    first_question: Count = 0
    pairs: Positive = 1  # of each question
    judge: SpeakerChoice
    judgements: Annotated[int, Field(ge=2, multiple_of=2)] = 4  # of a pair, half of them in either order
    margin: Annotated[float, Field(ge=0, lt=2)] = 1.0  # that the mean, from -2 to 2, has to pass
    length_gap: Annotated[float, Field(ge=0)] = 0.05  # of mean lengths of chosen and rejected, at most
    max_tokens: Positive = 1024
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    slots: Positive = 512


class RewardModelStage(Section):
    """A reward model. The paper's: one epoch, batches of 256, 6e-6, 8,192 tokens (v2, section 3.1)."""

    kind: Literal["reward-model"] = "reward-model"
    start: str = "base"
    data: str  # a stage that compares, a JSONL file of preferences, or rules:TASK
    loss: Literal["pairwise", "pointwise"] = "pairwise"
    reads: Literal["summary", "response"] = "summary"  # the part that is scored
    examples: Positive = 100_000  # at most
    held_back: Positive = 1000  # of the test split, that its agreement is measured on
    epochs: Positive = 1
    batch: Positive = 256
    max_tokens: Positive = 8192
    optimiser: OptimiserChoice = OptimiserChoice(lr=6e-6)
    checkpoint_every: Positive = 50


class EvaluateStage(Section):
    """Models on tasks, as the paper samples them (v2, D.1: temperature 0.6, top-p 0.95, several samples)."""

    kind: Literal["evaluate"] = "evaluate"
    models: Annotated[tuple[str, ...], Field(min_length=1)]  # "base", earlier stages, or model:NAME
    tasks: dict[str, Positive]  # with the number of problems of each
    samples: Positive = 16
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Positive = 1024
    slots: Positive = 512


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
    pages: dict[str, float] = {"drill": 0.22, "countdown": 0.62, "arithmetic": 0.10, "hopeless": 0.06}  # shares
    tokenizer_pages: Positive = 20_000
    pages_per_step: Positive = 220
    steps: Positive = 1000
    optimiser: OptimiserChoice = OptimiserChoice()
    evaluation: EvaluationChoice = EvaluationChoice()
    checkpoint_every: Positive = 100


AnyStage = RLStage | SFTStage | CollectStage | CompareStage | RewardModelStage | EvaluateStage | PretrainStage
Stage = Annotated[AnyStage, Field(discriminator="kind")]


def data_of(stage: AnyStage) -> tuple[str, ...]:
    """What a stage reads beside its model: data, reward models and models, by earlier stages' names or by paths."""
    match stage:
        case SFTStage(data=data):
            return data
        case CollectStage(examples=examples):
            return (*examples, *models_of(stage))
        case RLStage(preferences=preferences):
            return tuple(choice.model for choice in preferences.values())
        case RewardModelStage(data=source) if not source.startswith(RULES):
            return (source,)
        case _:
            return models_of(stage)


def models_of(stage: AnyStage) -> tuple[str, ...]:
    """The language models that a stage reads beside the one that it begins from."""
    if isinstance(stage, EvaluateStage):
        return stage.models
    return tuple(dict.fromkeys(choice.model for choice in speakers_of(stage).values() if choice.model))


def speakers_of(stage: AnyStage) -> dict[str, SpeakerChoice]:
    """The models that a stage asks for text, by what they are asked as."""
    named = {"judge": getattr(stage, "judge", None), "refine": getattr(stage, "refine", None)}
    return {role: choice for role, choice in named.items() if isinstance(choice, SpeakerChoice)}


def identity_of(stage: AnyStage) -> str:
    """All of a stage that decides what it makes, as text: not how its endpoints are reached, nor what it leaves out."""
    outside: dict[str, Any] = {role: {"endpoint": MEANS} for role in speakers_of(stage)}
    if isinstance(stage, CollectStage):
        outside |= {} if stage.judge else {"judge": True}
        outside |= {"unrefined": True} if stage.unrefined == "nothing" else {}
    if isinstance(stage, RLStage):
        outside |= {} if stage.rollouts.ahead else {"rollouts": {"ahead"}}
    return stage.model_dump_json(exclude=outside)


MODEL = "model:"  # before the name of a model that is neither the recipe's nor a stage's
RULES = "rules:"  # before the name of a task that makes preferences itself
MODELS = ("pretrain", "rl", "sft")  # kinds of stages that make a language model
# What kinds of stages a stage reads beside its model, other than language models.
READS: dict[str, tuple[str, ...]] = {
    "sft": ("collect",),
    "collect": ("collect",),
    "rl": ("reward-model",),
    "reward-model": ("compare",),
}
KINDS = ("rl", "sft", "collect", "compare", "reward-model", "evaluate", "pretrain")


class Recipe(Section):
    """All that a run needs to be repeated."""

    name: str
    about: str = ""
    model: str = "tiny"  # an embedded model, a folder or a hub id
    task: TaskChoice = "countdown"  # a task's name, gsm8k:FILE_OR_HUB_ID, or several with their shares
    task_options: dict[str, Any] = {}
    template: str = "auto"  # how a question is put to the model
    seed: int = 0
    seeds: tuple[int, ...] = ()  # a run of each, in a folder of its own; () is one run, of `seed`
    device: str = "auto"  # cuda, then mps, then cpu
    # auto: bfloat16 on cuda, float32 elsewhere. fastest: bfloat16 also on a CPU that multiplies it natively.
    dtype: Literal["auto", "fastest", "float32", "bfloat16"] = "auto"
    threads: Count = 0  # of one process; 0: the physical cores
    deterministic: bool = False  # refuse operations that have no repeatable form on this device
    stuck_after_s: Annotated[float, Field(ge=0)] = 7200.0  # of a step or an evaluation, before the run ends; 0: never
    sharding: ShardingChoice = ShardingChoice()
    engine: EngineChoice = EngineChoice()
    launcher: Literal["here", "processes", "ray"] = "here"  # what runs workers that sample and grade
    workers: WorkersChoice = WorkersChoice()
    stages: dict[str, Stage]

    @model_validator(mode="after")
    def _stages_exist(self) -> Recipe:
        made: dict[str, str] = {"base": "pretrain"}  # what comes before, with its kind
        for name, stage in self.stages.items():
            start = "base" if isinstance(stage, PretrainStage | EvaluateStage) else stage.start
            if not start.startswith(MODEL) and made.get(start) not in MODELS:
                raise ValueError(f"stage {name!r} starts from {start!r}, which is no model that comes before it")
            for source in data_of(stage):
                kinds = MODELS if source in models_of(stage) else READS[stage.kind]
                if source in self.stages and made.get(source) not in kinds:
                    raise ValueError(f"stage {name!r} reads {source!r}, which does not make that before it")
            made[name] = stage.kind
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
            value = number(value)
        _assign(data, _resolve(recipe, path.split("."), data), value, path)
    return validate(data)


def validate(data: Any) -> Recipe:
    """A `Recipe` from plain data; its first fault becomes one sentence."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"] if part not in (*KINDS, *TAGS))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "there is no such key"
        given = fault.get("input")
        secret = fault["loc"][-1:] == ("key",) or (isinstance(given, str) and "@" in given)  # it may be a password
        raise UserError(f"recipe key {where or '(whole)'} = {'...' if secret else repr(given)}: {message}") from error


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


# mappings whose keys are checked by their readers
_FREE = {
    "task_options", "rewards", "options", "ways", "least", "written", "rewards_of", "preferences", "tasks", "pages",
    "extra",
}  # fmt: skip


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
