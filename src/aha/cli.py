"""The command line. Commands are thin: they read arguments, call the package, and show what came of it.

Exit status: 0 done, 1 a run or a check failed, 2 what was given cannot be used, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aha.errors import RunFailed, Stopped, UserError

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

    chosen = load_recipe(recipe, [*(settings or []), *(["deterministic=true"] if deterministic else [])])
    if dry_run:
        facts = plan(chosen)
        if as_json:
            _print_json(facts)
        else:
            resolved = facts.pop("recipe")
            _show(facts, as_json)
            console.print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), markup=False, highlight=False)
        return
    shown = Console(stderr=True) if as_json else console
    try:
        result = run_recipe(chosen, out or Path("runs") / chosen.name, shown, begin)
    except Stopped as stopped:
        _complain(f"stopped: {stopped}; the same command{' without --from' if begin else ''} goes on")
        raise typer.Exit(143) from stopped
    if as_json:
        _print_json(result)


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
        _show({"rows": reviews.export(folder, export), "file": str(export)}, as_json)
    if take is not None:
        if not by:
            raise UserError("review --import needs --by NAME: who decided is kept with each decision")
        _show(dict(reviews.take(folder, take, by)), as_json)


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
    task: Annotated[str, typer.Option(help="countdown, math500:FILE_OR_HUB_ID, ...: see aha check.")] = "countdown",
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
    task: Annotated[
        str | None,
        typer.Argument(metavar="[TASK|FILE]", help="A task, a file or folder of rows; all embedded tasks by default."),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="Problems of each split; 0: all rows, 200 of a task without end.", min=0)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Prove a task's grader: every gold answer scores 1, a wrong one 0; rows that fail are listed with the reason.

    Tasks: countdown, arithmetic, logic, functions, requests, reasoning-gym, and with :FILE, :FOLDER or :HUB_ID gsm8k,
    math, math500, mgsm, humaneval, bbh, ifeval, prompts. A file alone is recognised by its rows.
    """
    from aha.tasks.checking import check as check_task
    from aha.tasks.table import EMBEDDED

    reports = [check_task(name, rows) for name in ([task] if task else EMBEDDED)]
    if as_json:
        _print_json({"tasks": reports, "ok": all(not r["faults"] for r in reports)})
    else:
        for report in reports:
            _show_check(report)
    if any(r["faults"] for r in reports):
        raise typer.Exit(1)


def _show_check(report: dict[str, Any]) -> None:
    verdict = f"[red]{len(report['faults'])} faults[/]" if report["faults"] else "[green]ok[/]"
    console.print(f"{report['task']}: {report['checked']} problems, {verdict}", highlight=False)
    for fault in report["faults"]:
        _print_line(f"  {fault['file']} row {fault['row']} {fault['reason']}")
    if report["without_gold"]:
        _print_line(f"  {report['without_gold']} rows have no gold answer: only the wrong one was graded")
    if report["duplicates"]:
        _print_line(f"  {report['duplicates']} rows left out: their question is in another file already")
    if report["left_out"]:
        _print_line(f"  {len(report['left_out'])} rows left out because they cannot be graded:")
    for row in report["left_out"]:
        _print_line(f"    {row}")


@app.command(rich_help_panel="Measure")
def score(
    file: Annotated[str, typer.Argument(metavar="FILE.jsonl", help="Rows with a completion; - for standard input.")],
    reward: Annotated[str, typer.Option(help="math, code, format, language, ...: see docs/rewards.md.")] = "math",
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Run code without a sandbox, as your own user.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a row and nothing else.")] = False,
) -> None:
    """Score a file of answers, a line a row. Exit status 1 where a row could not be scored."""
    from aha.rewards.scoring import score as score_rows

    total = 0.0
    counts = {"score": 0, "abstain": 0, "failed": 0}
    with _binary(file) as stream:
        for line in score_rows(stream.read, reward, unsafe=unsafe):
            counts[line["outcome"]] += 1
            total += line["value"] or 0.0
            if as_json:
                _print_json(line)
            else:
                shown = f"{line['value']:.4g}" if line["outcome"] == "score" else line["outcome"]
                _print_line(f"{line['row']}  {shown:<7}  {line['why']}")
            sys.stdout.flush()
    if not as_json:
        mean = f", mean {total / counts['score']:.4g}" if counts["score"] else ""
        _complain(
            f"{sum(counts.values())} rows: {counts['score']} scored{mean}, {counts['abstain']} abstained, "
            f"{counts['failed']} failed"
        )
    if counts["failed"]:
        raise typer.Exit(1)


def _binary(file: str) -> BinaryIO:
    """An unbuffered stream, so that a row is graded as soon as it has been written."""
    try:
        return open(0, "rb", buffering=0, closefd=False) if file == "-" else open(file, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise UserError(f"file {file!r} cannot be read ({error}); give a .jsonl file, or - for stdin") from error


@app.command(rich_help_panel="Use")
def sandbox(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="A Python program.")],
    stdin: Annotated[Path | None, typer.Option(metavar="FILE", help="What the program reads.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds.", min=0.1, max=600)] = 5.0,
    as_json: Json = False,
) -> None:
    """Run one program under the limits of the code reward. Exit status 0 where its own was."""
    from aha.rewards.sandbox import run_file

    ran = run_file(file, stdin, timeout)
    if as_json:
        _print_json(ran)
    else:
        _print_line(f"status   {ran['status']}")
        _print_line(f"exit     {ran['exit']}")
        _print_line(f"seconds  {ran['seconds']:.3f}")
        for stream in ("stdout", "stderr"):
            if ran[stream]:
                _print_line(f"{stream}:")
                for line in ran[stream].splitlines():
                    _print_line(f"  {line}")
    if ran["status"] != "ok":
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
            table.add_row(f.name, marks[f.state], escape(f.value), f"[dim]{escape(f.remedy)}[/]")
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


def _print_line(text: str) -> None:
    """One line, whatever `text` holds: what does not print (line ends, escape sequences) is shown by its number."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    console.print(shown, markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=not unicode) + "\n")


def main() -> NoReturn:
    """Entry point: what a user can mend becomes one sentence, everything else a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rows may hold what no encoding knows
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
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
