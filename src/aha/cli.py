"""The command line. Commands are thin: they read arguments, call the package, and show what came of it.

Exit status: 0 done, 1 a run or a check failed, 2 what was given cannot be used, 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer
import yaml
from rich.console import Console
from rich.table import Table

from aha.errors import RunFailed, UserError

app = typer.Typer(
    name="aha",
    help="DeepSeek-R1 as software: train, evaluate and use reasoning models, from a laptop CPU to GPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change any field of the recipe.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel="Machine")]
Dtype = Annotated[str, typer.Option(help="auto, fastest, float32 or bfloat16.", rich_help_panel="Machine")]
Threads = Annotated[int, typer.Option(help="0: the physical cores.", min=0, rich_help_panel="Machine")]


@app.command(rich_help_panel="Train")
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a recipe.yaml of an earlier run.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE where not given.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the recipe, train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe. The same command goes on where a broken run stopped."""
    from aha.commands import load_recipe, plan, run_recipe

    chosen = load_recipe(recipe, settings or [])
    if dry_run:
        facts = plan(chosen)
        if as_json:
            _print_json(facts)
        else:
            resolved = facts.pop("recipe")
            _show(facts, as_json)
            console.print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), markup=False, highlight=False)
        return
    result = run_recipe(chosen, out or Path("runs") / chosen.name, Console(stderr=True) if as_json else console)
    if as_json:
        _print_json(result)


@app.command(rich_help_panel="Train")
def recipes(as_json: Json = False) -> None:
    """List the recipes."""
    from aha.pipeline.recipes import RECIPES

    made = {name: make() for name, make in RECIPES.items()}
    if as_json:
        _print_json({name: r.model_dump(mode="json") for name, r in made.items()})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("recipe", "stages", "about"):
        table.add_column(heading)
    for name, r in made.items():
        table.add_row(name, ", ".join(r.stages), r.about)
    console.print(table)


@app.command("eval", rich_help_panel="Measure")
def evaluate(
    model: Annotated[str, typer.Argument(help="tiny, tiny-small, a folder, or a hub id.")],
    task: Annotated[str, typer.Option(help="countdown, arithmetic, gsm8k:FILE_OR_HUB_ID.")] = "countdown",
    samples: Annotated[int, typer.Option("-n", "--samples", help="Responses to each problem.", min=1)] = 16,
    problems: Annotated[int, typer.Option(help="Test problems.", min=1)] = 100,
    k: Annotated[int, typer.Option("-k", help="The k of pass@k and cons@k; 0: all samples.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0, rich_help_panel="Sampling")] = 0.6,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, rich_help_panel="Sampling")] = 0.95,
    max_tokens: Annotated[int, typer.Option(help="Length of a response.", min=1, rich_help_panel="Sampling")] = 320,
    template: Annotated[str, typer.Option(help="auto, chat, r1-zero, short.", rich_help_panel="Sampling")] = "auto",
    seed: Annotated[int, typer.Option(rich_help_panel="Sampling")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Evaluate a model: pass@1 with its standard error, pass@k, cons@k, format, length."""
    from aha.commands import evaluate_model
    from aha.types import Sampling

    figures = evaluate_model(
        model, task, problems=problems, samples=samples, k=k or samples, seed=seed, template=template,
        sampling=Sampling(max_tokens, temperature, 0, top_p), machine=(device, dtype, threads),
    )  # fmt: skip
    _show(figures, as_json)


@app.command(rich_help_panel="Measure")
def check(
    task: Annotated[str | None, typer.Argument(help="A task; all embedded ones where not given.")] = None,
    rows: Annotated[int, typer.Option(help="Problems of each split to check.", min=1)] = 200,
    as_json: Json = False,
) -> None:
    """Prove a task's grader: the gold answer scores 1, a wrong one 0."""
    from aha.commands import check_tasks

    reports = check_tasks(task, rows)
    if as_json:
        _print_json({"tasks": reports, "ok": all(not r["faults"] for r in reports)})
    else:
        for report in reports:
            verdict = "[green]ok[/]" if not report["faults"] else "[red]faulty[/]"
            console.print(f"{report['task']}: {report['checked']} problems, {verdict}", highlight=False)
            for fault in report["faults"]:
                console.print(f"  {fault}", markup=False, highlight=False)
    if any(r["faults"] for r in reports):
        raise typer.Exit(1)


@app.command(rich_help_panel="Use")
def chat(
    model: Annotated[str, typer.Argument(help="tiny, a folder, or a hub id.")],
    temperature: Annotated[float, typer.Option(min=0, rich_help_panel="Sampling")] = 0.6,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, rich_help_panel="Sampling")] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, rich_help_panel="Sampling")] = 512,
    template: Annotated[str, typer.Option(help="auto, chat, r1-zero, short.", rich_help_panel="Sampling")] = "auto",
    seed: Annotated[int, typer.Option(rich_help_panel="Sampling")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = 0,
) -> None:
    """Talk to a model; its thinking is dimmed, apart from the answer."""
    from aha.chat import converse
    from aha.types import Sampling

    sampling = Sampling(max_tokens, temperature, 0, top_p)
    converse(console, model, template, sampling, seed, machine=(device, dtype, threads))


@app.command(rich_help_panel="Use")
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, finished or not.")],
) -> None:
    """Write a run's report.html and curves.png, and print its table."""
    from aha.commands import show_run

    show_run(folder, console)


@app.command(rich_help_panel="Use")
def doctor(as_json: Json = False) -> None:
    """Examine this machine."""
    from aha.doctor import examine

    findings = examine()
    if as_json:
        _print_json({f.name: {"value": f.value, "state": f.state, "remedy": f.remedy} for f in findings})
    else:
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}
        table = Table(box=None, pad_edge=False, show_header=False)
        for f in findings:
            table.add_row(f.name, marks[f.state], f.value, f"[dim]{f.remedy}[/]")
        console.print(table)
    if any(f.state == "bad" for f in findings):
        raise typer.Exit(1)


def _show(values: dict[str, Any], as_json: bool) -> None:
    """A mapping as JSON, or as aligned lines."""
    if as_json:
        _print_json(values)
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        console.print(f"{name:<{width}}  {text}", markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def main() -> NoReturn:
    """Entry point: what a user can mend becomes one sentence, everything else a traceback."""
    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted; the same command goes on from the last checkpoint")
        code = 130
    except UserError as error:
        _complain(str(error))
        code = 2
    except RunFailed as error:
        _complain(str(error))
        code = 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror}{where}; free space or choose another folder with --out, then run the same command")
        code = 1
    except Exception as error:
        show = getattr(error, "format_message", None)  # the command line parser's own errors
        if show is None:
            raise
        _complain(f"{show()} See aha --help.")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _complain(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"aha: {sentence}", markup=False, highlight=False)
