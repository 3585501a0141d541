"""A run's stages, figures and samples in the terminal, coloured or plain.

    console.print(before_after_table(stage.evaluation))
    print_samples(console, stage.samples)
    print_stages(console, run)         # of a run with several stages: their list, their table, a few samples

Text of models is put into `rich` as text, never as markup, and without control characters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aha.studio.figures import DASH, basis, comparison, duration
from aha.studio.files import Figures
from aha.studio.lineage import rows_of
from aha.studio.read import WHENS, Example, Run
from aha.studio.segments import segments, visible
from aha.studio.standing import Cell, Column, Standing, last_table
from aha.studio.summary import result, seconds

_STYLES = {"think": "dim", "answer": "bold", "plain": "", "tag": "dim cyan", "turn": "yellow"}
_STATES = {"finished": "green", "failed": "red", "waiting": "dim"}
ROOM = 100  # columns of a terminal from which on the list of stages has their kinds
GAP = 2  # columns between those of a table
HEADING = 3  # lines
_DIRECTIONS = {1: "green", -1: "red", 0: ""}


def before_after_table(evaluation: Mapping[str, Figures]) -> Table:
    """Metric, before, after, change; what was not measured shows a dash. Its caption says what was asked."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left", padding=(0, 3, 0, 0))
    table.add_column("metric", no_wrap=True)
    for name in (*WHENS, "change"):
        table.add_column(name, justify="right")
    for row in comparison(evaluation):
        table.add_row(row.metric, row.before, row.after, Text(row.change, style=_DIRECTIONS[row.direction]))
    table.caption = Text(basis(evaluation), style="dim")
    return table


def print_stages(console: Console, run: Run, shown: int = 3) -> None:
    """All stages in a list, the last table of models and tasks, and `shown` samples of the last stage that has some."""
    console.print(stages_table(run, console.width))
    measured = last_table(run)
    if measured is not None:
        console.print()
        for table in standing_tables(measured[1], console.width):
            console.print(table)
        told = f"% of samples that are right, ± one standard error; best marked *; {measured[1].basis}"
        console.print(Text(told, style="dim"))
    for stage in reversed(run.stages):
        when = next((when for when in reversed(WHENS) if stage.samples.get(when)), None)
        if when is not None:
            console.print()
            console.print(Text(f"samples of {visible(stage.name)}", style="bold"), highlight=False)
            print_samples(console, {when: stage.samples[when]}, shown)
            return


def stages_table(run: Run, width: int) -> Table:
    """A row a stage: its kind (where there is room), its state, what it reads, how long it took, what came of it."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    wide = width >= ROOM
    for name in ("stage", *(["kind"] if wide else []), "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("from", max_width=20, overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("result", ratio=1, overflow="fold")
    spent = seconds(run)
    for row in rows_of(run):
        if row.kind == "model":
            continue
        stage = row.stage if row.state != "waiting" else None
        took = duration(spent[stage.number]) if stage is not None and stage.number in spent else DASH
        outcome = visible(result(stage)) if stage is not None else DASH
        state = Text(visible(row.state), style=_STATES.get(row.state, "yellow"))
        kind = [Text(visible(row.kind), style="dim")] if wide else []
        table.add_row(Text(visible(row.name)), *kind, state, Text(visible(row.sources)), took, Text(outcome))
    return table


def standing_tables(standing: Standing, width: int) -> list[Table]:
    """Models as rows and what was measured as columns, in as many tables as the width asks for."""
    names = max(len(model) for model in standing.models)
    needed = {column.name: _width(column) for column in standing.columns}
    blocks: list[list[Column]] = [[]]
    for column in standing.columns:
        if names + sum(GAP + needed[c.name] for c in (*blocks[-1], column)) > width and blocks[-1]:
            blocks.append([])
        blocks[-1].append(column)
    tables = []
    for block in blocks:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
        table.add_column("", no_wrap=True, min_width=names)
        for column in block:
            table.add_column(Text(visible(column.label)), justify="right", width=needed[column.name])
        for place, model in enumerate(standing.models):
            table.add_row(Text(visible(model)), *(_cell(column.cells[place]) for column in block))
        tables.append(table)
    return tables


def _width(column: Column) -> int:
    """Of its widest cell, and as wide as its heading needs to take no more than three lines."""
    width = max(len(word) for word in (*(_cell(c).plain for c in column.cells), *column.label.split()))
    while len(textwrap.wrap(column.label, width)) > HEADING:
        width += 1
    return width


def _cell(cell: Cell) -> Text:
    return Text(f"{cell.text}{'*' if cell.best else ''}", style="bold green" if cell.best else "", no_wrap=True)


def print_samples(console: Console, samples: Mapping[str, Sequence[Example]], count: int = 3) -> None:
    """Up to `count` responses from before and after: thinking dimmed, the answer bold, each with its verdict."""
    for when in WHENS:
        shown = samples.get(when, ())[:count]
        if shown:
            console.print()
            console.print(Text(f"{when} training", style="bold underline"))
        for example in shown:
            console.print()
            console.print(Text(visible(example.question), style="bold"), highlight=False)
            console.print(Padding(_response(example.response), (0, 0, 0, 2), expand=False), highlight=False)
            console.print(Padding(_verdict(example), (0, 0, 0, 2), expand=False), highlight=False)


def _response(response: str) -> Text:
    text = Text()
    for part in segments(response.strip()):
        text.append(part.text, style=_STYLES[part.kind])
    return text or Text("(nothing)", style="dim")


def _verdict(example: Example) -> Text:
    """`right: 3*5+7 = 22 · 63 tokens · turned back`."""
    text = Text()
    accuracy = example.score.get("accuracy")
    words = {None: ("not graded", "yellow"), 1.0: ("right", "green"), 0.0: ("wrong", "red")}
    text.append(*words.get(accuracy, (f"accuracy {accuracy:g}" if accuracy is not None else "", "yellow")))
    if example.why.get("accuracy"):
        text.append(f": {visible(example.why['accuracy'])}", style="dim")
    if example.length is not None:
        text.append(f" · {example.length} tokens", style="dim")
    if example.score.get("format") == 0.0:
        text.append(" · not in the format", style="dim")
    if example.turned_back:
        text.append(" · turned back", style="yellow")
    return text
