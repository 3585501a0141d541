"""What the commands do, apart from reading arguments: readers are called here, never by what trains."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from aha import runtime
from aha.config import (
    CollectStage,
    CompareStage,
    EvaluateStage,
    PretrainStage,
    Recipe,
    RewardModelStage,
    RLStage,
    SFTStage,
    Stage,
    override,
    validate,
)  # fmt: skip
from aha.distributed.ray.supervise import on_ray
from aha.distributed.world import launched
from aha.errors import UserError
from aha.models.loading import load, resolve
from aha.pipeline import recipes
from aha.pipeline.checks import check
from aha.pipeline.context import dialogue_of, task_of
from aha.pipeline.run import run
from aha.planning import plan as planning
from aha.planning.hardware import GIB, here
from aha.studio import claims
from aha.studio.plots import curves_png
from aha.studio.progress import Display
from aha.studio.read import read_run
from aha.studio.report import has_many, write_report
from aha.studio.table import before_after_table, print_samples, print_stages
from aha.types import StepMetrics


def load_recipe(name: str, settings: Sequence[str]) -> Recipe:
    """A recipe by name or from a YAML file, with `settings` applied."""
    if name.endswith((".yaml", ".yml")):
        try:
            data = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(
                f"recipe file {name!r} cannot be read ({error}); give a recipe.yaml or a recipe's name"
            ) from error
        return override(validate(data), settings)
    return override(recipes.recipe(name), settings)


def plan(recipe: Recipe) -> dict[str, Any]:
    """What a run would do, after everything that can be checked without training was checked."""
    chosen = runtime.choose(recipe.device, recipe.dtype, recipe.threads)
    task = task_of(recipe)
    check(recipe)
    facts: dict[str, Any] = {"device": chosen.device, "dtype": chosen.dtype_name, "threads": chosen.threads}
    pretrains = isinstance(next(iter(recipe.stages.values())), PretrainStage)
    if not pretrains:
        loaded = load(recipe.model)
        facts["model"] = resolve(recipe.model)
        facts["parameters"] = sum(p.numel() for p in loaded.model.parameters())
        facts["first prompt"] = loaded.tokenizer.decode(
            list(dialogue_of(loaded, recipe.template).prompt(task.problem("train", 0)))
        )
    estimated = _estimates(recipe, chosen)
    for name, stage in recipe.stages.items():
        facts |= {f"{name}.{what}": value for what, value in (_size(stage) | estimated.get(name, {})).items()}
    return {**facts, **estimated[""], "recipe": recipe.model_dump(mode="json")}


def _estimates(recipe: Recipe, chosen: runtime.Runtime) -> dict[str, dict[str, Any]]:
    """Memory and time of each stage on this machine, and under "" what they are worth."""
    try:
        assumed = planning.Assumptions(planning.prompt_tokens(recipe))
        made = planning.plan(recipe, 1, here(chosen), assumed, chosen.dtype_name)
    except UserError as error:
        return {"": {"estimate": f"none: {error}"}}
    facts: dict[str, dict[str, Any]] = {
        stage.name: {
            "GiB at once": stage.fit.size / GIB, "fits here": stage.fit.fits, "seconds at most": stage.seconds(),
        }
        for stage in made.stages
    }  # fmt: skip
    device = made.machine.device
    said = (
        f"{device.name}: {device.flops(chosen.dtype_name) / 1e9:.0f} GFLOP/s measured now, {assumed.mfu:.0%} of them "
        "assumed; every response as long as it may be; aha plan says more"
    )
    return {**facts, "": {"estimate": said, "seconds at most": made.seconds()}}


def _size(stage: Stage) -> dict[str, int]:
    """What a stage will make, as far as it is known before."""
    match stage:
        case RLStage(steps=steps, rollouts=r):
            samples = steps * r.questions * r.group
            return {"steps": steps, "samples": samples, "tokens at most": samples * r.max_tokens}
        case CollectStage(questions=questions, samples=samples, max_tokens=most):
            return {"samples": questions * samples, "tokens at most": questions * samples * most}
        case CompareStage(questions=questions, pairs=pairs, judgements=judgements, max_tokens=most):
            samples = 2 * questions * pairs
            return {"samples": samples, "tokens at most": samples * most, "judgements": questions * pairs * judgements}
        case SFTStage(epochs=epochs) | RewardModelStage(epochs=epochs):
            return {"epochs": epochs}
        case EvaluateStage(models=models, tasks=tasks, samples=samples):
            return {"samples": len(models) * sum(tasks.values()) * samples}
        case _:
            return {"steps": stage.steps}


class Watcher:
    """Shows a run's stages in the terminal."""

    def __init__(self, console: Console, recipe: Recipe) -> None:
        self.console, self.recipe = console, recipe
        self.display: Display | None = None

    def stage(self, name: str, done: int, planned: int) -> None:
        self.close()
        names, stage = list(self.recipe.stages), self.recipe.stages[name]
        if len(names) > 1:
            self.note(f"stage {names.index(name) + 1} of {len(names)}: {name} ({stage.kind})")
        parts: list[str] = []
        if isinstance(stage, EvaluateStage):
            parts = [f"{model} on {task}" for model in stage.models for task in stage.tasks]
        self.display = Display(self.console, name, planned, done=done, kind=stage.kind, parts=parts)
        self.display.__enter__()

    def step(self, metrics: StepMetrics) -> None:
        if self.display is not None:
            self.display.update(metrics)

    def note(self, text: str) -> None:
        if self.display is not None:
            self.display.note(text)
        else:
            self.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        if self.display is not None:
            self.display.__exit__(None, None, None)
        self.display = None


