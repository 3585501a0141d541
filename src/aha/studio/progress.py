"""A stage's progress in the terminal: live numbers with sparklines, or a plain line a step where there is no terminal.

    with Display(console, "zero", planned_steps=60) as display:
        display.update(metrics)   # after every step
        display.note("evaluating after training")

A number that a step did not measure shows a dash.
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
from aha.types import StepMetrics

BARS = "▁▂▃▄▅▆▇█"
SPARK = 24  # points of a sparkline
RECENT = 20  # steps that the time left is judged by


@dataclass(frozen=True, slots=True)
class _Number:
    """A metric on the display; `short` is its name on a plain line, where it has one."""

    label: str
    names: tuple[str, ...]
    form: Callable[[float], str]
    short: str = ""


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
_PLAIN = {"pass@1": "{:.2f}".format, "format": "{:.2f}".format, "reflect": "{:.1f}".format, "kl": "{:.3f}".format}


class Display:
    """Shows one stage of `planned_steps`, of which `done` were made before. Entered once; `clock` is for tests."""

    def __init__(
        self,
        console: Console,
        title: str,
        planned_steps: int,
        clock: Callable[[], float] = time.monotonic,
        done: int = 0,
    ) -> None:
        self.console, self.title, self.planned, self._clock = console, title, planned_steps, clock
        self._step = done
        self._numbers: tuple[_Number, ...] = _SUPERVISED
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
        self._numbers = _RL if "pass@1" in metrics.values or "reward/total" in metrics.values else self._numbers
        self._latest = {n.label: v for n in self._numbers if (v := _measured(n, metrics.values)) is not None}
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
        parts = [f"step {self._step}/{self.planned}"]
        for number in self._numbers:
            if number.short:
                value = self._latest.get(number.label)
                form = _PLAIN.get(number.short, number.form)
                parts.append(f"{number.short} {form(value) if value is not None else '-'}")
        pace = self.seconds_a_step()
        if pace is not None:
            parts.append(f"{pace:.1f} s/step" if pace >= 0.1 else f"{pace:.3f} s/step")
            parts.append(f"left {duration(pace * (self.planned - self._step))}")
        return "  ".join(parts)

    def seconds_a_step(self) -> float | None:
        """The mean of recent steps, none counted for more than three medians: one slow step does not rule it."""
        if not self._seconds:
            return None
        bound = 3 * sorted(self._seconds)[len(self._seconds) // 2]
        return sum(min(s, bound) for s in self._seconds) / len(self._seconds)

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
        return Group(head, self._grid()) if self._latest else Group(head)

    def _grid(self) -> Table:
        """The numbers in one or two columns, as the terminal has room."""
        columns = 2 if self.console.width >= 2 * (18 + 10 + SPARK) else 1
        rows = math.ceil(len(self._numbers) / columns)
        grid = Table.grid(padding=(0, 2))
        for _ in range(columns):
            grid.add_column(style="dim", no_wrap=True)
            grid.add_column(justify="right", no_wrap=True)
            grid.add_column(style="cyan", no_wrap=True, min_width=SPARK if columns == 2 else 0)
        for row in range(rows):
            cells: list[Text] = []
            for number in self._numbers[row::rows]:
                value = self._latest.get(number.label)
                history = self._history.get(number.label, ())
                shown = number.form(value) if value is not None else DASH
                cells += [Text(number.label), Text(shown, style="bold"), Text(sparkline(tuple(history)))]
            grid.add_row(*cells)
        return grid


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
