"""The head of a report of many stages: what reads what and what came of it, and the table of models and tasks.

Lines between the rows are boxes with borders, so that they keep up with rows of any height. Every text goes through
`text`.
"""

from __future__ import annotations

from collections.abc import Iterator

from aha.studio.figures import duration
from aha.studio.lineage import Mark, Row, rows_of
from aha.studio.read import Run
from aha.studio.sections import pill, text
from aha.studio.standing import Standing, last_table
from aha.studio.summary import result, seconds

LANE, EDGE = 15, 11  # pixels from lane to lane, and from the first lane to the edge
DOT, LEAVE = 21, 33  # where the middle of a row's dot is, and where its line leaves for a lane, from the row's top
TILES = 4
_LEGEND = (("model", "weights"), ("data", "conversations or preferences"), ("reward", "rewards"))


def overview(run: Run) -> str:
    """The list of stages with the lines between them, and the last table that the run has of its models."""
    rows = rows_of(run)
    spent = seconds(run)
    lanes = max((mark.lane for row in rows for mark in row.marks), default=0)
    items = "".join(_item(row, lanes, spent) for row in rows)
    made = {row.made for row in rows if row.below or any(m.shape == "begin" for m in row.marks)}
    legend = "".join(f'<li><i class="{name}"></i>{words}</li>' for name, words in _LEGEND if name in made)
    measured = last_table(run)
    table = f'<h2 id="table">Table of stages</h2>{standing_table(measured[1])}' if measured else ""
    return (
        f'<section aria-label="overview"><h2>Pipeline</h2><ul class="legend lines">{legend}</ul>'
        f'<ol class="flow">{items}</ol>{table}</section>'
    )


def tiles(table: Standing) -> str:
    """The first model of the table against the best one, by task."""
    shown = []
    for column in table.columns:
        best = next((i for i, cell in enumerate(column.cells) if cell.best), None)
        if best is None or column.cells[0].share is None or column.name in ("format", "language"):
            continue
        first, top = (column.cells[i].text.split(" ±")[0] for i in (0, best))
        names = " → ".join(text(table.models[i]) for i in dict.fromkeys((0, best)))
        shown.append(
            f'<div class="tile"><b><i>{first} % →</i> {top} %</b><span>{text(column.label)}<br>{names}</span></div>'
        )
    return f'<div class="tiles">{"".join(shown[:TILES])}</div>' if shown else ""


def standing_table(table: Standing) -> str:
    """Models as rows, what was measured of them as columns."""
    head = "".join(f'<th scope="col">{text(column.label)}</th>' for column in table.columns)
    body = []
    for place, model in enumerate(table.models):
        cells = []
        for column in table.columns:
            cell = column.cells[place]
            mark = "best" if cell.best else "near" if cell.near else ""
            bar = f' style="--share:{100 * cell.share:.1f}%"' if cell.share is not None else ""
            kind = " ".join(name for name in (mark, "share" if bar else "") if name)
            value, plus, error = cell.text.partition(" ±")
            shown = f"<b>{text(value)}</b>{f'<small> ±{text(error)}</small>' if plus else ''}"
            cells.append(f'<td class="{kind}"{bar}>{shown}</td>')
        body.append(f'<tr><th scope="row">{text(model)}</th>{"".join(cells)}</tr>')
    marks = "Bold: the best of its column; underlined: within two standard errors of it."
    told = f"Tasks: pass@1 in %, ± one standard error over problems. {marks} {text(table.basis)}."
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="table of stages"><table class="standing">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="note">{told}</p>'
    )


def _item(row: Row, lanes: int, spent: dict[int, float]) -> str:
    stage = row.stage
    name = text(row.name.removeprefix("model:").rpartition("/")[2])
    if stage is not None and stage.state != "waiting":
        name = f'<a href="#stage-{stage.number}">{name}</a>'
    kind = f' <span class="kind">{text(row.kind)}</span>' if row.kind and row.kind != "model" else ""
    state = f" {pill(row.state)}" if row.state not in ("", "finished", "waiting") else ""
    outcome = text(result(stage)) if stage is not None and stage.state != "waiting" else ""
    took = duration(spent[stage.number]) if stage is not None and stage.number in spent else ""
    waiting = " waiting" if row.state == "waiting" else ""
    return (
        f'<li class="row{waiting}">{_lines(row, lanes)}'
        f'<div class="what"><b>{name}</b>{kind}{state}<span>{text(row.words)}</span></div>'
        f'<div class="came">{outcome or ("not begun" if waiting else "")}</div><div class="took">{took}</div></li>'
    )


def _lines(row: Row, lanes: int) -> str:
    """The lines beside a row, and its dot."""
    middle = EDGE + LANE * lanes
    parts = []
    if row.above:
        parts.append(_box(row.above, middle, "top:0", f"height:{DOT - 6}px", "l"))
    if row.below:
        parts.append(_box(row.below, middle, f"top:{DOT + 6}px", "bottom:0", "l"))
    for mark in row.marks:
        parts += _mark(mark, EDGE + LANE * (lanes - mark.lane), middle)
    dot = f'<i class="dot {row.made}" style="left:{middle - 6}px;top:{DOT - 6}px"></i>'
    return f'<div class="lines" style="width:{middle + EDGE}px" aria-hidden="true">{"".join(parts)}{dot}</div>'


def _mark(mark: Mark, x: int, middle: int) -> Iterator[str]:
    across = f"width:{middle - x - 7}px"
    match mark.shape:
        case "line":
            yield _box(mark.made, x, "top:0", "bottom:0", "l")
        case "end":
            yield _box(mark.made, x, "top:0", f"height:{DOT + 1}px;{across}", "l b")
        case "branch":
            yield _box(mark.made, x, "top:0", "bottom:0", "l")
            yield _box(mark.made, x, f"top:{DOT - 1}px", f"height:0;{across}", "t")
        case "begin":
            yield _box(mark.made, middle, f"top:{DOT + 6}px", f"height:{LEAVE - DOT - 5}px", "l")
            yield _box(mark.made, x, f"top:{LEAVE}px", f"bottom:0;width:{middle - x}px", "l t")


def _box(made: str, x: int, top: str, size: str, sides: str) -> str:
    return f'<i class="{made} {sides}" style="left:{x - 1}px;{top};{size}"></i>'
