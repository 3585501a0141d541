"""The maths verifier's claims: right on triples, time of one comparison, honest answers a minute; and its peer's.

    python benchmarks/maths_verifier.py [--quick] [--json] [--golds FILE.jsonl]

The triples (gold, answer, right or wrong) are `tests/rewards/maths/triples.jsonl`, written from mathematics. The peer
is plain math-verify with its defaults, the gold in a box, in one process of its own that is killed after 20 seconds.
`--quick` takes every fourth triple and leaves the peer out. `--golds` adds the `answer` of each row of a file as
honest answers, graded against themselves.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from aha.rewards.maths import grade, grade_many
from aha.types import Score

TRIPLES = Path(__file__).parent.parent / "tests" / "rewards" / "maths" / "triples.jsonl"
PEER_LIMIT = 20.0  # seconds for one comparison of the peer


def ours(gold: str, answer: str) -> bool | None:
    """Our verdict; None where none was reached."""
    outcome = grade(answer, gold)
    return outcome.value == 1 if isinstance(outcome, Score) else None


class Peer:
    """math-verify in a process that is replaced when it hangs."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve_peer, args=(theirs,), daemon=True)
        self.process.start()
        self.pipe.recv()

    def verdict(self, gold: str, answer: str) -> bool | None:
        """Its verdict; None where it hangs or dies."""
        self.pipe.send((gold, answer))
        try:
            if self.pipe.poll(PEER_LIMIT):
                return bool(self.pipe.recv())
        except EOFError:
            pass
        self.process.kill()
        self.start()
        return None


def serve_peer(pipe: Any) -> None:
    """Compare as math-verify's own examples do."""
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    pipe.send("ready")
    while True:
        gold, answer = pipe.recv()
        pipe.send(verify(parse(f"\\boxed{{{gold}}}"), parse(f"\\boxed{{{answer}}}")))


def measure(rows: list[dict[str, Any]], verdict: Callable[[str, str], bool | None]) -> dict[str, Any]:
    """Accuracy and time of one verifier, one comparison after another."""
    seconds: list[float] = []
    wrong: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    for row in rows:
        begin = time.perf_counter()
        found = verdict(row["gold"], row["answer"])
        seconds.append(time.perf_counter() - begin)
        if found != row["right"]:
            wrong["no verdict" if found is None else "false positive" if found else "false negative"] += 1
            categories[row["category"]] += 1
    seconds.sort()
    return {
        "triples": len(rows),
        "right": 1 - wrong.total() / len(rows),
        "wrong": dict(wrong),
        "wrong_by_category": dict(categories.most_common()),
        "p50_ms": 1000 * statistics.median(seconds),
        "p99_ms": 1000 * seconds[int(0.99 * (len(seconds) - 1))],
        "slowest_s": seconds[-1],
    }


def throughput(rows: list[dict[str, Any]], golds: list[str], repeat: int) -> dict[str, float]:
    """Honest answers a minute: those of the triples that a person could have meant, and `golds`."""
    honest = [(r["answer"], r["gold"]) for r in rows if r["category"] not in ("towers", "nesting", "junk", "calculus")]
    honest = (honest + [(gold, gold) for gold in golds]) * repeat
    begin, spent = time.perf_counter(), processor_time()
    outcomes = grade_many(honest)
    seconds, spent = time.perf_counter() - begin, processor_time() - spent
    assert all(isinstance(outcome, Score) for outcome in outcomes), "an honest answer was not graded"
    return {
        "answers": len(honest),
        "seconds": seconds,
        "processor_seconds": spent,  # what a busy machine does not change much
        "answers_a_minute": 60 * len(honest) / seconds,
        "answers_a_processor_minute": 60 * len(honest) / spent,
    }


def processor_time() -> float:
    """Seconds of processor time of this process and its workers."""
    times = [process.cpu_times() for process in (psutil.Process(), *psutil.Process().children())]
    return float(sum(t.user + t.system for t in times))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--golds", type=Path)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in TRIPLES.read_text(encoding="utf-8").splitlines()]
    rows = rows[::4] if arguments.quick else rows
    golds = (
        [json.loads(line)["answer"] for line in arguments.golds.read_text(encoding="utf-8").splitlines()]
        if arguments.golds
        else []
    )
    grade("\\sqrt{8}", "2\\sqrt{2}")  # the workers are warm in training too
    result: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "aha": measure(rows, ours),
        "throughput": throughput(rows, golds, repeat=1 if arguments.quick else 3),
    }
    if not arguments.quick:
        result["math-verify"] = measure(rows, Peer().verdict)
    if arguments.json:
        print(json.dumps(result))
        return
    print("| verifier | triples | right | wrong | p50 | p99 | slowest |\n|---|---|---|---|---|---|---|")
    for name in ("aha", "math-verify"):
        if found := result.get(name):
            wrong = ", ".join(f"{count} {kind}" for kind, count in found["wrong"].items()) or "none"
            print(
                f"| {name} | {found['triples']} | {found['right']:.2%} | {wrong} | {found['p50_ms']:.2f} ms "
                f"| {found['p99_ms']:.1f} ms | {found['slowest_s']:.2f} s |"
            )
    rates = result["throughput"]
    print(
        f"\n{rates['answers_a_minute']:,.0f} honest answers a minute of time, "
        f"{rates['answers_a_processor_minute']:,.0f} a minute of one processor"
    )
    print(f"{result['machine']}, load {result['load']:.1f}, {result['date']}")


if __name__ == "__main__":
    main()
