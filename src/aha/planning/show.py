"""A plan in the terminal: a table of memory and one of work for each stage, then one line for all.

for part in shown(plan, formulas=True): console.print(part)
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from aha.planning.hardware import GIB
from aha.planning.plan import Plan, StagePlan

UNITS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k"), (1.0, ""))
TIMES = ((365 * 86400.0, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min"))
FIRST = 22  # width of the first column, which both tables have
WHENS = {"always": "", "learning": "while it learns", "sampling": "while it samples"}
LEGEND = (
    "P parameters, N weights that a token is multiplied by, V h the output head's, T tokens, M those that are "
    "predicted, b bytes a number; h, F, q, k, v, o widths of the model, its MLP, its queries, keys, values and "
    "attention's output"
)


def shown(plan: Plan, *, formulas: bool = False) -> Iterator[RenderableType]:
    """All of it, a stage after the other."""
    for stage in plan.stages:
        yield Text.assemble((stage.name, "bold"), f"  {stage.kind} of {stage.model}, {_parameters(stage)}")
        yield _memory(stage, plan)
        yield _verdict(stage, plan)
        yield _work(stage)
        yield from (Text(f"note: {note}", style="yellow") for note in stage.notes)
        if formulas:
            yield from _formulas(stage)
        yield Text()
    if formulas:
        yield Text(f"{LEGEND}\n", style="dim")
    yield _summary(plan)
    yield Text(_assumed(plan), style="dim")


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True, min_width=FIRST, overflow="ellipsis")
    return table


def _memory(stage: StagePlan, plan: Plan) -> Table:
    table = _table("memory of each" if plan.machine.count > 1 else "memory")
    table.add_column("GiB", justify="right", no_wrap=True)
    table.add_column("", style="dim")
    for part in stage.fit.parts:
        table.add_row(part.name, _gib(part.size), WHENS[part.when])
    for part in stage.fit.host:
        table.add_row(
            part.name, _gib(part.size), "in main memory, for each" if plan.machine.count > 1 else "in main memory"
        )
    return table


def _verdict(stage: StagePlan, plan: Plan) -> Text:
    """`fits: 41.2 of 71.2 GiB at once on 8 x H100; at least 4`."""
    fit, device = stage.fit, plan.machine.device
    found = Text("fits: " if fit.fits else "does not fit: ", style="bold green" if fit.fits else "bold red")
    rest = f"{_gib(fit.size)} of {_gib(fit.room)} GiB at once on "
    if not device.gpu:
        rest += device.name
    else:
        rest += f"{plan.machine.count} x {device.name}; "
        rest += f"at least {stage.least}" if stage.least is not None else "no number of them is enough"
        rest += f"; {fit.engine} an engine" if fit.engine > 1 else ""
    return found.append(rest, style="not bold default")


def _work(stage: StagePlan) -> Table:
    table = _table("work")
    expects = any(p.expected for p in stage.phases)
    for heading in ("at most\ntokens", "\nFLOPs", "\ntime", *(("expected\ntokens", "\ntime") if expects else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("\nby", style="dim", no_wrap=True)
    for p in stage.phases:
        cells = [quantity(p.most.tokens), flops(p.most.flops), duration(p.most.seconds)]
        if expects:
            cells += [quantity(p.expected.tokens), duration(p.expected.seconds)] if p.expected else ["", ""]
        table.add_row(p.name, *cells, (p.expected or p.most).bound)
    likely = stage.seconds(expected=True)
    ends = ["", duration(likely) if likely is not None else ""] if expects else []
    operations = flops(sum(p.most.flops for p in stage.phases))
    table.add_row("together", "", operations, duration(stage.seconds() or 0.0), *ends, style="bold")
    return table


def _formulas(stage: StagePlan) -> Iterator[Text]:
    held = (*stage.fit.parts, *stage.fit.host)
    named = [*((p.name, p.formula) for p in held), *((p.name, p.most.formula) for p in stage.phases)]
    for name, formula in named:
        yield Text(f"  {name} = {formula}", style="dim")


def _summary(plan: Plan) -> Text:
    """`all stages: at most 3.2 h, 25.6 GPU hours, $64; expected 20 min, 2.7 GPU hours, $6.67; 3 of 3 fit`."""
    found = []
    for word, expected in (("at most", False), ("expected", True)):
        seconds = plan.seconds(expected)
        if seconds is None:
            continue
        found.append(f"{word} {duration(seconds)}")
        if plan.machine.device.gpu:
            hours = seconds / 3600 * plan.machine.count
            found[-1] += f", {quantity(hours)} GPU hours, ${quantity(plan.dollars(seconds) or 0.0)}"
    found.append(f"{sum(stage.fit.fits for stage in plan.stages)} of {len(plan.stages)} fit")
    each = f" of each of {plan.runs} seeds" if plan.runs > 1 else ""
    return Text.assemble((f"all stages{each}: ", "bold"), "; ".join(found))


def _assumed(plan: Plan) -> str:
    a = plan.assumed
    lengths = f"prompts of {a.prompt:,.0f} tokens" + (f", responses of {a.mean:,.0f}" if a.mean is not None else "")
    device, dtype = plan.machine.device, plan.machine.dtype
    source = "measured just now, beside what else runs" if device.measured else "by the data sheet"
    return (
        f"An estimate: {lengths}; {a.mfu:.0%} of {device.flops(dtype) / 1e9:,.0f} GFLOP/s in {dtype} and "
        f"{a.bandwidth_share:.0%} of {device.bandwidth / 1e9:,.0f} GB/s, {source}. docs/planning.md says what it "
        "leaves out."
    )


def _parameters(stage: StagePlan) -> str:
    active = f", {quantity(stage.active)} active" if stage.active < stage.parameters else ""
    return f"{quantity(stage.parameters, 4)} parameters{active}"


def _gib(size: float) -> str:
    gib = size / GIB
    return f"{gib:,.0f}" if gib >= 100 else f"{gib:.1f}" if gib >= 1 else f"{gib:.3f}"


def quantity(number: float, digits: int = 3) -> str:
    """With thousand, million, billion or trillion as a letter.

    >>> [quantity(x) for x in (0, 512, 6_553_600, 1.74e11, 3.2e16)]
    ['0', '512', '6.55 M', '174 B', '32,000 T']
    """
    size, unit = next(((s, u) for s, u in UNITS if number >= s * 0.9995), (1.0, ""))
    scaled = number / size
    return (f"{scaled:,.0f}" if scaled >= 1000 else f"{scaled:.{digits}g}") + unit


def flops(number: float) -> str:
    """As a power of ten.

    >>> flops(3.63e21)
    '3.63e21'
    """
    return f"{number:.2e}".replace("e+", "e")


def duration(seconds: float) -> str:
    """In the largest unit that it has one of.

    >>> [duration(x) for x in (0.0042, 12.3, 155, 7200, 1.5e7, 4e8)]
    ['0.0042 s', '12 s', '2.6 min', '2.0 h', '174 days', '12.7 years']
    """
    for size, unit in TIMES:
        if seconds >= size:
            count = seconds / size
            return (f"{count:.1f}" if count < 100 else f"{count:,.0f}") + f" {unit}"
    return f"{seconds:.2g} s"
