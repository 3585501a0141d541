"""A recipe's sizes, stage by stage, before anything runs.

    made = plan_on(recipe, "8xH100", Assumptions(mean=4000))
    made.stages[0].fit.fits, made.stages[0].least, made.seconds(expected=True)
    made.as_dict()                                   # for JSON, formulas included

What it assumes is in `Assumptions`; docs/planning.md says what it leaves out.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from aha import runtime
from aha.config import PretrainStage, Recipe
from aha.errors import UserError
from aha.models.dialogue import Dialogue
from aha.models.kernels.build import library
from aha.models.loading import PACKAGED, TINY, resolve
from aha.models.tiny import web
from aha.pipeline.context import task_of
from aha.planning.data import PAPERS_ROWS
from aha.planning.dimensions import active_parameters, parameters
from aha.planning.hardware import HERE, Device, choose
from aha.planning.memory import Fit, fitting, least, most_slots
from aha.planning.stages import Described, Lengths, Phase, Setting, describe
from aha.planning.work import BANDWIDTH_SHARE, MFU, Cost, Draw, Machine, Pass, cost
from aha.protocols import Task
from aha.tasks.table import EMBEDDED

PAPERS_PROMPT = 160  # tokens: problems of mathematics and science in the paper's data have 122 to 161 (v2, table 4)
PROMPTS = 32  # of a task, that its mean prompt is measured on
PAGES = 200  # of the web, that its mean page is measured on


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What neither recipe nor device says. `mean`: tokens of a response, None where nothing is known of it."""

    prompt: float = PAPERS_PROMPT
    mean: float | None = None
    rows: int = PAPERS_ROWS  # conversations in a file that is not here
    mfu: float = MFU
    bandwidth_share: float = BANDWIDTH_SHARE
    paged: bool = False  # an engine with a paged, compressed cache in place of aha's own
    recompute: bool = False  # a learner that keeps layers' inputs alone in place of aha's own


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase: at most, and as expected where a mean length is known."""

    name: str
    most: Cost
    expected: Cost | None = None


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage. `least` devices hold it, None: no number does; `slots` are the most that fit where the recipe's do
    not."""

    name: str
    kind: str
    model: str
    parameters: int
    active: int
    fit: Fit
    least: int | None
    slots: int
    phases: tuple[PhasePlan, ...]
    sampled: tuple[float, float | None]  # tokens: at most, expected
    trained: tuple[float, float | None]
    notes: tuple[str, ...]

    def seconds(self, expected: bool = False) -> float | None:
        """Of all phases; None where one of them has no expectation."""
        costs = [p.expected if expected else p.most for p in self.phases]
        return None if None in costs else sum(c.seconds for c in costs if c is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe on `machine.count` devices."""

    recipe: str
    machine: Machine
    assumed: Assumptions
    stages: tuple[StagePlan, ...]
    runs: int = 1  # one for each seed, each of which takes all this

    def seconds(self, expected: bool = False) -> float | None:
        """Of all stages."""
        found = [stage.seconds(expected) for stage in self.stages]
        return None if None in found else sum(s for s in found if s is not None)

    def dollars(self, seconds: float | None) -> float | None:
        """What all devices cost for so long."""
        if seconds is None:
            return None
        return seconds / 3600 * self.machine.count * self.machine.device.dollars_an_hour

    def as_dict(self) -> dict[str, Any]:
        """Plain data: bytes, tokens, operations, seconds and dollars."""
        return {
            "recipe": self.recipe, "runs": self.runs, "gpus": self.machine.count, "device": asdict(self.machine.device),
            "dtype": self.machine.dtype, "assumed": asdict(self.assumed),
            "stages": [self._stage(stage) for stage in self.stages],
            "most": self._time(self.seconds()), "expected": self._time(self.seconds(expected=True)),
        }  # fmt: skip

    def _time(self, seconds: float | None) -> dict[str, float | None]:
        hours = None if seconds is None else seconds / 3600 * self.machine.count
        return {"seconds": seconds, "gpu_hours": hours, "dollars": self.dollars(seconds)}

    def _stage(self, s: StagePlan) -> dict[str, Any]:
        return {
            "name": s.name, "kind": s.kind, "model": s.model, "parameters": s.parameters, "active": s.active,
            "fits": s.fit.fits, "gpus_at_least": s.least, "gpus_of_an_engine": s.fit.engine, "slots_that_fit": s.slots,
            "bytes_of_each_gpu": s.fit.size, "bytes_usable": s.fit.room,
            "memory": [asdict(part) for part in s.fit.parts],
            "main_memory": [asdict(part) for part in s.fit.host],
            "work": [{"name": p.name, "most": asdict(p.most), "expected": _dict(p.expected)} for p in s.phases],
            "tokens": {
                "sampled": dict(zip(("most", "expected"), s.sampled, strict=True)),
                "trained": dict(zip(("most", "expected"), s.trained, strict=True)),
            },
            "most": self._time(s.seconds()), "expected": self._time(s.seconds(expected=True)), "notes": list(s.notes),
        }  # fmt: skip


def plan(recipe: Recipe, count: int, device: Device, assumed: Assumptions, dtype: str = "") -> Plan:
    """Every stage of `recipe` on `count` of `device`; in `dtype`, or the recipe's for a GPU. Raises UserError for a
    model whose sizes are not known, and a number of devices that `sharding.tensor` does not divide."""
    tensor = recipe.sharding.tensor
    if count % tensor:
        raise UserError(
            f"sharding.tensor={tensor} does not divide {count} device{'s' * (count > 1)}; plan for others with --gpus, "
            "or set a number that does"
        )
    machine = Machine(
        device, count, 1, dtype or ("float32" if recipe.dtype == "float32" else "bfloat16"), assumed.mfu,
        assumed.bandwidth_share, assumed.paged, assumed.recompute,
    )  # fmt: skip
    setting = Setting(machine, assumed.prompt, not device.gpu and library() is not None, assumed.rows)
    stages = tuple(_planned(recipe, name, setting, assumed.mean) for name in recipe.stages)
    return Plan(recipe.name, machine, assumed, stages, len(recipe.seeds) or 1)


def plan_on(recipe: Recipe, gpus: str, assumed: Assumptions, price: float | None = None) -> Plan:
    """`plan` for devices as a user names them: `8xH100`, or `here` for this machine, whose rates are measured."""
    if gpus != HERE:
        return plan(recipe, *choose(gpus, price), assumed)
    chosen = runtime.choose(recipe.device, recipe.dtype, recipe.threads)
    return plan(recipe, *choose(gpus, price, chosen), assumed, chosen.dtype_name)


def _planned(recipe: Recipe, name: str, s: Setting, mean: float | None) -> StagePlan:
    made = describe(recipe, name, s)
    fit = fitting(made.needs, s.machine.count, s.machine.device)
    machine = replace(s.machine, engine=fit.engine)
    most = made.phases(Lengths(s.prompt))
    expected: Sequence[Phase] = [] if mean is None else made.phases(Lengths(s.prompt, mean))
    stage = recipe.stages[name]
    if isinstance(stage, PretrainStage):
        expected = [made.phases(Lengths(s.prompt, page_tokens(stage)))[0], *expected[1:]]
    known = len(expected) == len(most)
    rows = _joined([row for pair in zip_longest(most, expected) for row in _phases(machine, *pair)])
    return StagePlan(
        name, made.kind, made.model, parameters(made.d), active_parameters(made.d), fit,
        least(made.needs, s.machine.device), most_slots(made.needs, s.machine.count, s.machine.device), tuple(rows),
        (_sampled(most), _sampled(expected) if known else None),
        (_trained(most), _trained(expected) if known else None), (*made.notes, *_remedies(made, name, fit, s)),
    )  # fmt: skip


def _phases(machine: Machine, most: Phase, expected: Phase | None) -> list[PhasePlan]:
    expectations = cost(expected, machine) if expected is not None else []
    pairs = zip_longest(cost(most, machine), expectations)
    return [PhasePlan(name, found, other[1] if other else None) for (name, found), other in pairs]


def _joined(rows: Sequence[PhasePlan]) -> list[PhasePlan]:
    """Phases of one name as one: the models of an evaluation."""
    found: dict[str, PhasePlan] = {}
    for row in rows:
        other = found.get(row.name)
        if other is not None:
            expected = row.expected.plus(other.expected) if row.expected and other.expected else None
            row = PhasePlan(row.name, row.most.plus(other.most), expected)
        found[row.name] = row
    return list(found.values())


def _dict(cost: Cost | None) -> dict[str, Any] | None:
    return asdict(cost) if cost is not None else None


def _sampled(phases: Sequence[Phase]) -> float:
    """Tokens that are drawn."""
    return sum(p.calls * p.rows * p.response for p in phases if isinstance(p, Draw))


def _trained(phases: Sequence[Phase]) -> float:
    """Tokens that are learned."""
    return sum(p.rows * p.response for p in phases if isinstance(p, Pass) and p.backward)


def prompt_tokens(recipe: Recipe) -> float:
    """Mean tokens of a recipe's first prompts where its model and task are here; else those of the paper's problems."""
    where = Path(resolve(recipe.model))
    named = [recipe.task] if isinstance(recipe.task, str) else list(recipe.task)
    if not where.is_dir() or not set(named) <= set(EMBEDDED):
        return PAPERS_PROMPT
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"model {recipe.model!r} has no tokenizer ({error}); give --prompt-tokens") from error
    return mean_prompt(Dialogue(tokenizer, recipe.template, frozenset()), task_of(recipe))


def mean_prompt(dialogue: Dialogue, task: Task) -> float:
    """Mean tokens of the first prompts of a task."""
    count = min(PROMPTS, task.size("train") or PROMPTS)
    return sum(len(dialogue.prompt(task.problem("train", i))) for i in range(count)) / count


def _remedies(made: Described, name: str, fit: Fit, s: Setting) -> list[str]:
    """What would make it fit."""
    if fit.fits:
        return []
    device, count = s.machine.device, s.machine.count
    slots = most_slots(made.needs, count, device)
    if made.needs.rows.count and 0 < slots < made.needs.rows.slots:
        key = {"rl": f"{name}.rollouts.slots", "sft": ""}.get(made.kind, f"{name}.slots")
        return [f"with {slots} rows of an engine at a time it fits" + (f": --set {key}={slots}" if key else "")]
    if sum(p.size for p in fit.parts if p.when == "learning") > fit.room:
        return [
            "one micro-batch alone is too large for a device: shorter rows (max_tokens), a smaller micro_batch_tokens, "
            "or a learner that recomputes (sharding.recompute=true; --recompute plans it)"
        ]
    return []


@functools.lru_cache
def _page_tokens(pages: tuple[tuple[str, float], ...], context: int) -> float:
    tokenizer = Tokenizer.from_file(str(PACKAGED / TINY["tiny"] / "tokenizer.json"))
    texts = [web.document(random.Random(f"plan {i}"), dict(pages)) for i in range(PAGES)]
    return sum(min(context, len(found.ids) + 1) for found in tokenizer.encode_batch(texts)) / PAGES


def page_tokens(stage: PretrainStage) -> float:
    """Mean tokens of a page, measured on some under the embedded tokenizer."""
    return _page_tokens(tuple(stage.pages.items()), stage.context)
