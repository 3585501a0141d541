"""Learners from the command's side: what they tell is shown, what ends them is said, and they are started again. Their
actors are threads here; `test_ray_runs.py` has real ones."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_ray import FakeRay, Handle, RayError

from aha.config import Recipe, override
from aha.distributed.ray import group, supervise
from aha.distributed.ray.actors import AhaLearner
from aha.distributed.ray.cluster import Where
from aha.distributed.ray.group import Ending, Learners, environments
from aha.distributed.ray.supervise import Requests, Seen, on_ray
from aha.distributed.rollout.channel import Message
from aha.distributed.watch import GOES_ON
from aha.errors import RunFailed, Stopped, UserError
from aha.pipeline.recipes import recipe as recipe_of
from aha.types import StepMetrics

HERE = Where(True, 0.0, "Ray 2.60.0, of this machine")


class Shown:
    """What is shown, in a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, name: str, done: int, planned: int) -> None:
        self.lines.append(f"stage {name} {done}/{planned}")

    def step(self, metrics: StepMetrics) -> None:
        self.lines.append(f"step {metrics.step} {dict(metrics.values)}")

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRay:
    """Connected; all learners are on one machine, and every wait is short."""
    made = FakeRay()

    @contextlib.contextmanager
    def connected(*_: Any) -> Iterator[Where]:
        yield HERE

    @contextlib.contextmanager
    def room(needs: Any, *_: Any) -> Iterator[Any]:
        yield made._place(needs.bundles, "PACK", "aha")

    monkeypatch.setattr(supervise, "connected", connected)
    monkeypatch.setattr(supervise, "room", room)
    monkeypatch.setattr(supervise, "library", lambda: made)
    monkeypatch.setattr(group, "placed", lambda bundles, place: {"place": place})
    monkeypatch.setattr(AhaLearner, "meet", lambda self: {"node": "a", "address": "10.0.0.1", "port": 7})
    for name, seconds in (("LOOK_S", 0.02), ("LISTENING_S", 0.1), ("AFTER_S", 0.3)):
        monkeypatch.setattr(group, name, seconds)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")  # put back at the end: actors of a test set them in its own process
        os.environ.pop(name)
    (tmp_path / "recipe.yaml").write_text("")
    return made


def made(ray: FakeRay, out: Path, run: Callable[..., Any], *settings: str) -> tuple[Any, list[str]]:
    """What a run on Ray returns or raises, and what was shown."""
    shown = Shown()
    recipe = override(recipe_of("zero"), ["launcher=ray", "device=cpu", "workers.restarts=2", *settings])
    try:
        return on_ray(run, recipe, out, shown), shown.lines
    except BaseException as error:
        return error, shown.lines


def telling(recipe: Recipe, out: Path, observer: Any, begin: str, listen: Any) -> dict[str, Any]:
    """A run of two steps."""
    assert recipe.launcher == "ray" and out.is_absolute() and callable(listen)
    if observer is not None:
        observer.stage("zero", 0, 2)
        for step in (1, 2):
            observer.step(StepMetrics(step, {"loss": step / 3}))
        observer.note("done")
    return {"steps": 2, "pass@1": 0.1 + 0.2}


@pytest.mark.parametrize("learners", [1, 3])
def test_what_the_first_one_tells_is_shown(ray: FakeRay, tmp_path: Path, learners: int) -> None:
    result, lines = made(ray, tmp_path, telling, f"workers.learners={learners}")
    assert result == {"steps": 2, "pass@1": 0.1 + 0.2}
    assert lines == [HERE.words, "stage zero 0/2", f"step 1 {{'loss': {1 / 3}}}", f"step 2 {{'loss': {2 / 3}}}", "done"]
    assert sorted(ray.actors) == [f"aha-{tmp_path.name}-learner-{rank}" for rank in range(learners)]
    assert all(actor.gone for actor in ray.actors.values()), "what they held is free again"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (UserError("steps=0 is too few"), "UserError('steps=0 is too few')"),
        (RunFailed("the gate is open"), "RunFailed('the gate is open')"),
        (Stopped("step 2 is saved"), "Stopped('step 2 is saved')"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), "OSError(28, 'No space left on device')"),
    ],
)
def test_what_it_raises_is_raised(ray: FakeRay, tmp_path: Path, raised: BaseException, expected: str) -> None:
    def run(*_: Any) -> dict[str, Any]:
        raise raised

    result, _ = made(ray, tmp_path, run)
    assert repr(result) == expected and len(ray.actors) == 1
    if isinstance(raised, OSError):
        assert result.filename == raised.filename


