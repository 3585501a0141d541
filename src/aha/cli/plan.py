"""The command that plans: what a recipe takes, before anything runs."""

from __future__ import annotations

from typing import Annotated

import typer

from aha.cli.shared import Json, Settings, app, console, print_json


@app.command(rich_help_panel="Train")
def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a recipe.yaml.")],
    settings: Settings = None,
    gpus: Annotated[
        str, typer.Option(metavar="8xH100", help="How many of which; here: this machine, measured.")
    ] = "here",
    mean_tokens: Annotated[
        float | None, typer.Option(help="Mean length of a response, for what is to be expected.", min=1)
    ] = None,
    prompt_tokens: Annotated[
        float | None, typer.Option(help="Mean length of a prompt; measured where model and task are here.", min=1)
    ] = None,
    rows: Annotated[
        int, typer.Option(help="Conversations of a file that is not here; the paper's 800,000 by default.", min=1)
    ] = 800_000,
    price: Annotated[float | None, typer.Option(help="$ an hour of one GPU.", min=0, rich_help_panel="Machine")] = None,
    mfu: Annotated[
        float, typer.Option(help="Share of the FLOP/s that is reached.", min=0.01, max=1, rich_help_panel="Machine")
    ] = 0.4,
    bandwidth: Annotated[
        float, typer.Option(help="Share of the bandwidth, when decoding.", min=0.01, max=1, rich_help_panel="Machine")
    ] = 0.6,
    paged: Annotated[
        bool, typer.Option("--paged", help="With a paged, compressed cache; aha's has none.", rich_help_panel="Machine")
    ] = False,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="With layers recomputed; aha keeps them.", rich_help_panel="Machine")
    ] = False,
    formulas: Annotated[bool, typer.Option("--formulas", help="Print how each number is made.")] = False,
    as_json: Json = False,
) -> None:
    """Estimate a recipe's memory, tokens, FLOPs, time and cost, stage by stage. Nothing is downloaded or run."""
    from aha.commands import load_recipe
    from aha.planning import plan as planning
    from aha.planning.show import shown

    chosen = load_recipe(recipe, settings or [])
    prompt = planning.prompt_tokens(chosen) if prompt_tokens is None else prompt_tokens
    assumed = planning.Assumptions(prompt, mean_tokens, rows, mfu, bandwidth, paged, recompute)
    made = planning.plan_on(chosen, gpus, assumed, price)
    if as_json:
        print_json(made.as_dict())
        return
    for part in shown(made, formulas=formulas):
        console.print(part, highlight=False)
