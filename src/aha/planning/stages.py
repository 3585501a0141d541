"""What each kind of stage does and holds, read from its configuration: phases for `work.py`, needs for `memory.py`.

made = describe(recipe, "zero", setting)
made.phases(Lengths(prompt=20, mean=85)), made.needs
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aha.algorithms.table import algorithm
from aha.config import (
    MODEL,
    CollectStage,
    CompareStage,
    EvaluateStage,
    EvaluationChoice,
    LoRAChoice,
    PretrainStage,
    Recipe,
    RewardModelStage,
    RLStage,
    SFTStage,
    speakers_of,
)  # fmt: skip
from aha.engines.native.step import MOST_COPIED
from aha.evaluation.evaluate import BATCH
from aha.models.tiny.tokenizer import VOCABULARY
from aha.pipeline.collect_stage import PART
from aha.pipeline.pretrain_stage import MAX_TOKENS
from aha.pipeline.sft_stage import SLOTS
from aha.planning.activations import PathName, path_of
from aha.planning.data import PAPERS_ROWS, conversations, lines
from aha.planning.dimensions import (
    SHAPED,
    Dimensions,
    adapter_parameters,
    backbone_parameters,
    find,
    head_weights,
    multiplied,
    parameters,
)
from aha.planning.learners import Batch, Held, Trained, learning, loaded, refusal
from aha.planning.memory import Needs, Rows, rows_of
from aha.planning.memory import Part as MemoryPart
from aha.planning.work import Draw, Machine, Pass, Update

Phase = Draw | Pass | Update


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a prompt, and of a response on average; None: as many as it may have."""

    prompt: float
    mean: float | None = None

    def response(self, most: float) -> float:
        return most if self.mean is None else min(self.mean, most)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a plan assumes beside the recipe. `kernels`: a CPU that has them; `rows` of data that is not here."""

    machine: Machine
    prompt: float
    kernels: bool = False
    rows: int = PAPERS_ROWS


@dataclass(frozen=True, slots=True)
class Described:
    """A stage, planned."""

    kind: str
    model: str
    d: Dimensions
    needs: Needs
    phases: Callable[[Lengths], list[Phase]]
    notes: list[str] = field(default_factory=list)


def model_of(recipe: Recipe, name: str) -> tuple[str, Dimensions]:
    """The model that `name` stands for in a recipe: what it is called, and its sizes."""
    if name in recipe.stages:
        stage = recipe.stages[name]
        if isinstance(stage, PretrainStage):
            return name, _pretrained(stage)
        assert not isinstance(stage, EvaluateStage), "the recipe was validated: such a stage makes no model"
        return model_of(recipe, stage.start)
    called = recipe.model if name == "base" else name.removeprefix(MODEL)
    return called, find(called)


def describe(recipe: Recipe, name: str, s: Setting) -> Described:
    """Stage `name` of a recipe."""
    stage = recipe.stages[name]
    match stage:
        case RLStage():
            made = _rl(recipe, stage, s)
        case SFTStage():
            made = _sft(recipe, stage, s)
        case CollectStage() | CompareStage():
            made = _sampled(recipe, stage, s)
        case RewardModelStage():
            made = _reward_model(recipe, stage, s)
        case EvaluateStage():
            made = _evaluate(recipe, stage, s)
        case PretrainStage():
            made = _pretrain(recipe, stage, s)
    for role in speakers_of(stage):
        made.notes.append(f"the model that is asked as {role} is not counted")
    return made


def _rl(recipe: Recipe, stage: RLStage, s: Setting) -> Described:
    called, d = model_of(recipe, stage.start)
    row = algorithm(stage.algorithm.name)
    setting = row.setting.replaced(stage.algorithm.options)
    r, b, path = stage.rollouts, s.machine.itemsize, _engine_path(d, s)
    calls = stage.steps * int(setting.attempts)
    scorers = {name: (c, _scorer(recipe, c.model, d)) for name, c in stage.preferences.items()}
    backbone = backbone_parameters(d)
    learners = [_trained(d, stage.lora), *([Trained(backbone, backbone, "critic")] if row.critic else [])]

    def phases(lengths: Lengths) -> list[Phase]:
        response = lengths.response(r.max_tokens)
        asked = stage.steps * r.questions
        rows = asked * r.group

        one = _pass(recipe, "reference", d, rows, asked, lengths.prompt, response, stage, s)
        learned = replace(
            one, name="learn", prompts=asked * min(r.group, stage.algorithm.updates_per_rollout), backward=True,
            rank=_rank(stage.lora),
        )  # fmt: skip
        values = replace(one, name="critic, values", vocabulary=False)
        found: list[Phase] = [
            Draw("rollouts", d, calls, r.questions, r.group, lengths.prompt, response, r.max_tokens, r.slots, path)
        ]
        for name, (choice, model) in scorers.items():
            share = choice.last_share
            whole = replace(values, d=model, path=path_of(model, kernels=s.kernels), tensor=1)
            found.append(replace(whole, name=f"scores, {name}", rows=rows * share, prompts=asked * share))
        found += [one] if setting.kl_beta else []
        found += [replace(one, name="importance weights")] if setting.importance_cap else []
        found += [values, learned] if row.critic else [learned]
        found += [replace(values, name="critic, learn", backward=True)] if row.critic else []
        found += _updates(recipe, learners, float(stage.steps * stage.algorithm.updates_per_rollout))
        e = stage.evaluation
        looks = (stage.steps - 1) // e.every if e.every else 0
        return [
            *found,
            *_evaluations(e, lengths, d, r.max_tokens, r.slots, path, 2),
            *_evaluations(
                e.model_copy(update={"problems": e.every_problems, "samples": e.every_samples}),
                lengths, d, r.max_tokens, r.slots, path, looks, "interim looks",
            ),
        ]  # fmt: skip

    frozen = [MemoryPart("reference", float(b * parameters(d)), f"{b} P")] if setting.kl_beta else []
    for name, (_, model) in scorers.items():
        size = backbone_parameters(model) * (b + (4.0 if b < 4 else 0.0))
        frozen.append(MemoryPart(f"reward model, {name}", size, f"{b} P" + (" + 4 P in float32" if b < 4 else "")))
    held = _held(recipe, d, stage, s, s.prompt + r.max_tokens, r.max_tokens, learners, frozen)
    notes = _context(d, s.prompt + r.max_tokens, stage.positions) + _divided(recipe, d, stage.lora)
    if setting.attempts > 1:
        notes.append(f"rollouts: all {setting.attempts:g} attempts of a step are counted")
    if scorers:
        notes.append("scores: every sample is counted, though reward models see those that are for them")
    return Described("rl", called, d, _needs(d, s, held, phases(Lengths(s.prompt))), phases, notes)


def _sft(recipe: Recipe, stage: SFTStage, s: Setting) -> Described:
    called, d = model_of(recipe, stage.start)
    count, most, notes = conversations(recipe, stage, s.prompt, s.rows)
    longest = min(stage.max_tokens, max(d.context, stage.positions), most)
    path, e, learners = _engine_path(d, s), stage.evaluation, [_trained(d, stage.lora)]

    def phases(lengths: Lengths) -> list[Phase]:
        rows = float(count * stage.epochs)
        response = lengths.response(max(1.0, longest - lengths.prompt))
        learn = _pass(recipe, "learn", d, rows, rows, lengths.prompt, response, stage, s)
        return [
            replace(learn, backward=True, rank=_rank(stage.lora)),
            *_updates(recipe, learners, math.ceil(count / stage.batch) * float(stage.epochs)),
            *_evaluations(e, lengths, d, e.max_tokens, SLOTS, path, 2),
        ]

    held = _held(recipe, d, stage, s, longest, longest - s.prompt, learners)
    notes += _context(d, s.prompt + e.max_tokens, stage.positions) + _divided(recipe, d, stage.lora)
    return Described("sft", called, d, _needs(d, s, held, phases(Lengths(s.prompt))), phases, notes)


def _sampled(recipe: Recipe, stage: CollectStage | CompareStage, s: Setting) -> Described:
    """Stages that only sample, 64 questions at a time."""
    called, d = model_of(recipe, stage.start)
    samples = stage.samples if isinstance(stage, CollectStage) else 2 * stage.pairs
    calls, path = math.ceil(stage.questions / PART), _engine_path(d, s)

    def phases(lengths: Lengths) -> list[Phase]:
        response = lengths.response(stage.max_tokens)
        asked = stage.questions / calls
        return [
            Draw("samples", d, calls, asked, samples, lengths.prompt, response, stage.max_tokens, stage.slots, path)
        ]

    needs = _needs(d, s, None, phases(Lengths(s.prompt)))
    notes = _context(d, s.prompt + stage.max_tokens)
    if isinstance(stage, CollectStage):
        notes += ["prompts of the way few-shot are longer than counted"] if "few-shot" in stage.ways else []
        notes += ["a person's review takes as long as it takes"] if stage.review else []
    return Described(stage.kind, called, d, needs, phases, notes)


def _reward_model(recipe: Recipe, stage: RewardModelStage, s: Setting) -> Described:
    called, d = model_of(recipe, stage.start)
    scalar, p = replace(d, vocabulary=1), backbone_parameters(d)
    learners = [Trained(p, p)]
    pairwise = stage.loss == "pairwise"
    texts = 2 if pairwise else 1
    compared = recipe.stages.get(stage.data)
    known = compared.questions * compared.pairs if isinstance(compared, CompareStage) else lines(stage.data)
    examples = stage.examples if known is None else min(stage.examples, known)

    def phases(lengths: Lengths) -> list[Phase]:
        rows = float(examples * stage.epochs * texts)
        response = lengths.response(max(1.0, stage.max_tokens - lengths.prompt))
        one = _pass(recipe, "learn", d, rows, rows, lengths.prompt, response, stage, s)
        one = replace(one, backward=True, vocabulary=False)
        held = float(stage.held_back * texts)
        before = [replace(one, name="scores before", backward=False)] if pairwise else []
        updates = _updates(recipe, learners, math.ceil(examples / stage.batch) * float(stage.epochs))
        return [*before, one, *updates, replace(one, name="held back", rows=held, prompts=held, backward=False)]

    held = _held(recipe, d, stage, s, stage.max_tokens, stage.max_tokens, learners, scored=scalar)
    notes = [] if known is not None else [f"{stage.data}: {examples:,} examples, the most that the stage takes"]
    notes += _divided(recipe, d, None)
    needs = Needs(held.states, each=held.each, host=held.host, several=held.several, tensor=held.tensor)
    return Described("reward-model", called, d, needs, phases, notes)


def _evaluate(recipe: Recipe, stage: EvaluateStage, s: Setting) -> Described:
    models = [model_of(recipe, name) for name in stage.models]
    called, d = max(models, key=lambda m: parameters(m[1]))

    def phases(lengths: Lengths) -> list[Phase]:
        response = lengths.response(stage.max_tokens)
        return [
            Draw(
                "samples", model, math.ceil(problems / BATCH), problems / math.ceil(problems / BATCH), stage.samples,
                lengths.prompt, response, stage.max_tokens, stage.slots, _engine_path(model, s),
            )
            for problems in stage.tasks.values()
            for _, model in models
        ]  # fmt: skip

    needs = _needs(d, s, None, phases(Lengths(s.prompt)))
    return Described("evaluate", called, d, needs, phases, _context(d, s.prompt + stage.max_tokens))


def _pretrain(recipe: Recipe, stage: PretrainStage, s: Setting) -> Described:
    d, e = _pretrained(stage), stage.evaluation
    learners = [_trained(d, None)]

    def phases(lengths: Lengths) -> list[Phase]:
        pages = float(stage.steps * stage.pages_per_step)
        learn = _pass(recipe, "learn", d, pages, 0.0, 0.0, lengths.response(stage.context), stage, s)
        looks = _evaluations(e, lengths, d, MAX_TOKENS, SLOTS, _engine_path(d, s), 1)
        return [replace(learn, backward=True), *_updates(recipe, learners, float(stage.steps)), *looks]

    held = _held(recipe, d, stage, s, stage.context, stage.context, learners)
    needs = _needs(d, s, held, phases(Lengths(s.prompt)))
    return Described("pretrain", "a new model", d, needs, phases, _divided(recipe, d, None))


def _pretrained(stage: PretrainStage) -> Dimensions:
    """Of the model that a stage makes: its tokenizer has at most `VOCABULARY` tokens."""
    return Dimensions(
        "qwen3", VOCABULARY, stage.hidden_size, stage.layers, stage.heads, stage.key_heads, stage.head_size,
        stage.head_size, stage.mlp_size, stage.context, tied=True, head_norms=True,
    )  # fmt: skip


def _pass(
    recipe: Recipe, name: str, d: Dimensions, rows: float, prompts: float, prompt: float, response: float,
    stage: RLStage | SFTStage | RewardModelStage | PretrainStage, s: Setting,
) -> Pass:  # fmt: skip
    """A pass in the stage's micro-batches."""
    sharding, plain = recipe.sharding, getattr(stage, "lora", None) is None
    path = path_of(d, kernels=s.kernels, plain=plain and sharding.tensor == 1)
    return Pass(
        name, d, rows, prompts, prompt, response, micro_batch=stage.optimiser.micro_batch_tokens, path=path,
        recompute=sharding.recompute, tensor=sharding.tensor,
    )  # fmt: skip


