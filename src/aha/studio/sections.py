"""The parts of a report, each a function from what was read to HTML. Every text goes through `text`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest

from aha.studio.figures import DASH, basis, comparison, duration, number
from aha.studio.files import Figures
from aha.studio.panels import bandwidth, panels_of
from aha.studio.plots import panel_svg
from aha.studio.read import WHENS, Example, Stage
from aha.studio.segments import segments, visible

PHASES = (("rollout", "sampling"), ("score", "grading"), ("learn", "learning"), ("publish", "publishing weights"))
_GROUPS = {
    "reward": "Reward", "response": "Responses", "eval": "Evaluation", "gap": "Sampler against learner",
    "time": "Seconds", "rollout": "Sampling", "learn": "Learning", "memory": "Memory",
}  # fmt: skip
_REST = "Update"


def text(value: object) -> str:
    """Any text, a model's too, as harmless HTML."""
    return escape(visible(str(value)))


def pill(state: str) -> str:
    """How a run or a stage stands."""
    known = state if state in ("finished", "failed", "running") else "other"
    return f'<span class="state {known}">{text(state)}</span>'


def tiles(evaluation: Mapping[str, Figures]) -> str:
    """The figures to see first, where there is a before and an after."""
    shown = []
    for row in comparison(evaluation):
        label = {"answers in the format": "in the format", "mean length, tokens": "tokens a response"}
        if row.metric in ("pass@1", "reflection words a response", *label) and DASH not in (row.before, row.after):
            before, after = row.before.split(" ±")[0].removesuffix(" %"), row.after.split(" ±")[0].removesuffix(" %")
            unit = " %" if "%" in row.after else ""
            shown.append(
                f'<div class="tile"><b><i>{before}{unit} →</i> {after}{unit}</b>'
                f"<span>{text(label.get(row.metric, row.metric))}</span></div>"
            )
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def before_after(evaluation: Mapping[str, Figures]) -> str:
    """The table of both evaluations."""
    rows = []
    for row in comparison(evaluation):
        arrow = {1: ' class="up"', -1: ' class="down"', 0: ""}[row.direction]
        rows.append(
            f'<tr><th scope="row">{text(row.metric)}</th><td>{text(row.before)}</td>'
            f'<td class="after">{text(row.after)}</td><td{arrow}>{text(row.change)}</td></tr>'
        )
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("metric", "before", "after", "change"))
    caption = f"Test problems: {text(basis(evaluation))}. ± is one standard error over problems."
    return (
        f'<h3>Before and after</h3><div class="scroll"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def curves(stage: Stage) -> str:
    """The stage's panels."""
    panels = panels_of(stage)
    if not panels:
        return ""
    planned = max(stage.planned_steps or 0, stage.last_step)
    figures = [
        f"<figure><figcaption><b>{text(p.title)}</b>{text(p.unit)}</figcaption>"
        f"{panel_svg(p, planned, f's{stage.number}p{place}')}</figure>"
        for place, p in enumerate(panels)
    ]
    width = 2 * bandwidth(max(len(c.steps) for p in panels for c in p.curves))
    note = f"Thin line: every step. Strong line: smoothed over about {width:.0f} steps. "
    dots = "Dots: evaluation on test problems." if any(c.dots for p in panels for c in p.curves) else ""
    if stage.kind == "reward-model" and dots:
        dots = "Dot: on preferences that were held back."
    return f'<h3>Curves</h3><div class="curves">{"".join(figures)}</div><p class="note">{note}{dots}</p>'


def samples(shown: Mapping[str, Sequence[Example]]) -> str:
    """Responses before and after, side by side; the same question stands in one row where both sides have it."""
    if not any(shown.values()):
        return ""
    before, after = shown.get("before", ()), shown.get("after", ())
    if before and after:
        rows = [f'<div class="pair">{sample("Before", b)}{sample("After", a)}</div>' for b, a in _pairs(before, after)]
    else:
        cards = [sample(when.capitalize(), example) for when in WHENS for example in shown.get(when, ())]
        rows = [f'<div class="pair">{"".join(cards)}</div>']
    return (
        "<h3>Samples</h3>"
        '<p class="note">Thinking is grey, the answer is strong, <mark>words that turn back</mark> are marked.</p>'
        f"{''.join(rows)}"
    )


def _pairs(before: Sequence[Example], after: Sequence[Example]) -> list[tuple[Example | None, Example | None]]:
    rest = list(before)
    same: list[tuple[Example | None, Example | None]] = []
    alone = []
    for example in after:
        match = next((b for b in rest if b.question == example.question), None)
        if match is None:
            alone.append(example)
        else:
            rest.remove(match)
            same.append((match, example))
    return same + list(zip_longest(rest, alone))


def sample(when: str, example: Example | None, graded: bool = True) -> str:
    """A response as a card under its question, with the verdict where it was `graded`."""
    if example is None:
        return f'<article class="sample"><h4>{text(when)}</h4><p class="empty">none stored</p></article>'
    parts = []
    for part in segments(example.response.strip()):
        element = "mark" if part.kind == "turn" and example.turned_back else "span"
        kind = {"turn": "think"}.get(part.kind, part.kind)
        parts.append(f'<{element} class="{kind}">{escape(part.text)}</{element}>')
    response = "".join(parts) or '<span class="empty">(nothing)</span>'
    return (
        f'<article class="sample"><h4>{text(when)}</h4><p class="question" dir="auto">{text(example.question)}</p>'
        f'<div class="response" dir="auto" tabindex="0" role="group" aria-label="response">{response}</div>'
        f"{_verdict(example) if graded else ''}</article>"
    )


def _verdict(example: Example) -> str:
    accuracy, form = example.score.get("accuracy"), example.score.get("format")
    if accuracy is None:
        verdict = "<b>not graded</b>"
    elif accuracy in (0.0, 1.0):
        verdict = '<b class="right">✓ right</b>' if accuracy else '<b class="wrong">✗ wrong</b>'
    else:
        verdict = f"<b>accuracy {number(accuracy)}</b>"
    facts = [verdict]
    if form is not None:
        facts.append(
            "in the format" if form == 1.0 else "not in the format" if form == 0.0 else f"format {number(form)}"
        )
    facts += [f"{text(name)} {number(v)}" for name, v in example.score.items() if name not in ("accuracy", "format")]
    if example.length is not None:
        facts.append(f"{example.length:,} tokens")
    chip = '<span class="chip">turned back</span>' if example.turned_back else ""
    why = "; ".join(text(w if name == "accuracy" else f"{name}: {w}") for name, w in example.why.items())
    return f'<div class="verdict">{" · ".join(facts)}{chip}<small dir="auto">{why}</small></div>'


def phases(stage: Stage) -> str:
    """Where the seconds of all steps went, as a bar."""
    spent = [(label, _total(stage, f"time/{name}_s")) for name, label in PHASES]
    if not any(seconds for _, seconds in spent):
        return ""
    steps = _total(stage, "time/step_s")
    other = steps - sum(seconds for _, seconds in spent)
    if other > 0.005 * steps:
        spent.append(("other", other))
    total = sum(seconds for _, seconds in spent)
    if total <= 0:
        return ""
    colours = [f"var(--phase-{i})" for i in range(1, 6)]
    kept = [(label, s, colour) for (label, s), colour in zip(spent, colours, strict=False) if s > 0]
    bar = "".join(f'<span style="flex:{s / total:.5f};background:{colour}"></span>' for _, s, colour in kept)
    legend = "".join(
        f'<li><i style="background:{colour}"></i>{label} <span>{_seconds(s)}, {s / total:.1%}</span></li>'
        for label, s, colour in kept
    )
    steps_text = f"{len(stage.metrics)} steps in {_seconds(total)}, {_seconds(total / len(stage.metrics))} a step"
    return (
        f'<h3>Where the time went</h3><p class="note">{steps_text}; evaluations apart.</p>'
        f'<div class="bar" aria-hidden="true">{bar}</div><ul class="legend">{legend}</ul>'
    )


def _total(stage: Stage, name: str) -> float:
    return math.fsum(v for v in stage.series(name)[1] if math.isfinite(v))


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 60 else f"{duration(seconds)} min"


def last_step(stage: Stage) -> str:
    """All numbers of the last step, by group."""
    if not stage.metrics:
        return ""
    groups: dict[str, list[tuple[str, float]]] = {}
    for name, value in stage.metrics[-1].values.items():
        group, slash, rest = name.partition("/")
        heading = _GROUPS.get(group, group) if slash else _REST
        groups.setdefault(heading, []).append((rest if slash else name, value))
    parts = []
    for heading, values in groups.items():
        rows = "".join(f"<tr><td>{text(name)}</td><td>{number(value)}</td></tr>" for name, value in values)
        parts.append(f"<div><h4>{text(heading)}</h4><table><tbody>{rows}</tbody></table></div>")
    return f'<h3>Step {stage.last_step}, the last one</h3><div class="groups">{"".join(parts)}</div>'
