"""The worker process: compares answers under a memory limit, one request at a time. Started by `pool`.

Requests and replies are frames on standard input and output: four bytes of length, then JSON.

    {"gold": "...", "answer": "...", "kind": "auto"}  ->  {"right": true, "why": "..."}
    {"gold": "...", "answer": null, "kind": "auto"}   ->  {"unreadable": null or "why the gold cannot be read"}

A fault of ours is {"error": "..."}. The process ends when its standard input does, when its parent is gone, or, by the
kernel's alarm, when one request has taken far longer than the pool waits.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import struct
import sys
from typing import Any, BinaryIO

MEMORY = 2 * 1024**3  # bytes of address space
SUICIDE = 90  # seconds for one request, should the pool not be there to end it


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    frames = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not reach the frames.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        _warm_up()
    except Exception as error:
        _send(frames, {"error": f"{type(error).__name__}: {error}"})
        return
    _send(frames, {"ready": True})
    parent = os.getppid()
    while (request := _receive(parent)) is not None:
        signal.alarm(SUICIDE)
        reply = _answer(request)
        signal.alarm(0)
        _send(frames, reply)


def _warm_up() -> None:
    from aha.rewards.maths import library
    from aha.rewards.maths.algebra import ARITHMETIC
    from aha.rewards.maths.matchers import judge

    judge(r"\sqrt{8}", r"2\sqrt{2}", "auto", ARITHMETIC)
    library.equal(r"\frac{1}{2}", r"0.5")


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from aha.errors import boundary
    from aha.types import Failed

    reply = boundary(lambda: _within_limits(request["gold"], request["answer"], request["kind"]), "comparison")
    return {"error": reply.reason} if isinstance(reply, Failed) else reply


def _within_limits(gold: str, answer: str | None, kind: str) -> dict[str, Any]:
    """The reply; an answer that exhausts memory or nesting is wrong."""
    try:
        return {"unreadable": _unreadable(gold, kind)} if answer is None else _judge(gold, answer, kind)
    except (MemoryError, RecursionError) as error:
        what = "2 GB" if isinstance(error, MemoryError) else "nesting"
        return {"right": False, "why": f"the comparison took more than {what}"} if answer else {"unreadable": what}


def _judge(gold: str, answer: str, kind: str) -> dict[str, Any]:
    from aha.rewards.maths import library
    from aha.rewards.maths.algebra import ARITHMETIC
    from aha.rewards.maths.matchers import NeedsLibrary, judge, shown

    try:
        verdict = judge(gold, answer, kind, ARITHMETIC)
    except NeedsLibrary:
        right = library.equal(gold, answer)
        relation = "equals" if right else "is not"
        return {"right": right, "why": f"expression: {shown(answer)} {relation} {shown(gold)} (math-verify)"}
    return {"right": verdict.right, "why": verdict.why}


def _unreadable(gold: str, kind: str) -> str | None:
    from aha.rewards.maths import library
    from aha.rewards.maths.algebra import ARITHMETIC
    from aha.rewards.maths.matchers import judge, read_gold

    if read_gold(gold, kind).value is None:
        return None if library.equal(gold, gold) else "it is not understood"
    return None if judge(gold, gold, kind, ARITHMETIC).right else "it does not equal itself"


def _receive(parent: int) -> dict[str, Any] | None:
    """The next request; None where the input has ended or the parent is gone."""
    head = _read(sys.stdin.buffer, 4, parent)
    body = head and _read(sys.stdin.buffer, struct.unpack(">I", head)[0], parent)
    return json.loads(body) if body else None


def _read(stream: BinaryIO, count: int, parent: int) -> bytes | None:
    data = b""
    while len(data) < count:
        while not select.select([stream], [], [], 1.0)[0]:
            if os.getppid() != parent:  # another process may hold our input open
                return None
        more = os.read(stream.fileno(), count - len(data))
        if not more:
            return None
        data += more
    return data


def _send(frames: BinaryIO, reply: dict[str, Any]) -> None:
    body = json.dumps(reply).encode()
    frames.write(struct.pack(">I", len(body)) + body)
    frames.flush()


if __name__ == "__main__":
    main()
