"""A run's figures and samples in the terminal, coloured or plain.

    console.print(before_after_table(stage.evaluation))
    print_samples(console, stage.samples)

Text of models is put into `rich` as text, never as markup, and without control characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aha.studio.figures import basis, comparison
from aha.studio.read import WHENS, Example, Figures
from aha.studio.segments import segments, visible

_STYLES = {"think": "dim", "answer": "bold", "plain": "", "tag": "dim cyan", "turn": "yellow"}
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
