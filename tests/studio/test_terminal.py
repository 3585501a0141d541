"""The table, the samples and the display, with a terminal and without."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from aha.studio.progress import Display, sparkline
from aha.studio.read import Example, read_run
from aha.studio.table import before_after_table, print_samples
from aha.types import StepMetrics

MakeRun = Callable[..., Path]


def console_of(terminal: bool, width: int = 110) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    colours: Literal["standard"] | None = "standard" if terminal else None
    environment = {"TERM": "xterm", "COLUMNS": str(width)}
    return Console(
        file=file,
        force_terminal=terminal,
        width=width,
        color_system=colours,
        legacy_windows=False,
        _environ=environment,
    ), file


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_table_in_plain_text(run_folder: MakeRun) -> None:
    console, file = console_of(terminal=False)
    console.print(before_after_table(read_run(run_folder()).stages[0].evaluation))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert ["pass@1", "14.3", "±", "1.0", "%", "63.8", "±", "2.4", "%", "+49.5", "points"] in lines
    assert "64 problems × 16 samples" in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_samples_are_text_and_not_markup(run_folder: MakeRun) -> None:
    console, file = console_of(terminal=False)
    print_samples(console, read_run(run_folder()).stages[0].samples)
    shown = file.getvalue()
    assert "[bold]no[/bold]" in shown and "<script>alert('x')</script>" in shown
    assert "\x1b" not in shown
    assert shown.count("right: ") == 3 and shown.count("turned back") == 2


def test_thinking_is_dimmed_on_a_terminal() -> None:
    console, file = console_of(terminal=True)
    shown = {
        "after": [Example("q [/] x", "<think>[red]3 wait</think><answer>4\x1b]0;t\x07</answer>", {"accuracy": 1.0})]
    }
    print_samples(console, shown)
    assert "\x1b[2m[red]3 \x1b[0m" in file.getvalue() and "\x1b[33mwait" in file.getvalue()
    assert "\x1b]0" not in file.getvalue()


def test_a_plain_line_a_step() -> None:
    console, file = console_of(terminal=False)
    clock = Clock()
    with Display(console, "zero", 60, clock) as display:
        for step in range(1, 13):
            clock.now += 2.9
            display.update(
                StepMetrics(step, {"pass@1": 0.41, "format": 0.88, "response/mean_length": 63.0,
                                   "response/reflection_words": 0.9, "kl": 0.012, "time/step_s": 2.9})
            )  # fmt: skip
    last = file.getvalue().splitlines()[-1]
    assert last == "step 12/60  pass@1 0.41  format 0.88  length 63  reflect 0.9  kl 0.012  2.9 s/step  left 2:19"


def test_supervised_lines_and_dashes_for_what_is_missing() -> None:
    console, file = console_of(terminal=False)
    with Display(console, "base", 100, Clock()) as display:
        display.update(StepMetrics(1, {"loss": 2.5, "tokens_per_s": 17_865.3}))
        display.note("a [note] of the run")
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("step 1/100  loss 2.5000  grad -  tokens/s 17,865")
    assert lines[1] == "a [note] of the run"


def test_the_time_left_is_not_ruled_by_one_slow_step() -> None:
    clock = Clock()
    display = Display(console_of(terminal=False)[0], "zero", 100, clock)
    for step in range(1, 21):
        clock.now += 300.0 if step == 10 else 2.0
        display.update(StepMetrics(step, {"pass@1": 0.5}))
    assert display.seconds_a_step() == pytest.approx((19 * 2 + 6) / 20)


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("values", [{"pass@1": 0.41, "kl": float("nan")}, {"loss": 2.5, "lr": 1e-4}])
def test_the_live_display(width: int, values: dict[str, float]) -> None:
    console, file = console_of(terminal=True, width=width)
    with Display(console, "zero", 0 if width == 40 else 60) as display:
        for step in range(1, 5):
            display.update(StepMetrics(step, {name: value * step for name, value in values.items()}))
        display.note("[note]")
    shown = file.getvalue()
    assert "zero" in shown and "[note]" in shown and "█" in shown and "–" in shown


def test_sparklines() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([0.0, float("nan"), 1.0]) == "▁ █"
    assert sparkline([]) == ""
