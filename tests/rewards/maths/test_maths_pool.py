"""The workers: limits of time and memory, death, fork, teardown; and that no text hangs, crashes or loses them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.maths import grade, grade_many
from aha.rewards.maths import pool as pools
from aha.rewards.maths.extract import final_answer
from aha.types import Failed, Outcome, Score

HARD = (r"2\sqrt{2}", r"\sqrt{8}")  # an answer and a gold that need a worker
HANGING = r"\int_0^1 \sin(x^x) \ln(x+\cos x) dx"


def score(outcome: Outcome) -> float:
    assert isinstance(outcome, Score), outcome
    return outcome.value


def workers() -> list[int]:
    return [worker.process.pid for worker in pools.shared_pool().all]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until_gone(pids: list[int], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not all(map(gone, pids)):
        assert time.monotonic() < end, f"{[p for p in pids if not gone(p)]} live on"
        time.sleep(0.05)


def test_what_takes_too_long_is_wrong_and_its_worker_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "LIMIT", 0.3)
    assert score(grade(*HARD)) == 1
    outcome = grade(HANGING, "5")
    assert score(outcome) == 0 and isinstance(outcome, Score) and "longer than 0.3 s" in outcome.why
    assert score(grade(*HARD)) == 1


def test_a_gold_that_takes_too_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "LIMIT", 0.3)
    outcome = grade("7", HANGING)
    assert isinstance(outcome, Failed) and "cannot be read" in outcome.reason


def test_a_worker_that_is_killed_is_replaced() -> None:
    assert score(grade(*HARD)) == 1
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    assert [score(o) for o in grade_many([HARD] * 8)] == [1.0] * 8


def test_memory_is_limited() -> None:
    assert score(grade(*HARD)) == 1
    limits = [psutil.Process(pid).rlimit(psutil.RLIMIT_AS) for pid in workers()]
    assert limits and set(limits) == {(2 * 1024**3, 2 * 1024**3)}


def test_workers_end_with_close_and_start_again() -> None:
    assert score(grade(*HARD)) == 1
    pids = workers()
    pools.close()
    wait_until_gone(pids)
    assert score(grade(*HARD)) == 1


def test_a_forked_child_has_workers_of_its_own() -> None:
    assert score(grade(*HARD)) == 1
    pids = workers()
    child = os.fork()
    if child == 0:
        own = grade(*HARD)
        fine = isinstance(own, Score) and own.value == 1 and not set(workers()) & set(pids)
        pools.close()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert workers() == pids
    assert score(grade(*HARD)) == 1


@pytest.mark.parametrize("ending", ["", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_workers_end_with_their_parent(ending: str) -> None:
    program = (
        "from aha.rewards.maths import grade, pool\n"
        r"grade('2\\sqrt{2}', '\\sqrt{8}')"
        "\n"
        "print(*[w.process.pid for w in pool.shared_pool().all], flush=True)\n" + ending
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    pids = [int(pid) for pid in done.stdout.split()]
    assert pids, done.stderr
    wait_until_gone(pids)


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/program"])
def test_no_worker_is_a_failure(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    pools.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", program)
        outcomes = grade_many([HARD] * 50)
    assert all(isinstance(o, Failed) and "no worker process starts" in o.reason for o in outcomes)
    assert score(grade(*HARD)) == 1


def test_what_decides_by_arithmetic_starts_no_worker() -> None:
    pools.close()
    pairs = [("0.75", "3/4"), ("B", "C"), ("(1,2]", "(1,2]"), ("2,1", "1,2")]
    assert [score(o) for o in grade_many(pairs)] == [1, 0, 1, 1]
    assert workers() == []


# Fuzz


_PIECES = r"""
    12 42 9 x y e i \pi \frac \sqrt { } ( ) [ ] ^ _ + - * / = < , \pm \infty \sin \ln ! % ° \text{ \{ \} | \cup & \\
    \ $ \$ \begin{pmatrix} \end{pmatrix} \int_0^1 \sum_{k=1}^{9} dx \in 和 是 個 答案 é ² ½ √ 0.\overline{3} 1e9
    9^{9^{9^{9}}} 1/2004! and or cm \boxed{ <answer> ① 𝟙 ٠
"""
PIECES = [*_PIECES.split(), *(" ", "\x00", "\x07", "\ud800", "\udfff", "\u200b", "\n", "\t")]
GOLDS = (
    *("5", r"\frac{3}{4}", r"3\sqrt{13}", r"\text{Evelyn}", "C", "101_2", "1,-2", r"(3,4]", "(1,2)", "x=5", "x^2+1"),
    *(r"\pi", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"1 \pm \sqrt{19}", r"y = 2x + 3", r"(0,9) \cup (9,36)"),
    *(r"90^\circ", r"50\%"),
)
NESTINGS = ("()", "{}", "[]", "||", (r"\sqrt{", "}"), (r"\frac{1}{", "}"), ("2^{", "}"), ("-(", ")"))


def fuzzed(draw: random.Random) -> tuple[str, str]:
    """An answer that is a mutation of a gold, a heap of pieces, a repetition, or noise; and a gold."""
    gold = draw.choice(GOLDS)
    kind = draw.randrange(6)
    if kind == 0:
        answer = list(draw.choice(GOLDS))
        for _ in range(draw.randint(1, 4)):
            answer.insert(draw.randint(0, len(answer)), draw.choice(PIECES))
            del answer[draw.randrange(len(answer))]
        return "".join(answer), gold
    if kind in (1, 2):
        return "".join(draw.choices(PIECES, k=draw.randint(1, 25))), gold
    if kind == 3:
        return draw.choice(PIECES) * draw.randint(1, draw.choice((10, 400, 10_000))), gold
    if kind == 4:
        opening, closing = draw.choice(NESTINGS)
        depth = draw.choice((3, 45, 500, 2000))
        return opening * depth + draw.choice(GOLDS) + closing * depth, gold
    noise = (draw.choice((draw.randrange(128), draw.randrange(0x110000))) for _ in range(draw.randint(0, 40)))
    return "".join(map(chr, noise)), gold


def assert_survives(pairs: list[tuple[str, str]]) -> None:
    outcomes = grade_many(pairs)
    assert len(outcomes) == len(pairs)
    for pair, outcome in zip(pairs, outcomes, strict=True):
        assert isinstance(outcome, Score) and outcome.value in (0.0, 1.0), (pair, outcome)
    for answer, _ in pairs:
        final_answer(answer)
    assert score(grade(*HARD)) == 1
    assert 0 < len(workers()) <= pools.shared_pool().size
    assert len(pools.shared_pool().free) == len(workers()), "a worker was lost"


def test_fuzz() -> None:
    draw = random.Random(7)
    assert_survives([fuzzed(draw) for _ in range(1000)])


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text(st.sampled_from("0123456789xei+-*/^_(){}[]\\,.=<>|!% "), max_size=60)))
def test_any_text_gets_a_verdict(answer: str) -> None:
    for gold in ("5", "1,-2", "(3,4]", "x^2+1"):
        assert score(grade(answer, gold)) in (0.0, 1.0)


@pytest.mark.slow
def test_fuzz_of_a_hundred_thousand() -> None:
    draw = random.Random(11)
    for _ in range(100):
        assert_survives([fuzzed(draw) for _ in range(1000)])
