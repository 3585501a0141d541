"""Commands that use what was made: chat, report, doctor, sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from aha.cli.shared import Device, Dtype, Json, Threads, app, console, print_json, print_line
from aha.errors import UserError

if TYPE_CHECKING:
    from aha.doctor.findings import Finding


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
        print_json(ran)
    else:
        print_line(f"status   {ran['status']}")
        print_line(f"exit     {ran['exit']}")
        print_line(f"seconds  {ran['seconds']:.3f}")
        for stream in ("stdout", "stderr"):
            if ran[stream]:
                print_line(f"{stream}:")
                for line in ran[stream].splitlines():
                    print_line(f"  {line}")
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
def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Examine all processes of a run: start it as the run, with torchrun.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs where not given.", rich_help_panel="With --cluster")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda: as the run's.", rich_help_panel="With --cluster")
    ] = "auto",
    wait: Annotated[
        float, typer.Option(help="Seconds for each check.", min=5, rich_help_panel="With --cluster")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Examine this machine.

    With --cluster, all processes of a run before its first step.
    """
    if cluster:
        from aha.doctor.cluster import Examination, examine

        def show(found: Examination) -> None:
            _show_findings(found.findings, found.as_dict() if as_json else None)

        fails = examine(out or Path("runs"), device, wait, show).fails
    else:
        from aha.doctor import machine

        if out is not None or device != "auto":
            raise UserError(f"{'--out' if out is not None else '--device'} is for --cluster; give both, or neither")
        findings = machine.examine()
        _show_findings(findings, {f.name: f.as_dict() for f in findings} if as_json else None)
        fails = any(f.state == "fails" for f in findings)
    if fails:
        raise typer.Exit(1)


def _show_findings(findings: Sequence[Finding], plain: dict[str, Any] | None) -> None:
    """A table, or `plain` data as JSON."""
    if plain is not None:
        print_json(plain)
        return
    marks = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fails": "[red]fails[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for f in findings:
        table.add_row(f.name, marks[f.state], escape(f.value), f"[dim]{escape(f.remedy)}[/]")
    console.print(table)
