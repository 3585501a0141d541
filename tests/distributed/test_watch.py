"""What ends all processes together, also inside of a collective operation, and what is noted before that."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from aha.distributed.watch import watched
from aha.distributed.world import World, joined
from aha.errors import RunFailed, Stopped
from rank_processes import answer, ranks

DEADLINE_S = 3.0


@dataclass
class Request:
    """Whether a process was asked to stop."""

    asked: bool = False


def waiting(file: str, what: str, stops: int = 1) -> None:
    """One process waits for the other, which has stopped without a word, in a collective operation."""
    with joined(600, "cpu") as world:
        request = Request()
        with watched(world, request, DEADLINE_S) as explained:

            def note(state: str, reason: str) -> None:
                if what == "no room":
                    raise OSError("no space left")
                Path(file).write_text(json.dumps([state, reason]))

            with explained(note if world.rank != stops else lambda *_: None):
                request.asked = what == "asked"
                if world.rank == stops:
                    os.kill(os.getpid(), signal.SIGSTOP)
                world.wait()


@pytest.mark.parametrize(
    ("what", "state", "status"),
    [
        ("asked", "stopped", 143),
        pytest.param("", "failed", 1, marks=pytest.mark.slow),
        pytest.param("no room", None, 1, marks=pytest.mark.slow),
    ],
)
def test_it_is_noted_why_a_process_is_left(tmp_path: Path, what: str, state: str | None, status: int) -> None:
    file = tmp_path / "noted.json"
    with ranks(waiting, str(file), what) as made:
        process, end = made[0]
        assert answer(end) == (False, "died")
        process.join(60)
        assert process.exitcode == status
    if state is None:
        assert not file.exists()
    else:
        assert json.loads(file.read_text()) == [state, "process 1 has given no sign of life for 3 s"]


def test_the_store_may_not_answer(tmp_path: Path) -> None:
    """It is the first process's, which has stopped: no question comes back, and none is waited for."""
    file = tmp_path / "noted.json"
    with ranks(waiting, str(file), "", 0) as made:
        process, end = made[1]
        assert answer(end) == (False, "died")
        process.join(60)
        assert process.exitcode == 1
    state, reason = json.loads(file.read_text())
    assert state == "failed" and reason == "nothing was heard for 3 s from 127.0.0.1, where all have met, or others"


def test_one_process_is_not_watched() -> None:
    with watched(World(), Request(), DEADLINE_S) as explained, explained(lambda *_: None):
        pass


def failing(what: str) -> str:
    """The last process raises; the first one hears of it in the midst of a collective operation."""
    said: list[str] = []
    with joined(600, "cpu") as world:
        try:
            with watched(world, Request(), 60.0) as explained, explained(lambda *one: said.extend(one)):
                if not world.first:
                    raise Stopped("the step is saved") if what == "stopped" else ValueError("what it is")
                world.wait()
        except (Stopped, RunFailed, ValueError) as error:
            return f"{type(error).__name__}: {error} {said}"
    return "ended well"


@pytest.mark.parametrize(
    ("what", "first", "last"),
    [
        pytest.param(
            "stopped",
            "Stopped: process 1 ended: the step is saved []",
            "Stopped: the step is saved []",
            marks=pytest.mark.slow,
        ),
        (
            "failed",
            "RunFailed: process 1 ended: ValueError: what it is; the same command goes on from the last checkpoint []",
            "ValueError: what it is []",
        ),
    ],
)
def test_an_end_is_explained_and_raised(what: str, first: str, last: str) -> None:
    with ranks(failing, what) as made:
        made[1][0].join(60)  # it is gone, and so are its connections
        assert [answer(end) for _, end in made] == [(True, first), (True, last)]
