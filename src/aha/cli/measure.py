"""Commands that measure: eval, check, score."""

from __future__ import annotations

import sys
from typing import Annotated, Any, BinaryIO

import typer

from aha.cli.shared import Device, Dtype, Json, Threads, app, complain, console, print_json, print_line, show
from aha.errors import UserError


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
    show(figures, as_json)


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
        print_json({"tasks": reports, "ok": all(not r["faults"] for r in reports)})
    else:
        for report in reports:
            _show_check(report)
    if any(r["faults"] for r in reports):
        raise typer.Exit(1)


def _show_check(report: dict[str, Any]) -> None:
    verdict = f"[red]{len(report['faults'])} faults[/]" if report["faults"] else "[green]ok[/]"
    console.print(f"{report['task']}: {report['checked']} problems, {verdict}", highlight=False)
    for fault in report["faults"]:
        print_line(f"  {fault['file']} row {fault['row']} {fault['reason']}")
    if report["without_gold"]:
        print_line(f"  {report['without_gold']} rows have no gold answer: only the wrong one was graded")
    if report["duplicates"]:
        print_line(f"  {report['duplicates']} rows left out: their question is in another file already")
    if report["left_out"]:
        print_line(f"  {len(report['left_out'])} rows left out because they cannot be graded:")
    for row in report["left_out"]:
        print_line(f"    {row}")


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
                print_json(line)
            else:
                shown = f"{line['value']:.4g}" if line["outcome"] == "score" else line["outcome"]
                print_line(f"{line['row']}  {shown:<7}  {line['why']}")
            sys.stdout.flush()
    if not as_json:
        mean = f", mean {total / counts['score']:.4g}" if counts["score"] else ""
        complain(
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
