"""The processes that measure: jobs in, figures out, faults with reasons, the best setting kept."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peers import job, start
from peers.start import Side, fastest, measure, settings

SCRIPT = """
import os, subprocess, sys, time
from peers.job import serve

def run(job):
    if job.get("child"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(job["child"], "w").write(str(child.pid))
    for point in job["points"]:
        if point == "crash":
            raise RuntimeError("out of luck")
        if point == "sleep":
            time.sleep(600)
        rate = {"float32": 2.0, "bfloat16": 3.0}[job["dtype"]] * job["threads"]
        yield {"name": point, "rate": rate, "seen": os.environ["OMP_NUM_THREADS"], "extra": job.get("extra")}

if __name__ == "__main__":
    serve(run)
"""


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    """A side whose process needs no PyTorch."""
    (tmp_path / "standin.py").write_text(SCRIPT)
    (tmp_path / "peers").mkdir()
    for name in ("__init__.py", "job.py"):
        (tmp_path / "peers" / name).write_text((start.BENCHMARKS / "peers" / name).read_text())
    monkeypatch.setattr(start, "BENCHMARKS", tmp_path)
    return Side("standin", "standin", extra={"extra": 7})


def asked(*points: str, **more: Any) -> dict[str, Any]:
    return {"points": list(points), "dtype": "float32", "threads": 2, **more}


def test_figures_come_back_with_the_sides_own_entries_and_threads(side: Side) -> None:
    measured = measure(side, asked("a", "b"), 30)
    assert [p["name"] for p in measured.points] == ["a", "b"]
    assert measured.points[0] == {"name": "a", "rate": 4.0, "seen": "2", "extra": 7}
    assert measured.fault == ""


def test_a_crash_keeps_what_was_measured_and_says_why(side: Side) -> None:
    measured = measure(side, asked("a", "crash", "b"), 30)
    assert [p["name"] for p in measured.points] == ["a"]
    assert measured.fault == "ended with status 1: RuntimeError: out of luck"


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_a_time_out_kills_the_process_and_its_children(side: Side, tmp_path: Path) -> None:
    note = tmp_path / "child"
    measured = measure(side, asked("a", "sleep", child=str(note)), 4)
    assert [p["name"] for p in measured.points] == ["a"]
    assert measured.fault == "not done after 4 s"
    assert within(10, lambda: gone(int(note.read_text()))), "a killed process ends when the machine gets to it"


def test_a_missing_environment_is_named_once_with_its_remedy() -> None:
    side = Side("gone", "peers.ours_step", "/nowhere/python", remedy="make it")
    best, faults = fastest(side, asked("a"), settings(("float32", "bfloat16"), (1, 2)), 5)
    assert best == {}
    assert faults == {"": "there is no /nowhere/python; make it"}


def test_the_fastest_setting_of_each_point_is_kept_with_all_that_were_tried(side: Side) -> None:
    best, faults = fastest(side, asked("a"), settings(("float32", "bfloat16"), (1, 2)), 30)
    assert faults == {}
    assert (best["a"]["rate"], best["a"]["dtype"], best["a"]["threads"]) == (6.0, "bfloat16", 2)
    assert best["a"]["tried"] == {"float32, 1": 2.0, "float32, 2": 4.0, "bfloat16, 1": 3.0, "bfloat16, 2": 6.0}


def test_repeat_leaves_out_the_warm_up_and_keeps_to_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    seeds: list[int] = []

    def run(seed: int) -> int:
        seeds.append(seed)
        now[0] += 100.0 if seed == 0 else 4.0
        return seed

    monkeypatch.setattr(job.time, "perf_counter", lambda: now[0])
    assert job.repeat(run, {"repeats": 3, "budget_s": 60}) == ([4.0] * 3, [1, 2, 3])
    assert job.repeat(run, {"repeats": 9, "budget_s": 10}) == ([4.0] * 2, [1, 2])
    assert job.repeat(run, {"repeats": 9, "budget_s": 1}) == ([4.0], [1])
    assert seeds.count(0) == 3


def test_sampling_figures_separate_the_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sample(max_tokens: int, seed: int) -> list[int]:
        now[0] += 1.0 + max_tokens / 10
        return [max_tokens, max_tokens // 2 or 1]

    monkeypatch.setattr(job.time, "perf_counter", lambda: now[0])
    figures = job.sampling_figures({"repeats": 2, "budget_s": 60}, sample, 20)
    assert figures["tokens_per_s"] == pytest.approx(30 / 3.0)
    assert figures["first_token_s"] == pytest.approx(1.1)
    assert figures["decode_tokens_per_s"] == pytest.approx(28 / 1.9)
    assert (figures["mean_length"], figures["longest"]) == (15, 20)


def test_completions_end_with_their_first_end_token() -> None:
    assert job.completion_lengths([[5, 0, 0], [5, 6, 7], [0, 9, 9]], {0}) == [2, 3, 1]


def test_the_peak_of_memory_is_of_this_program_alone_and_grows_with_what_it_held() -> None:
    code = (
        "from peers.job import peak_bytes; before = peak_bytes(); block = b'x' * (64 << 20); "
        "del block; print(before, peak_bytes() - before)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=start.BENCHMARKS, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    before, grown = map(int, said)
    assert 1 << 20 < before < 64 << 20  # less than the PyTorch that this process, its parent, holds
    assert 60 << 20 < grown < 72 << 20


def test_the_peers_files_that_run_anywhere_need_the_standard_library_alone() -> None:
    for name in ("job.py", "rows.py", "continuous.py", "install.py"):
        lines = (start.BENCHMARKS / "peers" / name).read_text().splitlines()
        imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert imported <= set(sys.stdlib_module_names), name