def test_a_fault_of_ours_shows_where_it_was(ray: FakeRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*_: Any) -> dict[str, Any]:
        raise KeyError("a bug of ours")

    result, _ = made(ray, tmp_path, run)
    assert isinstance(result, RuntimeError) and "learner-0:\nTraceback" in str(result)
    assert "in run" in str(result) and "KeyError: 'a bug of ours'" in str(result) and len(ray.actors) == 1
    assert "a bug of ours" in capsys.readouterr().err, "Ray's log of the actor has it too"


def dying(ray: FakeRay, starts: int) -> Callable[..., Any]:
    """A run whose last learner dies in its first step, as many times."""

    def run(recipe: Recipe, out: Path, observer: Any, begin: str, listen: Any) -> dict[str, Any]:
        if len(ray.actors) > starts * recipe.workers.learners:
            return telling(recipe, out, observer, begin, listen)
        if observer is not None:
            observer.stage("zero", 0, 2)
            ray.dies(list(ray.actors.values())[-1])
        time.sleep(0.05)
        raise RunFailed(f"process 1 has given no sign of life for 5 s{GOES_ON}")

    return run


def test_all_start_again_where_one_dies(ray: FakeRay, tmp_path: Path) -> None:
    result, lines = made(ray, tmp_path, dying(ray, 2), "workers.learners=2")
    assert result["steps"] == 2
    name = f"aha-{tmp_path.name}-learner-"
    assert list(ray.actors) == [f"{name}{rank}{start}" for start in ("", ".2", ".3") for rank in (0, 1)]
    again = "learner-1 died (its worker process has died); all start again from the last checkpoint"
    assert [line for line in lines if "again" in line] == [f"{again} (2 times left)", f"{again} (1 times left)"]


def test_not_for_ever(ray: FakeRay, tmp_path: Path) -> None:
    result, _ = made(ray, tmp_path, dying(ray, 9))
    assert isinstance(result, RunFailed) and len(ray.actors) == 3
    assert str(result).startswith("learner-0 died (its worker process has died), for the 3th time; the same command")


def test_processes_that_lose_each_other_start_again(ray: FakeRay, tmp_path: Path) -> None:
    """A network that fails kills nobody; all end with the sentence that the same command goes on."""

    def run(recipe: Recipe, out: Path, observer: Any, begin: str, listen: Any) -> dict[str, Any]:
        if len(ray.actors) > 2:
            return telling(recipe, out, observer, begin, listen)
        raise RunFailed(f"process 1 has given no sign of life for 5 s{GOES_ON}")

    result, lines = made(ray, tmp_path, run, "workers.learners=2")
    assert result["steps"] == 2 and len(ray.actors) == 4 and "all start again" in " ".join(lines)


def test_the_cause_is_what_came_first(ray: FakeRay, tmp_path: Path) -> None:
    """One finds a fault of the user's; another dies of that, and does not count."""

    def run(recipe: Recipe, out: Path, observer: Any, begin: str, listen: Any) -> dict[str, Any]:
        if observer is None:
            time.sleep(0.2)
            ray.dies(list(ray.actors.values())[1])
            raise RunFailed(f"process 0 ended{GOES_ON}")
        raise UserError("the folder is another run's")

    result, _ = made(ray, tmp_path, run, "workers.learners=2")
    assert repr(result) == 'UserError("the folder is another run\'s")' and len(ray.actors) == 2


