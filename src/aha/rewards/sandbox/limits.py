"""What one program may use, and what comes back from it: plain data.

Limits(seconds=2.0, memory_mb=128)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aha.errors import UserError
from aha.rewards.sandbox.values import decode

# ok: exit status 0. error: another status, an exception, a signal of its own doing. timeout, memory: past that limit.
# killed: stopped for another reason (output past its limit). refused: it never ran; `stderr` says why.
Status = Literal["ok", "error", "timeout", "memory", "killed", "refused"]

_RANGES = {
    "seconds": (0.01, 600),
    "memory_mb": (16, 65536),
    "output_kb": (1, 65536),
    "files_mb": (1, 4096),
    "processes": (1, 512),
    "compile_seconds": (1, 600),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run; those on memory and processes hold for the program with all its descendants together.

    seconds: wall clock, but for what a busy machine keeps it waiting, up to three times as long.
    memory_mb: MiB beyond the interpreter's own. output_kb: KiB of stdout and stderr together. files_mb: MiB in /tmp.
    processes: processes and threads at one time. compile_seconds: for C++ alone.
    Raises UserError for a value out of range.
    """

    seconds: float = 5.0
    memory_mb: int = 256
    output_kb: int = 64
    files_mb: int = 32
    processes: int = 32
    compile_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise UserError(f"the limit {name} is {value!r}; give a number from {least} to {most}")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program did. `exit` is its status, negative for a signal; outputs are capped; `seconds` is wall clock."""

    status: Status
    exit: int | None
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function of the program: `Call("f", (1, 2))`. Arguments are plain data (see `values.encode`)."""

    function: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallResult:
    """What one call gave. `encoded` is the value as `values.encode` writes it, None unless `status` is "ok".

    Otherwise `why` says what happened: the exception, the limit, or that the value is no plain data.
    """

    status: Status
    encoded: Any = None
    why: str = ""

    @property
    def value(self) -> Any:
        """The value with its exact types. Raises ValueError where the program forged its encoding."""
        return decode(self.encoded)
