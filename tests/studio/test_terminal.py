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
from aha.studio.table import before_after_table, print_samples, print_stages
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


def test_a_run_of_many_stages_on_two_screens(many_folder: MakeRun) -> None:
    console, file = console_of(terminal=False)
    print_stages(console, read_run(many_folder(whole=True)))
    lines = file.getvalue().splitlines()
    assert len(lines) < 80 and max(len(line.rstrip()) for line in lines) <= 110
    (dev1,) = [line for line in lines if line.startswith("dev1") and "sft" in line]
    assert "finished  base, cold, " in dev1 and " 6:02  loss 1.881 → 0.321, " in dev1
    assert any(line.split()[0] == "r1" and line.count("*") == 6 for line in lines if line.split()), "the best of each"
    shown = file.getvalue()
    assert "\x1b" not in shown and "samples of small-zero" in shown and shown.count("right: ") == 3
    assert "before training" not in shown and "128 problems × 4 samples of each task" in shown


@pytest.mark.parametrize("width", [50, 80, 160])
def test_no_cell_of_the_table_is_cut(many_folder: MakeRun, width: int) -> None:
    console, file = console_of(terminal=False, width=width)
    print_stages(console, read_run(many_folder(broken="evaluated", state="running")))
    assert "…" not in file.getvalue() and "running" in file.getvalue()
    assert ("reward-model" in file.getvalue()) == (width > 100)


def test_why_a_stage_ended_stands_in_the_list(many_folder: MakeRun) -> None:
    console, file = console_of(terminal=True)
    print_stages(console, read_run(many_folder(broken="cold", state="failed")))
    assert "\x1b[31mfailed" in file.getvalue() and "RunFailed: step 3" in file.getvalue()


def line_of(kind: str, values: dict[str, float], parts: tuple[str, ...] = ()) -> str:
    console, file = console_of(terminal=False)
    clock = Clock()
    with Display(console, "one", 12, clock, kind=kind, parts=parts) as display:
        clock.now += 2.0
        display.update(StepMetrics(1, values))
    return file.getvalue().splitlines()[-1]


def test_a_line_of_every_kind_of_stage() -> None:
    collected = {"asked": 64.0, "kept": 32.0, "questions_kept": 16.0, "dropped/accuracy": 90.0, "dropped/own": 6.0}
    assert line_of("collect", collected) == (
        "part 1/12  kept 25.0%  questions 25.0%  dropped: wrong 90, own 6  2.0 s/part  left 0:22"
    )
    spent = {**collected, "judge/dollars": 1.5, "refine/dollars": 0.25, "response/mean_length": 80.0}
    assert "length 80  dollars 1.75  dropped" in line_of("collect", spent)
    assert line_of("reward-model", {"loss": 0.5, "agreement": 0.9, "grad_norm": 1.0}) == (
        "step 1/12  loss 0.5000  agreement 90.0%  grad 1.000  2.0 s/step  left 0:22"
    )
    measured = {"base/countdown/pass@1": 0.4, "base/countdown/format": 0.9, "base/countdown/mean_length": 51.0}
    assert line_of("evaluate", measured, ("base on countdown", "zero on countdown")) == (
        "part 1/12  base on countdown  pass@1 0.40  format 0.90  length 51  2.0 s/part  left 0:22"
    )
    assert line_of("sft", {"loss": 0.5, "eval/pass@1": 0.4}).startswith("step 1/12  loss 0.5000  grad -")


def test_the_live_display_says_what_is_measured_and_dropped() -> None:
    console, file = console_of(terminal=True)
    with Display(console, "evaluated", 2, kind="evaluate", parts=("base on logic", "zero on logic")) as display:
        display.update(StepMetrics(1, {"base/logic/pass@1": 0.4}))
    assert "now: zero on logic" in file.getvalue() and "40.0%" in file.getvalue()
    console, file = console_of(terminal=True)
    with Display(console, "cold", 2, kind="collect") as display:
        display.update(StepMetrics(1, {"asked": 4.0, "kept": 1.0, "dropped/format": 3.0}))
    assert "dropped: not in the format 3" in file.getvalue() and "dollars" not in file.getvalue()