def run_recipe(recipe: Recipe, out: Path, console: Console, begin: str = "") -> dict[str, Any]:
    """Run a recipe under a display, then show and report what came of it; one of several seeds as a run of each. Of
    several processes the first one shows and reports."""
    console = console if launched().first else Console(quiet=True)
    if recipe.seeds:
        return _run_seeds(recipe, out, console, begin)
    watcher = Watcher(console, recipe)
    try:
        on = functools.partial(on_ray, run) if recipe.launcher == "ray" else run
        result = on(recipe, out, watcher, begin)
    finally:
        watcher.close()
    if launched().first:
        show_run(out, console)
    return result


def _run_seeds(recipe: Recipe, out: Path, console: Console, begin: str) -> dict[str, Any]:
    """The results by seed. What is written of several runs together is written after each, of those that are there."""
    if begin:
        raise UserError(
            f"--from {begin!r} is for one run; take one seed's: --set seeds=[] --set seed={recipe.seeds[0]} "
            f"--out {out / f'seed-{recipe.seeds[0]}'}"
        )
    results = {}
    for seed in recipe.seeds:
        console.print(f"seed {seed}", highlight=False)
        try:
            single = recipe.model_copy(update={"seed": seed, "seeds": ()})
            results[f"seed-{seed}"] = run_recipe(single, out / f"seed-{seed}", console)
        finally:
            if launched().first and recipe.name == "claims" and (out / f"seed-{seed}" / "recipe.yaml").is_file():
                for path in claims.write(out):
                    console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return results


def show_run(folder: Path, console: Console) -> None:
    """Print a run's tables and samples, and write its curves and its report."""
    found = read_run(folder)
    if has_many(found):
        print_stages(console, found)
    else:
        for stage in found.stages:
            if stage.evaluation:
                console.print(before_after_table(stage.evaluation))
            if stage.samples:
                print_samples(console, stage.samples)
    pictures = curves_png(found, folder)
    models = [stage.path / "model" for stage in found.stages if (stage.path / "model").is_dir()]
    written = [str(path) for path in (*pictures, write_report(folder), *(models if len(models) == 1 else ()))]
    if len(models) > 1:
        written.append(f"{len(models)} models, {found.path / 'stages' / 'NN-NAME' / 'model'}")
    for what in written:
        console.print(f"wrote {what}", markup=False, highlight=False, soft_wrap=True)
