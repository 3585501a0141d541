"""Whether the run folder is one folder for all processes, where what the first one writes is seen by all, and what each
writes by the first; and how much room there is.

    looked(world, Path("/shared/runs/x"), seconds=30)      # on every process; nothing is left behind
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aha.distributed.world import World
from aha.doctor.findings import Finding, State

GIB = 2**30
ROOM_LEAST, ROOM_WANTED = GIB, 10 * GIB  # samples and metrics; two checkpoints of a small model
LATE_S = 1.0  # after which what a stage reads may not be there yet
PERIOD_S = 0.002


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process found. `after_s`: seconds until it saw what was written, None: it did not; `why`: its error."""

    after_s: float | None
    why: str = ""
    free: int = 0


def looked(world: World, host: str, out: Path, seconds: float) -> list[Finding]:
    """Findings, the same on every process. Each waits at most `seconds` for a file."""
    shown, begun = world.agreed([str(out), _begun(out) if world.first else None])
    if "why" in begun:
        remedy = "choose a folder that can be written with --out"
        return [Finding("run folder", f"{shown}: {begun['why']}", "fails", remedy)]
    place = out / begun["name"]
    try:
        own = _seen(place, begun["word"], world.rank, seconds)
        told = world.told([own.after_s, own.why, own.free, host])
        back = world.agreed(_all_seen(place, [i for i, row in enumerate(told) if not row[1]], seconds))
    finally:
        if world.first:
            _gone(out, place, begun["created"])
    return judged(shown, [(str(row[3]), Seen(row[0], row[1], row[2])) for row in told], back)


def _begun(out: Path) -> dict[str, str | int]:
    """A folder in the run folder with a file in it, and how many folders had to be made for it."""
    name, word = f".doctor-{secrets.token_hex(8)}", secrets.token_hex(16)
    created = sum(not folder.exists() for folder in (out, *out.parents))
    try:
        (out / name).mkdir(parents=True)
        with (out / name / "first").open("w") as file:
            file.write(word)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _gone(out, out / name, created)
        return {"why": error.strerror or str(error)}
    return {"name": name, "word": word, "created": created}


def _seen(place: Path, word: str, rank: int, seconds: float) -> Seen:
    """Wait for what the first process has written, then write beside it."""
    after = _waited(lambda: (place / "first").read_text() == word, seconds)
    if after is None:
        return Seen(None, "it does not see what the first process writes")
    try:
        (place / f"part-{rank}").write_text(word)
        return Seen(after, "", shutil.disk_usage(place).free)
    except OSError as error:
        return Seen(after, error.strerror or str(error))


def _all_seen(place: Path, ranks: list[int], seconds: float) -> float | None:
    """Seconds until what processes have written is there; None where it does not come."""
    return _waited(lambda: all((place / f"part-{rank}").read_text() for rank in ranks), seconds)


def _waited(there: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until `there` says so; None after `seconds`."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):  # not there yet
            if there():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            return None
        time.sleep(PERIOD_S)


def judged(out: str, told: Sequence[tuple[str, Seen]], back: float | None) -> list[Finding]:
    """Of what all processes (`told`: host and what it found) have seen; `back`: seconds until the first saw theirs."""
    blind = [(rank, host, one.why) for rank, (host, one) in enumerate(told) if one.why]
    if blind:
        (rank, host, why), others = blind[0], f", and {len(blind) - 1} more" if len(blind) > 1 else ""
        remedy = "give a folder on a file system that all hosts mount, and may write, with --out"
        return [Finding("run folder", f"process {rank} on {host} at {out}: {why}{others}", "fails", remedy)]
    if back is None:
        remedy = "give a folder on a file system that all hosts mount with --out"
        return [Finding("run folder", f"the first process does not see what others write in {out}", "fails", remedy)]
    latest = max(one.after_s or 0.0 for _, one in told)
    times = f"seen by all after {latest * 1e3:.2g} ms, what they write by it after {back * 1e3:.2g} ms"
    value = f"{out}: what the first process writes is {times}"
    late = max(latest, back) > LATE_S
    remedy = "mount it so that new files show at once, as NFS does with lookupcache=positive,actimeo=1" if late else ""
    free = min(one.free for _, one in told)
    room: State = "fails" if free < ROOM_LEAST else "warning" if free < ROOM_WANTED else "ok"
    wanted = f"free {ROOM_WANTED // GIB} GiB: a run keeps its samples and two checkpoints" if room != "ok" else ""
    return [
        Finding("run folder", value, "warning" if late else "ok", remedy),
        Finding("disk", f"{free / GIB:.1f} GiB free in the run folder", room, wanted),
    ]


def _gone(out: Path, place: Path, created: int | str) -> None:
    """Remove what was made, with the folders that were not there before."""
    shutil.rmtree(place, ignore_errors=True)
    for folder in (out, *out.parents)[: int(created)]:
        with contextlib.suppress(OSError):  # somebody else uses it by now
            folder.rmdir()