def _updates(recipe: Recipe, learners: Sequence[Trained], updates: float) -> list[Phase]:
    """Of what lies in main memory; those on a device are not counted."""
    if not recipe.sharding.offload:
        return []
    return [Update(f"{one.name or 'policy'}, updates", one.trained, updates) for one in learners]


def _evaluations(
    e: EvaluationChoice, lengths: Lengths, d: Dimensions, most: int, slots: int, path: PathName, times: int,
    name: str = "evaluations",
) -> list[Phase]:  # fmt: skip
    calls = math.ceil(e.problems / BATCH)
    response = lengths.response(most)
    drawn = Draw(name, d, calls * times, e.problems / calls, e.samples, lengths.prompt, response, most, slots, path)
    return [drawn] if times else []


def _scorer(recipe: Recipe, name: str, d: Dimensions) -> Dimensions:
    """The sizes of a reward model; of one in a folder those of the policy, where the folder is not here."""
    if name in recipe.stages or Path(name).is_dir():
        return model_of(recipe, name)[1]
    return d


def _rank(lora: LoRAChoice | None) -> int:
    return lora.rank if lora is not None else 0


def _engine_path(d: Dimensions, s: Setting) -> PathName:
    return path_of(d, kernels=s.kernels)


def _trained(d: Dimensions, lora: LoRAChoice | None) -> Trained:
    p = parameters(d)
    adapters = adapter_parameters(d, lora.rank) if lora is not None else 0
    return Trained(p + adapters, adapters or p)