def test_one_that_says_nothing_is_taken_for_dead(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(recipe: Recipe, out: Path, observer: Any, begin: str, listen: Any) -> dict[str, Any]:
        if len(ray.actors) > 1:
            return telling(recipe, out, observer, begin, listen)
        time.sleep(1000)
        return {}

    def mute(self: AhaLearner, seconds: float) -> bytes:
        if len(ray.actors) > 1:
            return plain(self, seconds)
        time.sleep(1000)
        return b""

    plain = AhaLearner.said
    monkeypatch.setattr(AhaLearner, "said", mute)
    monkeypatch.setattr(supervise, "Learners", lambda *arguments: Learners(*arguments[:-1], 0.2))
    result, lines = made(ray, tmp_path, run)
    assert result["steps"] == 2
    assert "learner-0 died (it gave no sign of life for 0.2 s); all start again" in " ".join(lines)


def test_one_that_does_not_come_up(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AhaLearner, "meet", lambda self: time.sleep(1000))
    result, _ = made(ray, tmp_path, telling, "workers.start_s=0.1", "workers.learners=2")
    assert isinstance(result, RunFailed)
    assert str(result).startswith("learner-0, learner-1 did not come up within workers.start_s=0.1 s; see Ray's logs")


def test_machines_that_go_while_learners_come_up(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no start of the run: they are started once more, until there is room elsewhere."""
    plain = AhaLearner.meet

    def meet(self: AhaLearner) -> Any:
        if len(ray.actors) < 6:
            raise RayError("The actor is dead because its node has died. Node: 7")
        return plain(self)

    monkeypatch.setattr(AhaLearner, "meet", meet)
    monkeypatch.setattr(supervise, "LONGEST_PAUSE_S", 0.01)
    result, lines = made(ray, tmp_path, telling, "workers.learners=2", "workers.restarts=0")
    assert result["steps"] == 2 and len(ray.actors) == 6
    again = "learner-0 died before it had begun (its node has died); all are started once more"
    assert lines[1:3] == [again, again]


def test_machines_that_go_all_the_time(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meet(self: AhaLearner) -> Any:
        raise RayError("The actor is dead because its node has died. Node: 7")

    monkeypatch.setattr(AhaLearner, "meet", meet)
    monkeypatch.setattr(supervise, "LONGEST_PAUSE_S", 0.01)
    result, _ = made(ray, tmp_path, telling, "workers.start_s=0.05")
    assert isinstance(result, RunFailed) and "(its node has died), and so did others before it" in str(result)


def test_processes_that_die_on_machines_that_stay(
    ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times is enough."""

    def meet(self: AhaLearner) -> Any:
        raise RayError("The actor is dead because its worker process has died. Exit: 7")

    monkeypatch.setattr(AhaLearner, "meet", meet)
    monkeypatch.setattr(supervise, "LONGEST_PAUSE_S", 0.01)
    result, _ = made(ray, tmp_path, telling)
    assert isinstance(result, RunFailed) and "see its log, /tmp/ray" in str(result) and len(ray.actors) == 3


def test_machines_that_cannot_run_it(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meet(self: AhaLearner) -> Any:
        raise RayError("died because of an error raised in its creation task,\n  File x\nNo module named 'aha'\n")

    monkeypatch.setattr(AhaLearner, "meet", meet)
    result, _ = made(ray, tmp_path, telling)
    assert repr(result) == "RunFailed(\"learner-0 cannot start on its machine: No module named 'aha'\")"


def asked_in(ray: FakeRay, *signals: int) -> Callable[..., Any]:
    """A run that gets signals in its first step, and ends as it is asked to."""

    def run(recipe: Recipe, out: Path, observer: Any, begin: str, listen: Any) -> dict[str, Any]:
        asked = threading.Event()
        listen(asked.set)
        observer.stage("zero", 0, 2)
        for number in signals:
            os.kill(os.getpid(), number)
            time.sleep(0.2)
        asked.wait(30)
        raise Stopped("step 1 is saved")

    return run


def test_sigterm_saves_the_step(ray: FakeRay, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    result, lines = made(ray, tmp_path, asked_in(ray, signal.SIGTERM))
    assert repr(result) == "Stopped('step 1 is saved')" and lines[-2].startswith("asked to stop: the step that runs")
    assert lines[-1] == "stopped: step 1 is saved"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_sigint_saves_the_step_and_is_an_interrupt(ray: FakeRay, tmp_path: Path) -> None:
    result, _ = made(ray, tmp_path, asked_in(ray, signal.SIGINT))
    assert repr(result) == "KeyboardInterrupt('step 1 is saved')"


def test_twice_is_at_once(ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AhaLearner, "order", lambda self, message: None)
    result, _ = made(ray, tmp_path, asked_in(ray, signal.SIGINT, signal.SIGINT))
    assert isinstance(result, KeyboardInterrupt) and all(actor.gone for actor in ray.actors.values())


def test_a_request_that_comes_before_the_run_listens(ray: FakeRay, tmp_path: Path) -> None:
    """While it loads, say: it hears of it as soon as it can."""
    learner = AhaLearner("learner-0")
    learner.order(Message("stop"))
    asked = list[bool]()
    learner._listen(lambda: asked.append(True))
    assert asked == [True]


def test_a_request_before_anything_has_begun() -> None:
    requests = Requests()
    requests.check()
    requests._heard(signal.SIGTERM, None)
    with pytest.raises(Stopped, match="it had not begun"):
        requests.check()


def test_a_folder_that_cannot_be_seen_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "VISIBLE_S", 0.05)
    seen = Seen(tmp_path / "run", Shown())
    seen.check(HERE)
    seen.tell(Message("note", {"text": "evaluating"}))
    seen.check(HERE)
    time.sleep(0.1)
    with pytest.raises(UserError, match="is written by another machine and cannot be seen here; give --out a folder"):
        seen.check(HERE)


def test_torchrun_does_not_start_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray: FakeRay) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    result, _ = made(ray, tmp_path, telling)
    assert isinstance(result, UserError) and "start one process, with workers.learners=N" in str(result)


def test_who_is_where() -> None:
    there = [{"node": node, "address": f"10.0.0.{node}", "port": 7} for node in (1, 2, 1)]
    found = environments(there)
    assert [(one["RANK"], one["LOCAL_RANK"], one["LOCAL_WORLD_SIZE"]) for one in found] == [
        ("0", "0", "2"), ("1", "0", "1"), ("2", "1", "2"),
    ]  # fmt: skip
    assert {(one["WORLD_SIZE"], one["MASTER_ADDR"], one["MASTER_PORT"]) for one in found} == {("3", "10.0.0.1", "7")}
    assert environments(there[:1]) == [{}]


def test_endings_that_follow_from_others() -> None:
    learners = object.__new__(Learners)
    learners._names = ["learner-0", "learner-1"]
    broken, stopped = Ending("learner-0", "broken", "process 1"), Ending("learner-1", "stopped", "step 2 is saved")
    for endings, cause in (
        ([], "nobody ended"),
        ([broken, Ending("learner-1", "died", "killed")], "killed"),
        ([Ending("learner-0", "stopped", "step 3"), stopped], "step 3"),
        ([Ending("learner-1", "died", "late"), Ending("learner-0", "done", {"steps": 2})], {"steps": 2}),
    ):
        learners._endings = endings
        assert learners.ending.what == cause


def test_a_handle_is_only_a_handle() -> None:
    """The stand-in for Ray fails calls to the dead, as Ray does."""
    ray = FakeRay()
    handle: Handle = ray.remote()(AhaLearner).options(name="x").remote("learner-0")
    waits = handle.said.remote(1000)
    ray.dies(handle)
    assert isinstance(waits.exception(), ray.exceptions.RayError)
    assert isinstance(handle.said.remote(1).exception(), ray.exceptions.RayError)
