"""A stage's progress in the terminal: live numbers with sparklines, or a plain line a step where there is no terminal.

    with Display(console, "zero", planned_steps=60) as display:
        display.update(metrics)   # after every step
        display.note("evaluating after training")

What is shown follows from the kind of the stage. A number that a step did not measure shows a dash.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aha.studio.figures import DASH, duration
from aha.studio.made import DROPPED
from aha.studio.summary import dropped
from aha.types import StepMetrics

BARS = "▁▂▃▄▅▆▇█"
SPARK = 24  # points of a sparkline
RECENT = 20  # steps that the time left is judged by
MOST_REASONS = 4  # for which samples were dropped, on the display
# Worked out here: what was kept of all samples, and of all questions; what endpoints have cost.
KEPT, WITH_ONE, DOLLARS = "kept/share", "kept/questions", "spent/dollars"


@dataclass(frozen=True, slots=True)
class _Number:
    """A metric on the display; `short` is its name on a plain line, where it has one."""

    label: str
    names: tuple[str, ...]
    form: Callable[[float], str]
    short: str = ""
    optional: bool = False  # not shown where it was never measured


_RL = (
    _Number("pass@1", ("pass@1", "reward/accuracy"), "{:.1%}".format, "pass@1"),
    _Number("format", ("format", "reward/format"), "{:.1%}".format, "format"),
    _Number("length", ("response/mean_length",), "{:.0f}".format, "length"),
    _Number("reflection words", ("response/reflection_words",), "{:.2f}".format, "reflect"),
    _Number("KL", ("kl",), "{:.4f}".format, "kl"),
    _Number("entropy", ("entropy",), "{:.3f}".format),
    _Number("sampling tokens/s", ("rollout/tokens_per_s",), "{:,.0f}".format),
    _Number("learning tokens/s", ("learn/tokens_per_s",), "{:,.0f}".format),
    _Number("memory GB", ("memory/rss_gb",), "{:.2f}".format),
)
_SUPERVISED = (
    _Number("loss", ("loss",), "{:.4f}".format, "loss"),
    _Number("gradient norm", ("grad_norm",), "{:.3f}".format, "grad"),
    _Number("tokens/s", ("tokens_per_s",), "{:,.0f}".format, "tokens/s"),
    _Number("learning rate", ("lr",), "{:.2e}".format),
)
_REWARD_MODEL = (
    _Number("loss", ("loss",), "{:.4f}".format, "loss"),
    _Number("agreement", ("agreement",), "{:.1%}".format, "agreement"),
    _Number("gradient norm", ("grad_norm",), "{:.3f}".format, "grad"),
    _Number("learning rate", ("lr",), "{:.2e}".format),
)
_COLLECT = (
    _Number("kept of the samples", (KEPT,), "{:.1%}".format, "kept"),
    _Number("questions with one", (WITH_ONE,), "{:.1%}".format, "questions"),
    _Number("tokens a response", ("response/mean_length",), "{:.0f}".format, "length", optional=True),
    _Number("tokens/s", ("tokens_per_s", "rollout/tokens_per_s"), "{:,.0f}".format, "tokens/s", optional=True),
    _Number("dollars", (DOLLARS,), "{:.2f}".format, "dollars", optional=True),
)
_EVALUATE = (
    _Number("pass@1", ("pass@1",), "{:.1%}".format, "pass@1"),
    _Number("format", ("format",), "{:.1%}".format, "format"),
    _Number("length", ("mean_length",), "{:.0f}".format, "length"),
)
_KINDS = {
    "rl": _RL, "sft": _SUPERVISED, "pretrain": _SUPERVISED, "reward-model": _REWARD_MODEL, "collect": _COLLECT,
    "compare": _COLLECT, "evaluate": _EVALUATE,
}  # fmt: skip
_PLAIN = {"pass@1": "{:.2f}".format, "format": "{:.2f}".format, "reflect": "{:.1f}".format, "kl": "{:.3f}".format}


class Display:
    """Shows one stage of `planned_steps`, of which `done` were made before. Entered once; `clock` is for tests.

    Of a stage that works in parts, `parts` has the name of each: the one that is being made is shown.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        planned_steps: int,
        clock: Callable[[], float] = time.monotonic,
        done: int = 0,
        kind: str = "",
        parts: Sequence[str] = (),
    ) -> None:
        self.console, self.title, self.planned, self._clock = console, title, planned_steps, clock
        self._step, self._kind, self._parts = done, kind, parts
        self._numbers: tuple[_Number, ...] = _KINDS.get(kind, _SUPERVISED)
        self._told = ""
        self._latest: dict[str, float] = {}
        self._history: dict[str, deque[float]] = {}
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._began = self._last = clock()
        self._live: Live | None = None

    def __enter__(self) -> Display:
        self._began = self._last = self._clock()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, metrics: StepMetrics) -> None:
        """Show a step that was made."""
        now = self._clock()
        # The first step's own time, where it says it: what came before may have been loading and evaluating.
        first = metrics.values.get("time/step_s", now - self._last) if not self._seconds else now - self._last
        self._seconds.append(first)
        self._last, self._step = now, metrics.step
        if not self._kind and ("pass@1" in metrics.values or "reward/total" in metrics.values):
            self._numbers = _RL
        values = {**metrics.values, **_shares(metrics.values)} if self._numbers is _COLLECT else metrics.values
        if self._numbers is _EVALUATE:
            values = {name.rpartition("/")[2]: value for name, value in values.items()}
        self._told = dropped(_reasons(values), MOST_REASONS)
        self._latest = {n.label: v for n in self._numbers if (v := _measured(n, values)) is not None}
        for label, value in self._latest.items():
            self._history.setdefault(label, deque(maxlen=SPARK)).append(value)
        if self._live is None:
            self._print(self.line())
        else:
            self._live.refresh()

    def note(self, text: str) -> None:
        """A line above the display."""
        self._print(text)

    def line(self) -> str:
        """The last step in one plain line."""
        unit = "part" if self._numbers in (_COLLECT, _EVALUATE) else "step"
        parts = [f"{unit} {self._step}/{self.planned}"]
        if 0 < self._step <= len(self._parts):
            parts.append(self._parts[self._step - 1])
        for number in self._shown():
            if number.short:
                value = self._latest.get(number.label)
                form = _PLAIN.get(number.short, number.form)
                parts.append(f"{number.short} {form(value) if value is not None else '-'}")
        if self._told:
            parts.append(f"dropped: {self._told}")
        pace = self.seconds_a_step()
        if pace is not None:
            parts.append(f"{pace:.1f} s/{unit}" if pace >= 0.1 else f"{pace:.3f} s/{unit}")
            parts.append(f"left {duration(pace * (self.planned - self._step))}")
        return "  ".join(parts)

    def seconds_a_step(self) -> float | None:
        """The mean of recent steps, none counted for more than three medians: one slow step does not rule it."""
        if not self._seconds:
            return None
        bound = 3 * sorted(self._seconds)[len(self._seconds) // 2]
        return sum(min(s, bound) for s in self._seconds) / len(self._seconds)

    def _shown(self) -> list[_Number]:
        return [number for number in self._numbers if not number.optional or number.label in self._history]

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        pace = self.seconds_a_step()
        left = duration(pace * (self.planned - self._step)) if pace is not None else DASH
        head = Table.grid(padding=(0, 2), expand=False)
        head.add_row(
            Text(self.title, style="bold"),
            ProgressBar(
                total=max(self.planned, 1),
                completed=self._step,
                width=min(36, self.console.width // 3),
                complete_style="cyan",
                finished_style="green",
            ),
            Text(f"{self._step}/{self.planned}"),
            Text(f"left {left}"),
            Text(f"so far {duration(self._clock() - self._began)}", style="dim"),
        )
        told = [Text(f"dropped: {self._told}", style="dim")] if self._told else []
        if self._step < len(self._parts):
            told.append(Text(f"now: {self._parts[self._step]}", style="bold"))
        return Group(head, *([self._grid()] if self._latest else []), *told)

    def _grid(self) -> Table:
        """The numbers in one or two columns, as the terminal has room."""
        columns = 2 if self.console.width >= 2 * (18 + 10 + SPARK) else 1
        numbers = self._shown()
        rows = math.ceil(len(numbers) / columns)
        grid = Table.grid(padding=(0, 2))
        for _ in range(columns):
            grid.add_column(style="dim", no_wrap=True)
            grid.add_column(justify="right", no_wrap=True)
            grid.add_column(style="cyan", no_wrap=True, min_width=SPARK if columns == 2 else 0)
        for row in range(rows):
            cells: list[Text] = []
            for number in numbers[row::rows]:
                value = self._latest.get(number.label)
                history = self._history.get(number.label, ())
                shown = number.form(value) if value is not None else DASH
                cells += [Text(number.label), Text(shown, style="bold"), Text(sparkline(tuple(history)))]
            grid.add_row(*cells)
        return grid


def _reasons(values: Mapping[str, float]) -> dict[str, float]:
    """How many samples a part dropped, by reason."""
    return {name.removeprefix(DROPPED): n for name, n in values.items() if name.startswith(DROPPED) and n > 0}


def _shares(values: Mapping[str, float]) -> dict[str, float]:
    """What a collecting stage kept of a part, of its samples and of its questions, and what it has cost so far."""
    kept, asked = values.get("kept", 0.0), values.get("asked", 0.0)
    sampled = kept + sum(_reasons(values).values())
    found = {KEPT: kept / sampled} if sampled else {}
    costs = [value for name, value in values.items() if name.endswith("/dollars")]
    found |= {DOLLARS: sum(costs)} if costs else {}
    return found | ({WITH_ONE: values["questions_kept"] / asked} if asked and "questions_kept" in values else {})


def sparkline(values: Sequence[float]) -> str:
    """One bar a value, from the least to the greatest; a space where it is no number.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    numbers = [v for v in values if math.isfinite(v)]
    if not numbers:
        return " " * len(values)
    low, high = min(numbers), max(numbers)
    if high - low <= 1e-9 * max(abs(high), 1e-300):
        return "".join(BARS[3] if math.isfinite(v) else " " for v in values)
    top = len(BARS) - 1
    return "".join(BARS[round((v - low) / (high - low) * top + 1e-9)] if math.isfinite(v) else " " for v in values)


def _measured(number: _Number, values: Mapping[str, float]) -> float | None:
    return next((values[name] for name in number.names if name in values), None)
