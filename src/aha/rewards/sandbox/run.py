"""Run programs and calls in a sandbox: the functions that the rest of aha calls.

run_program("print(input()[::-1])", "abc").stdout                        # "cba\\n"
run_calls("def f(x): return (x, 1.0)", [Call("f", (2,))], Limits())[0].value   # (2, 1.0)
available()                                                              # None, or what is missing
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from aha.errors import UserError
from aha.rewards.sandbox.limits import DEFAULT_LIMITS, Call, CallResult, Limits, Ran, Status
from aha.rewards.sandbox.pool import Pool, shared_pool
from aha.rewards.sandbox.slot import SandboxError, Slot
from aha.rewards.sandbox.values import encode

COMPILER_MEMORY_MB = 1024
GRACE = 60.0  # seconds by which a slot may be late on a busy machine before it counts as broken
LANGUAGES = ("python", "cpp")
_STATUSES = frozenset(get_args(Status))


def available(language: str = "python") -> str | None:
    """None where a sandbox for `language` can start here, else one sentence that names the missing piece."""
    if language == "cpp" and compiler() is None:
        return "g++ is missing from /usr/bin: install the package g++"
    try:
        with shared_pool().slot() as slot:
            ran = run_in(slot, "pass", "", Limits(seconds=30))
    except SandboxError as error:
        return str(error)
    return None if ran.status == "ok" else f"the sandbox does not run a program here: {ran.stderr or ran.status}"


def run_program(
    source: str, stdin: str = "", limits: Limits = DEFAULT_LIMITS, language: str = "python", *, pool: Pool | None = None
) -> Ran:
    """Run `source` as a program of its own. Never raises for what the program does.

    Status "refused" where no sandbox can start, with the reason in `stderr`. Raises UserError for an unknown language.
    """
    try:
        with (pool or shared_pool()).slot() as slot:
            return run_in(slot, source, stdin, limits, language)
    except SandboxError as error:
        return Ran("refused", None, "", str(error), 0.0)


def run_in(slot: Slot, source: str, stdin: str, limits: Limits, language: str = "python") -> Ran:
    """`run_program` in a slot that is held. A C++ program that the slot compiled last is not compiled again.

    Raises SandboxError where the slot cannot start or breaks.
    """
    if language not in LANGUAGES:
        raise UserError(f"language {language!r} cannot be run; known are {', '.join(LANGUAGES)}")
    if language == "python":
        return _ran(_request(slot, limits, op="program", source=source, stdin=stdin))
    path = compiler()
    if path is None:
        raise SandboxError("g++ is missing from /usr/bin: install the package g++")
    building = dataclasses.replace(limits, seconds=limits.compile_seconds, memory_mb=COMPILER_MEMORY_MB, files_mb=64)
    built = _ran(_request(slot, building, op="compile", source=source, compiler=path))
    if built.status != "ok":
        return built
    return _ran(_request(slot, limits, op="binary", stdin=stdin))


def run_calls(
    source: str, calls: Sequence[Call], limits: Limits = DEFAULT_LIMITS, *, pool: Pool | None = None
) -> list[CallResult]:
    """Run the module `source` once, then each of `calls` in it, in order and in one process; a result for each.

    An exception ends its call alone. A crash or a limit ends the run, and every call that has not returned has its
    status. The limits hold for the whole. Raises UserError for an argument that is no plain data.
    """
    try:
        with (pool or shared_pool()).slot() as slot:
            return calls_in(slot, source, calls, limits)
    except SandboxError as error:
        return [CallResult("refused", None, str(error))] * len(calls)


def calls_in(slot: Slot, source: str, calls: Sequence[Call], limits: Limits) -> list[CallResult]:
    """`run_calls` in a slot that is held. Raises SandboxError where the slot cannot start or breaks."""
    answer = _request(slot, limits, op="calls", source=source, calls=[_encoded(call) for call in calls])
    return _call_results(_ran(answer), str(answer.get("results", "")), len(calls), limits)


def run_file(path: str | Path, stdin_path: str | Path | None = None, seconds: float = 5.0) -> dict[str, Any]:
    """Run the program in a file (.py, or .cpp, .cc, .cxx) and return the fields of `Ran` as a dict.

    Raises UserError where a file cannot be read as text, or `seconds` is out of range.
    """
    suffix = Path(path).suffix.lower()
    language = "cpp" if suffix in (".cpp", ".cc", ".cxx") else "python"
    stdin = "" if stdin_path is None else _text(stdin_path)
    return dataclasses.asdict(run_program(_text(path), stdin, Limits(seconds=seconds), language))


@functools.cache
def compiler() -> str | None:
    """The C++ compiler that the sandbox can see."""
    path = shutil.which("g++", path="/usr/bin:/bin")
    return path if path and os.path.realpath(path).startswith("/usr/") else None


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} cannot be read as text ({error}); give a program's file") from error


def _encoded(call: Call) -> str:
    try:
        args = [encode(value) for value in call.args]
        kwargs = {name: encode(value) for name, value in call.kwargs.items()}
    except (TypeError, ValueError) as error:
        raise UserError(f"an argument of the call of {call.function!r} cannot be passed: {error}") from error
    return json.dumps([call.function, args, kwargs])


def _request(slot: Slot, limits: Limits, **message: Any) -> dict[str, Any]:
    whole = {"source": "", "stdin": "", "calls": None, "limits": dataclasses.asdict(limits), **message}
    return slot.request(whole, 4 * limits.seconds + GRACE)


def _ran(answer: dict[str, Any]) -> Ran:
    status: Any = answer.get("status")
    if status not in _STATUSES:
        raise SandboxError(f"the sandbox gave no status: {str(answer)[:200]}")
    if status == "refused":
        raise SandboxError(f"the sandbox could not confine a program: {answer.get('stderr')}")
    return Ran(status, answer["exit"], answer["stdout"], answer["stderr"], answer["seconds"])


def _call_results(ran: Ran, lines: str, count: int, limits: Limits) -> list[CallResult]:
    """A result a call. Every line is the program's word: one that is out of order or no JSON ends the reading."""
    results: list[CallResult] = []
    for line in lines.split("\n")[:-1]:
        entry = _entry(line)
        if entry is None or len(results) == count:
            break
        if entry.get("n") == -1:
            return [CallResult("error", None, f"the program itself raised {entry.get('error')}")] * count
        if entry.get("n") != len(results):
            break
        if "value" in entry:
            results.append(CallResult("ok", entry["value"]))
        else:
            results.append(CallResult("error", None, f"raised {str(entry.get('error'))[:300]}"))
    status: Status = "error" if ran.status == "ok" else ran.status
    why = {
        "timeout": f"ran out of time ({limits.seconds:g} s)",
        "memory": f"ran out of memory ({limits.memory_mb} MiB)",
        "killed": "wrote more than the sandbox takes",
    }.get(status, f"ended the process (exit {ran.exit}) before it returned")
    return results + [CallResult(status, None, why)] * (count - len(results))


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
