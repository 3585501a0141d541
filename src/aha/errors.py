"""Errors that a user can mend, and the one place where untrusted things are called.

`UserError` carries one sentence with the offending value and the remedy; the command line prints it and exits with
status 2. Anything else that escapes is a bug of ours and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

from aha.types import Failed

T = TypeVar("T")


class UserError(ValueError):
    """What the user gave cannot be used: the sentence names the value and the remedy."""


class RunFailed(RuntimeError):
    """A run stopped before its planned updates were made; the sentence says why. Exit status 1."""


class Stopped(BaseException):
    """A run was asked to end and did. Not an Exception: no handler of faults may take it for one."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A half-sentence that points from an unknown `name` to the nearest known one, e.g. `; did you mean 'task'?`."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(options)}"


def boundary(call: Callable[[], T], what: str) -> T | Failed:
    """Call untrusted code (a user's reward, a grader) and turn whatever it raises into a typed `Failed`.

    A failure is never a score of 0: it is left out of group statistics and counted.
    """
    try:
        return call()
    except Exception as error:
        return Failed(f"{what}: {type(error).__name__}: {error}")
