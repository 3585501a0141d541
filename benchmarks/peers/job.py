"""A measuring process's side of the conversation: a job comes in as a JSON file, figures go out line by line.

    if __name__ == "__main__":
        serve(measure)      # measure(job) yields one dict of figures for each point of job["points"]

A line is written as soon as its point is measured, so what was measured before a crash or a time-out is kept. This file
runs in every peer's environment: it needs nothing but the standard library, and PyTorch where `measure` has loaded it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Figures = dict[str, Any]


def serve(measure: Callable[[Job], Iterator[Figures]]) -> None:
    """Measure the job of file `argv[1]`; append the figures to file `argv[2]`."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _give_way()
    with Path(sys.argv[2]).open("a", encoding="utf-8") as out:
        for figures in measure(job):
            out.write(json.dumps(figures) + "\n")
            out.flush()


def _give_way() -> None:
    """Where memory runs out, let the system end this process before any other on the machine."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return


def repeat(
    run: Callable[[int], Any], job: Job, wait: Callable[[], None] = lambda: None
) -> tuple[list[float], list[Any]]:
    """Seconds and results of `run(seed)`, after a warm-up that does not count: `job["repeats"]` times, fewer where
    they take more than `job["budget_s"]` in all, but at least once. `wait` waits for the device."""
    run(0)
    wait()
    seconds: list[float] = []
    results: list[Any] = []
    while not seconds or (len(seconds) < job["repeats"] and sum(seconds) + seconds[-1] < job["budget_s"]):
        began = time.perf_counter()
        results.append(run(len(seconds) + 1))
        wait()
        seconds.append(time.perf_counter() - began)
    return seconds, results


def sampling_figures(
    job: Job, sample: Callable[[int, int], list[int]], max_tokens: int, wait: Callable[[], None] = lambda: None
) -> Figures:
    """Figures of sampling. `sample(max_tokens, seed)` returns the completions' lengths, each with its stop token.

    `tokens_per_s` counts all the time, `decode_tokens_per_s` what comes after each row's first token and so leaves out
    the prompts; None where the difference drowns in noise. Medians.
    """
    seconds, lengths = repeat(lambda seed: sample(max_tokens, seed), job, wait)
    first_s = statistics.median(repeat(lambda seed: sample(1, seed), job, wait)[0])
    tokens = [sum(rows) for rows in lengths]
    rest = [(n - len(rows)) / (s - first_s) for n, rows, s in zip(tokens, lengths, seconds, strict=True) if s > first_s]
    rate = statistics.median(n / s for n, s in zip(tokens, seconds, strict=True))
    return {
        "rate": rate,
        "tokens_per_s": rate,
        "decode_tokens_per_s": statistics.median(rest) if rest else None,
        "first_token_s": first_s,
        "seconds": seconds,
        "mean_length": statistics.mean(n for rows in lengths for n in rows),
        "longest": max(n for rows in lengths for n in rows),
    }


def peak_bytes() -> int:
    """The largest resident memory of this process so far. On Linux of this program alone: `ru_maxrss` would carry over
    what the process was before it became this program."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def completion_lengths(rows: list[list[int]], eos: set[int]) -> list[int]:
    """Lengths of `rows` of drawn tokens, each up to and with its first end-of-sequence token."""
    return [next((i + 1 for i, token in enumerate(row) if token in eos), len(row)) for row in rows]