def _held(
    recipe: Recipe, d: Dimensions, stage: RLStage | SFTStage | RewardModelStage | PretrainStage, s: Setting,
    longest: float, response: float, learners: Sequence[Trained], frozen: Sequence[MemoryPart] = (),
    scored: Dimensions | None = None,
) -> Held:  # fmt: skip
    batch = Batch(stage.optimiser.micro_batch_tokens, longest, response, getattr(stage, "lora", None) is None)
    return learning(
        recipe.sharding, d, s.machine, trained=learners, batch=batch, kernels=s.kernels, frozen=frozen, scored=scored
    )


def _divided(recipe: Recipe, d: Dimensions, lora: LoRAChoice | None) -> list[str]:
    """Why matrices are not divided as the recipe wants it."""
    why = refusal(recipe.sharding.tensor, d, lora is not None)
    return [f"it will not run: {why}"] if why else []


def _needs(d: Dimensions, s: Setting, held: Held | None, phases: Sequence[Phase]) -> Needs:
    """With an engine, whose cache is that of the call that takes most room."""
    b, p = s.machine.itemsize, parameters(d)
    engine = [MemoryPart("engine's weights", float(b * p), f"{b} P")]
    panels = multiplied(d) + head_weights(d)
    if s.kernels and d.kind in SHAPED and panels <= MOST_COPIED:
        engine.append(MemoryPart("engine's panels", float(b * panels), f"{b} (N + V h): a copy in the kernel's order"))
    rooms = [_room(draw, s) for draw in phases if isinstance(draw, Draw)]
    rows = max(rooms, key=lambda r: min(r.slots, r.count) * r.cache, default=Rows())
    if held is None:
        return Needs((loaded(d),), tuple(engine), (), rows)
    return Needs(held.states, tuple(engine), held.each, rows, held.host, held.several, held.tensor)


def _room(p: Draw, s: Setting) -> Rows:
    return rows_of(
        p.d, s.machine.itemsize, rows=p.rows, samples=p.samples, slots=p.slots, prompt=p.prompt, longest=p.longest,
        path=_engine_path(p.d, s), paged=s.machine.paged, response=p.response,
    )  # fmt: skip


def _context(d: Dimensions, tokens: float, positions: int = 0) -> list[str]:
    context = max(d.context, positions)
    if tokens <= context:
        return []
    return [f"it will not run: prompt and response of {tokens:,.0f} tokens exceed the model's context of {context:,}"]
