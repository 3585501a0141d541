"""Commands that train: run, review, workers, recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from aha.cli.shared import Json, Settings, app, complain, console, print_json, show
from aha.errors import Stopped, UserError


@app.command(rich_help_panel="Train")
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a recipe.yaml of an earlier run.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE where not given.")] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="End where an operation has no repeatable form on the device.")
    ] = False,
    begin: Annotated[str, typer.Option("--from", metavar="STAGE", help="Make this stage and all after it again.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the recipe, train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe. The same command goes on where a broken run stopped."""
    from aha.commands import load_recipe, plan, run_recipe
    from aha.distributed.world import launched

    chosen = load_recipe(recipe, [*(settings or []), *(["deterministic=true"] if deterministic else [])])
    if dry_run:
        facts = plan(chosen)
        if as_json:
            print_json(facts)
        else:
            resolved = facts.pop("recipe")
            show(facts, as_json)
            console.print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), markup=False, highlight=False)
        return
    shown = Console(stderr=True) if as_json else console
    try:
        result = run_recipe(chosen, out or Path("runs") / chosen.name, shown, begin)
    except Stopped as stopped:
        complain(f"stopped: {stopped}; the same command{' without --from' if begin else ''} goes on")
        raise typer.Exit(143) from stopped
    if as_json and launched().first:
        print_json(result)


@app.command(rich_help_panel="Train")
def review(
    folder: Annotated[Path, typer.Argument(metavar="STAGE", help="The folder of a stage that waits for review.")],
    export: Annotated[Path | None, typer.Option("--export", metavar="FILE", help="Write what is undecided.")] = None,
    take: Annotated[Path | None, typer.Option("--import", metavar="FILE", help="Take over its decisions.")] = None,
    by: Annotated[str, typer.Option(help="Who decided; kept with each decision.")] = "",
    as_json: Json = False,
) -> None:
    """Export conversations for review as JSONL, or import them with decision accept, edit or reject."""
    from aha.pipeline import review as reviews

    if (export is None) == (take is None):
        raise UserError("review needs either --export FILE or --import FILE")
    if export is not None:
        show({"rows": reviews.export(folder, export), "file": str(export)}, as_json)
    if take is not None:
        if not by:
            raise UserError("review --import needs --by NAME: who decided is kept with each decision")
        show(dict(reviews.take(folder, take, by)), as_json)


@app.command(rich_help_panel="Train")
def workers(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that goes on now.")],
    rollout: Annotated[int | None, typer.Option(help="As many that sample.", min=1)] = None,
    reward: Annotated[int | None, typer.Option(help="As many that grade.", min=0)] = None,
    as_json: Json = False,
) -> None:
    """See the workers of a run, or change how many there are."""
    from aha.distributed.rollout.channel import Kind
    from aha.pipeline.workers import asked_for

    chosen: dict[Kind, int | None] = {"rollout": rollout, "reward": reward}
    found = asked_for(folder, {kind: count for kind, count in chosen.items() if count is not None})
    asked = {f"{kind} from now on": count for kind, count in found["asked for"].items()}
    show(found if as_json else {"workers": ", ".join(found["workers"]), **asked}, as_json)


@app.command(rich_help_panel="Train")
def recipes(as_json: Json = False) -> None:
    """List the recipes."""
    from aha.pipeline.recipes import RECIPES

    made = {name: make() for name, make in RECIPES.items()}
    if as_json:
        print_json({name: r.model_dump(mode="json") for name, r in made.items()})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("recipe", "stages", "about"):
        table.add_column(heading)
    for name, r in made.items():
        table.add_row(name, ", ".join(r.stages), r.about)
    console.print(table)
