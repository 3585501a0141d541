"""Workers as processes: messages, weights in shared memory, ends of either side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from kits import collector_of, kit_of, questions_of
from puppets import eventually, setup_of

from aha.distributed.exchange import unpacked
from aha.distributed.rollout import local
from aha.distributed.rollout.channel import Message, Setup, Worker
from aha.distributed.rollout.digest import digest
from aha.distributed.rollout.local import Processes
from aha.distributed.rollout.questions import Kit, plain_of
from tiny_models import TinyFactory

PATIENCE_S = 300.0


def build(setup: Setup) -> Kit:
    """In the worker's process; the folder of the model is in place of the recipe."""
    torch.set_num_threads(1)
    return kit_of(Path(setup.model))


def broken(setup: Setup) -> Kit:
    """One that ends without a word."""
    os._exit(3)


def made(tiny: TinyFactory, launcher: Processes, name: str, of: Any = build) -> Worker:
    setup = setup_of("rollout", of)
    return launcher.start(name, Setup(setup.kind, "", "", str(tiny("qwen3")), "cpu", "float32", 1, of))


@pytest.fixture
def launcher() -> Iterator[Processes]:
    found = Processes(method="forkserver")  # which the tests of several processes have started; they begin at once
    yield found
    found.close()


def said(launcher: Processes, worker: Worker, kind: str) -> Message:
    """The next word of a kind."""
    until = time.monotonic() + PATIENCE_S
    words: list[Message] = []
    while time.monotonic() < until:
        launcher.wait(0.2)
        words += worker.received()
        for word in words:
            if word.kind == kind:
                return word
        assert not worker.ended(), (worker.ended(), words)
    raise AssertionError(f"no {kind} among {[word.kind for word in words]}")


def test_a_process_draws_and_leaves(tiny: TinyFactory) -> None:
    launcher = Processes()
    worker = made(tiny, launcher, "rollout-0")
    said(launcher, worker, "ready")
    weights = kit_of(tiny("qwen3")).engine.model.state_dict()  # type: ignore[union-attr]
    handle = launcher.hand_out(weights, 5)
    worker.send(Message("publish", {"version": 5}, handle=handle))
    assert said(launcher, worker, "holds").about["digest"] == digest(weights)
    questions = questions_of(collector_of(tiny("qwen3")), 0)
    worker.send(
        Message(
            "draw",
            {
                "questions": [plain_of(q) for q in questions], "attempts": [1], "sampling": [6, 1.0, 0, 1.0],
                "whole": True, "version": 5,
            },
        )
    )  # fmt: skip
    ((first, second),) = unpacked(said(launcher, worker, "made").body)
    assert first[0].policy_version == 5 and first[1].value("accuracy") == 0.0 and first != second
    folder = Path(handle).parent
    assert folder.is_dir()
    worker.send(Message("leave"))
    eventually(worker.ended)
    assert worker.ended() == "its process ended with status 0"
    launcher.close()
    assert not folder.exists()


def test_what_was_said_before_a_kill_is_heard_and_the_kill_is_named(tiny: TinyFactory, launcher: Processes) -> None:
    worker = made(tiny, launcher, "rollout-0")
    said(launcher, worker, "ready")
    process = worker._process  # type: ignore[attr-defined]
    os.kill(process.pid, signal.SIGKILL)
    worker.send(Message("publish", {"version": 0}, handle="nowhere"))
    eventually(worker.ended)
    assert worker.ended() == "its process was ended by signal 9"
    assert isinstance(worker.received(), list)
    worker.end()


def test_one_that_ends_by_itself_says_its_status(tiny: TinyFactory, launcher: Processes) -> None:
    worker = made(tiny, launcher, "rollout-7", broken)
    eventually(worker.ended)
    assert worker.ended() == "its process ended with status 3"


def test_two_versions_can_be_read_and_older_ones_are_gone(launcher: Processes) -> None:
    handles = [launcher.hand_out({"w": torch.full((3,), float(version))}, version) for version in range(4)]
    found = [local.weights_at(handle) for handle in handles]
    assert found[:2] == [None, None]
    assert [float(one["w"][0]) for one in found[2:] if one is not None] == [2.0, 3.0]


def test_tied_and_sliced_weights_are_written_whole(launcher: Processes) -> None:
    base = torch.randn(4, 6)
    weights = {"a": base, "b": base, "c": base[1:3], "d": base.t(), "e": torch.tensor(2.0, dtype=torch.bfloat16)}
    found = local.weights_at(launcher.hand_out(weights, 0))
    assert found is not None and digest(found) == digest(weights)


def test_without_room_in_shared_memory_weights_go_to_a_folder_for_temporary_files(
    launcher: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr(local.tempfile, "gettempdir", lambda: str(tmp_path))
    assert Path(launcher.hand_out({"w": torch.ones(2)}, 0)).is_relative_to(tmp_path)


def test_what_dead_processes_have_left_is_removed(
    launcher: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "SHARED_MEMORY", tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(60)
    for owner in (ended.pid, os.getpid()):
        (tmp_path / f"{local.FOLDER}{owner}-x").mkdir()
    launcher.hand_out({"w": torch.ones(2)}, 0)
    left = {path.name.split("-")[2] for path in tmp_path.iterdir()}
    assert left == {str(os.getpid())} and len(list(tmp_path.iterdir())) == 2


TRAINER = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from test_rollout_local import build, said
from kits import engine_of
from aha.distributed.rollout.channel import Message, Setup
from aha.distributed.rollout.local import Processes

if __name__ == "__main__":
    launcher = Processes()
    worker = launcher.start("rollout-0", Setup("rollout", "", "", {model!r}, "cpu", "float32", 1, build))
    handle = launcher.hand_out(engine_of(Path({model!r})).model.state_dict(), 0)
    worker.send(Message("publish", {{"version": 0}}, handle=handle))
    said(launcher, worker, "holds")
    print(worker._process.pid, handle, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_workers_end_with_a_trainer_that_is_killed_and_clean_up(tiny: TinyFactory, tmp_path: Path) -> None:
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER.format(path=[p for p in sys.path if p], model=str(tiny("qwen3"))))
    trainer = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    number, handle = trainer.stdout.readline().split()
    trainer.kill()
    trainer.wait(60)
    eventually(lambda: not psutil.pid_exists(int(number)) or psutil.Process(int(number)).status() == "zombie")
    assert not Path(handle).parent.exists()
