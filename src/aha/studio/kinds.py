"""The parts of a report that stages of one kind have: what a stage collected, what a reward model is worth, tables of
evaluations. Each is a function from what was read to HTML; every text goes through `text`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from aha.studio.figures import DASH, listing, number, show
from aha.studio.files import Figures, part
from aha.studio.made import ALL, Collected, HeldBack, because, collected, evaluated, held_back
from aha.studio.overview import standing_table
from aha.studio.read import Stage
from aha.studio.sections import sample, text
from aha.studio.standing import standing

BINS = 24  # of the distribution of margins, an even number: none reaches over 0


def collect(stage: Stage) -> str:
    """What was kept and why the rest was not, by domain, with a few conversations."""
    found = collected(stage)
    things = "pairs" if stage.kind == "compare" else "samples"
    told = (_asked(stage, found, things), _reviewed(found), _spent(stage))
    return "".join((*told, _dropped(found, things), _domains(found), _kept(found)))


def _asked(stage: Stage, found: Collected, things: str) -> str:
    config = stage.config
    least = part(config, "least")
    passes = ", ".join(f"{text(name)} ≥ {number(v)}" for name, v in least.items() if isinstance(v, int | float))
    parts = [f"{found.asked:,} questions so far" if stage.state != "finished" else f"{found.asked:,} questions"]
    if isinstance(config.get(things), int):
        parts[0] += f" × {config[things]} {things}"
    if isinstance(config.get("keep"), int):
        parts.append(f"at most {config['keep']} kept of a question")
    if passes:
        parts.append(f"passes: {passes}")
    if found.questions_kept:
        parts.append(f"{100 * found.questions_kept / found.asked:.0f} % of the questions have one")
    parts += [f"{count:,} {word}" for word, count in found.how.items()]
    return f'<p class="note">{"; ".join(parts)}.</p>'


def _spent(stage: Stage) -> str:
    """What endpoints were asked, and what that has cost."""
    lines = []
    for role, books in part(stage.result, "books").items():
        spent = {name: n for name, n in part(books).items() if isinstance(n, int | float)}
        counts = ", ".join(
            f"{spent[name]:,.0f} {words}"
            for name, words in (("requests", "requests"), ("tokens_in", "tokens in"), ("tokens_out", "tokens out"))
            if name in spent
        )
        dollars = f", {spent['dollars']:.2f} dollars" if spent.get("dollars") else ""
        lines.append(f'<p class="note">Endpoint ({text(role)}): {counts}{dollars}.</p>')
    return "".join(lines)


def _reviewed(found: Collected) -> str:
    words = {"accept": "accepted", "edit": "edited", "reject": "rejected", "waiting": "waiting for a decision"}
    told = ", ".join(f"{count:,} {words.get(name, text(name))}" for name, count in found.reviewed.items())
    return f'<p class="note">Reviewed by people: {told}.</p>' if told else ""


def _dropped(found: Collected, things: str) -> str:
    """Bars: of all samples those that were kept, and the others by reason."""
    if not found.sampled:
        return ""
    rows = [("kept", found.kept, "kept"), *((because(r), n, "") for r, n in found.reasons.items())]
    bars = "".join(
        f'<tr><th scope="row">{text(label)}</th><td class="bars"><i class="{kind}" '
        f'style="width:{100 * count / found.sampled:.2f}%"></i></td><td>{count:,}</td>'
        f"<td>{show(count / found.sampled, 'share')}</td></tr>"
        for label, count, kind in rows
    )
    surplus = " Surplus: passed, but of a question that had enough." if "enough" in found.reasons else ""
    return (
        f'<h3>Kept and dropped</h3><table class="reasons"><caption>{found.sampled:,} {things}.{surplus}</caption>'
        f"<tbody>{bars}</tbody></table>"
    )


def _domains(found: Collected) -> str:
    if not found.table:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("domain", "samples", "rounds", "tokens a response"))
    rows = []
    for domain, line in found.table.items():
        cells = (_whole(line["samples"]), show(line["turns"], "count"), show(line["tokens"], "tokens"))
        mark = ' class="after"' if domain == ALL else ""
        rows.append(
            f'<tr{mark}><th scope="row">{text(domain)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        )
    note = "Rounds: messages of the user. Tokens: of sampled responses, where they were counted."
    return (
        f'<h3>Conversations by domain</h3><div class="scroll"><table class="wrap"><caption>{note}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _kept(found: Collected) -> str:
    cards = "".join(sample(name, example, graded=False) for name, example in found.shown)
    return f'<h3>Kept, to read</h3><div class="pair three">{cards}</div>' if cards else ""


def reward(stage: Stage) -> str:
    """With how many held-back preferences it agrees, by kind, and how clearly."""
    found = held_back(stage)
    if not found:
        after = stage.evaluation.get("after", {})
        agreement, asked = after.get("agreement"), after.get("asked")
        if isinstance(agreement, float) and isinstance(asked, float):
            return f"<p>Agrees with {show(agreement, 'share')} of {asked:,.0f} held-back preferences.</p>"
        return ""
    kinds = list(dict.fromkeys(one.kind for one in sorted(found, key=lambda one: one.kind)))
    groups = [(kind, [one for one in found if one.kind == kind]) for kind in kinds if len(kinds) > 1]
    rows = "".join(_agreement(kind or "others", own) for kind, own in groups) + _agreement("all", found, total=True)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("kind", "held back", "agrees", "mean margin"))
    return (
        '<h3>Held-back preferences</h3><div class="beside"><div class="scroll"><table class="wrap">'
        "<caption>The margin is by how much its number speaks for the right side; ± is one standard error.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{_margins(found)}</div>"
    )


def _agreement(kind: str, found: Sequence[HeldBack], total: bool = False) -> str:
    share = sum(one.right for one in found) / len(found)
    error = math.sqrt(share * (1 - share) / len(found))
    mark = ' class="after"' if total else ""
    return (
        f'<tr{mark}><th scope="row">{text(kind)}</th><td>{len(found):,}</td>'
        f"<td>{100 * share:.1f} ± {100 * error:.1f} %</td>"
        f"<td>{number(math.fsum(one.margin for one in found) / len(found))}</td></tr>"
    )


def _margins(found: Sequence[HeldBack]) -> str:
    """The distribution of margins, drawn as bars of equal width from minus to plus the largest."""
    reach = max(abs(one.margin) for one in found) or 1.0
    counts = [0] * BINS
    for one in found:
        counts[min(BINS - 1, math.floor((one.margin / reach + 1) / 2 * BINS))] += 1
    width, height, top = 13, 120, max(counts)
    bars = "".join(
        f'<rect x="{place * width + 1}" y="{height - height * count / top:.1f}" width="{width - 2}" '
        f'height="{height * count / top:.1f}" fill="var({"--curve-1" if place >= BINS // 2 else "--curve-2"})"/>'
        for place, count in enumerate(counts)
        if count
    )
    middle, end = BINS * width / 2, BINS * width
    labels = "".join(
        f'<text x="{x:.1f}" y="{height + 17}" text-anchor="{anchor}" font-size="11" fill="var(--muted)">{label}</text>'
        for x, anchor, label in (
            (0, "start", f"{-reach:.2g}"), (middle, "middle", "0"), (end, "end", f"{reach:.2g}"),
        )
    )  # fmt: skip
    told = f"{sum(one.right for one in found):,} of {len(found):,} are on the right side"
    return (
        "<figure><figcaption><b>Margins</b>left of 0: it prefers the wrong side</figcaption>"
        f'<svg viewBox="0 0 {end} {height + 22}" role="img" aria-label="Distribution of margins: {told}">'
        f'<line x1="0" x2="{end}" y1="{height}" y2="{height}" stroke="var(--grid)"/>{bars}{labels}</svg></figure>'
    )


def measured(stage: Stage, above: bool) -> str:
    """The table of models, where it does not stand `above` already, and a table a task with all of its figures."""
    found = evaluated(stage)
    table = standing(found)
    if table is None:
        return ""
    whole = '<p class="note">Its <a href="#table">table</a> stands above.</p>' if above else standing_table(table)
    tasks = dict.fromkeys(task for row in found.values() for task in row)
    return whole + "".join(_task(task, {m: row[task] for m, row in found.items() if task in row}) for task in tasks)


def _task(task: str, rows: Mapping[str, Figures]) -> str:
    columns, body = listing(rows)
    head = "".join(f'<th scope="col">{text(label)}</th>' for label in columns)
    lines = "".join(
        f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in cells)}</tr>'
        for name, cells in body
    )
    return (
        f'<details class="more"><summary>{text(task)}: all figures</summary><div class="scroll">'
        f'<table class="standing">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


def _whole(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"
