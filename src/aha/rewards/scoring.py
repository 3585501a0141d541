"""Score a file of answers outside any training: one JSON object a line in, one outcome a line out, in order.

for line in score(open("answers.jsonl", "rb", buffering=0).read, "math"):
    line            # {"row": 1, "outcome": "score", "value": 1.0, "why": "..."}

Whatever a line holds, it gets its own outcome and the others go on. Rows are read as they are graded, a few at a time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from threading import Thread
from typing import Any, NoReturn

from aha.rewards.graders import RowReward, find_reward, grade_row
from aha.types import Abstain, Failed, Outcome, Score

MAX_ROW = 16 * 2**20  # bytes of one line
BLOCK = 2**16  # bytes read at a time
WINDOW = 8  # rows in hand for each thread


def score(read: Callable[[int], bytes], reward: str, *, unsafe: bool = False) -> Iterator[dict[str, Any]]:
    """The outcome of each line: "row" (from 1), "outcome" (score, abstain or failed), "value" (or None), "why".

    `read(n)` gives at most `n` bytes as soon as there are some, and none at the end. `unsafe` runs code without a
    sandbox. Raises UserError for an unknown reward.
    """
    return _in_order(split_lines(read), find_reward(reward, unsafe=unsafe))


def _in_order(lines: Iterator[bytes | None], reward: RowReward) -> Iterator[dict[str, Any]]:
    """Outcomes in the order of `lines`, each as soon as it is known; graded in threads that wait for processes."""
    workers = os.cpu_count() or 1
    threads = ThreadPoolExecutor(max_workers=workers)
    waiting: Queue[Future[Outcome] | BaseException | None] = Queue(maxsize=WINDOW * workers)

    def feed() -> None:
        try:
            for line in lines:
                waiting.put(threads.submit(score_line, line, reward))
            waiting.put(None)
        except BaseException as error:  # raised where the outcomes are read
            waiting.put(error)

    try:
        Thread(target=feed, daemon=True, name="aha-score").start()  # a daemon: it may wait for a terminal
        row = 0
        while (future := waiting.get()) is not None:
            if isinstance(future, BaseException):
                raise future
            row += 1
            yield {"row": row, **_shown(future.result())}
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def score_line(line: bytes | None, reward: RowReward) -> Outcome:
    """The outcome of one line; None stands for one that was too long to read."""
    if line is None:
        return Failed(f"the row is longer than {MAX_ROW} bytes")
    try:
        row = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        return Failed(f"the row is not UTF-8 ({error.reason} at byte {error.start})")
    except (ValueError, RecursionError) as error:
        return Failed(f"the row is not JSON ({error})")
    if not isinstance(row, Mapping):
        return Failed(f'the row is {json.dumps(row)[:60]}, not an object such as {{"completion": ...}}')
    if "completion" not in row:
        return Failed("the row has no 'completion'")
    return grade_row(reward, row["completion"], row)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _shown(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Score) and math.isfinite(outcome.value):
        return {"outcome": "score", "value": float(outcome.value), "why": outcome.why}
    if isinstance(outcome, Abstain):
        return {"outcome": "abstain", "value": None, "why": outcome.why}
    reason = outcome.reason if isinstance(outcome, Failed) else f"{outcome} is not finite"
    return {"outcome": "failed", "value": None, "why": reason}


def split_lines(read: Callable[[int], bytes], limit: int = MAX_ROW) -> Iterator[bytes | None]:
    """The lines of a stream; None for one of more than `limit` bytes, which is never held whole."""
    parts: list[bytes] = []  # of the line that is being read
    length = 0
    while block := read(BLOCK):
        *whole, rest = block.split(b"\n")
        for end in whole:
            yield None if length + len(end) > limit else b"".join((*parts, end))
            parts.clear()
            length = 0
        length += len(rest)
        parts.append(rest)
        if length > limit:
            parts.clear()
    if length:
        yield None if length > limit else b"".join(parts)
