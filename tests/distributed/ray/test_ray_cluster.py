"""How Ray is found, and what a run asks it for."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fake_ray import FakeRay

from aha.config import Recipe, override
from aha.distributed.ray import cluster
from aha.distributed.ray.cluster import LISTENER, Needs, connected, name_of, needs_of, room
from aha.errors import Stopped, UserError
from aha.pipeline.recipes import recipe as recipe_of


def recipe(*settings: str) -> Recipe:
    return override(recipe_of("zero"), ["launcher=ray", *settings])


class Ray(FakeRay):
    """One that can be connected to."""

    __version__ = "2.60.0"

    def __init__(self, raises: BaseException | None = None) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.shut, self._raises = 0, raises

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> Any:
        self.asked.append(options)
        if self._raises is not None:
            raise self._raises
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    def shutdown(self) -> None:
        self.shut += 1


def test_what_actors_take() -> None:
    found = needs_of(recipe("device=cpu", "workers.rollout=2", "workers.reward=1", "threads=4"), 0, local=True)
    assert found.bundles == [{"CPU": 4, "GPU": 0}, {"CPU": 1, "GPU": 0}, {"CPU": 1, "GPU": 0}, {"CPU": 1, "GPU": 0}]
    assert list(found.places("rollout")) == [1, 2] and list(found.places("reward")) == [3]
    cuda = needs_of(
        recipe("device=cuda", "workers.rollout=2", "workers.learners=3", "workers.threads=2"), 0, local=False
    )
    assert cuda.bundles == [{"CPU": 1, "GPU": 1}] * 3 + [{"CPU": 2, "GPU": 1}] * 2
    assert cuda.of("reward") == {"CPU": 2, "GPU": 0} and cuda.of("rollout") == {"CPU": 2, "GPU": 1}


@pytest.mark.parametrize(("gpus", "workers", "each"), [(1, 1, 0.5), (2, 1, 1.0), (2, 4, 0.3333), (8, 7, 1.0)])
def test_gpus_of_one_machine_are_shared(gpus: int, workers: int, each: float) -> None:
    found = needs_of(recipe("device=auto", f"workers.rollout={workers}"), gpus, local=True)
    assert found.learner["GPU"] == found.rollout["GPU"] == each and found.reward["GPU"] == 0
    assert (1 + workers) * each <= gpus


def test_what_cannot_be_had_is_named() -> None:
    with pytest.raises(UserError, match=r"2 learners and 1 rollout workers need 3 GPUs, and this machine has 2"):
        needs_of(recipe("device=cuda", "workers.learners=2"), 2, local=True)
    with pytest.raises(UserError, match="device=cuda:1 is a GPU by number, and Ray gives each actor its own"):
        needs_of(recipe("device=cuda:1"), 2, local=False)


def test_auto_takes_what_there_is() -> None:
    assert needs_of(recipe(), 0, local=True).learner["GPU"] == 0
    assert needs_of(recipe(), 4, local=False).learner["GPU"] == 1


@pytest.mark.parametrize(("text", "name"), [("demo", "demo"), ("my run (2)", "my-run-2"), ("../ü", ".."), ("é", "run")])
def test_names(text: str, name: str) -> None:
    assert name_of(text) == name


def test_a_ray_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has room for all actors whatever the machine has, and ends with the run."""
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(cluster.REGISTERING, "7")
    with connected(recipe("workers.rollout=90", "workers.threads=2", "threads=3"), "demo") as where:
        assert where.local and where.words == "Ray 2.60.0, of this machine, dashboard at 127.0.0.1:8265"
        assert not ray.shut
    (asked,) = ray.asked
    assert ray.shut == 1 and asked["address"] == "local" and asked["num_cpus"] == 183 + cluster.SPARE
    assert asked["namespace"].startswith("aha-demo-")


def test_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with connected(recipe(), "demo") as where:
        assert not where.local and where.words.startswith("Ray 2.60.0, 2 machines: 4 CPUs, 0 GPUs")
    assert ray.asked[0]["address"] == "auto" and "num_cpus" not in ray.asked[0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with connected(recipe(f"workers.address={address}"), "demo"):
            assert ray.asked[1]["address"] == address


def test_a_connection_that_is_there_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with connected(recipe(), "demo"):
        pass
    assert not ray.asked and not ray.shut


def test_nobody_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once."""
    monkeypatch.setitem(sys.modules, "ray", Ray())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    with (
        pytest.raises(
            UserError, match=rf"no Ray answers at workers\.address=127\.0\.0\.1:{port} \(Connection refused\)"
        ),
        connected(recipe(f"workers.address=127.0.0.1:{port}"), "demo"),
    ):
        pass
    assert time.monotonic() - began < 20


def test_from_outside_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Ray())
    outside = recipe("workers.address=ray://head:10001")
    with (
        pytest.raises(UserError, match=r"ray://head:10001 is from outside .* ray job submit"),
        connected(outside, "demo"),
    ):
        pass


@pytest.mark.parametrize(
    ("raised", "expected", "sentence"),
    [
        (ConnectionError("Could not find any running Ray instance."), UserError, r"Ray at auto cannot be used \(Could"),
        (
            RuntimeError("Version mismatch:\nRay 2.9"),
            UserError,
            r"\(Version mismatch:\); start it, set workers\.address",
        ),
        (Exception("The current node timed out during startup."), UserError, "timed out during startup"),
        (SystemExit(15), Stopped, "it had not begun"),
    ],
)
def test_a_ray_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, expected: type, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", Ray(raised))
    with pytest.raises(expected, match=sentence), connected(recipe("workers.address=auto"), "demo"):
        pass


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"pip install 'aha\[ray\]', or set launcher=processes"),
        connected(recipe(), "x"),
    ):
        pass


NEEDS = Needs({"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 0.0}, 2, 1, 1)


def test_room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, notes = FakeRay(), list[str]()
    monkeypatch.setitem(sys.modules, "ray", ray)
    with room(NEEDS, 5.0, lambda: None, notes.append) as group:
        assert group.bundle_specs == NEEDS.bundles and ray.bundles == [group]
    assert not ray.bundles and not notes


def test_room_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other workers then come as they find room; what is waited for is said."""
    ray, notes = FakeRay(room=3), list[str]()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(cluster, "LOOK_S", 0.01)
    monkeypatch.setattr(cluster, "SOON_S", 0.0)
    with room(NEEDS, 0.1, lambda: None, notes.append) as group:
        assert group.bundle_specs == NEEDS.bundles[:3] and ray.bundles == [group]
    assert notes == ["waiting up to 0.1 s for 6 CPUs, 3 GPUs in 4 parts; Ray has 4 CPUs, 0 GPUs free"]


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(room=2)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(cluster, "LOOK_S", 0.01)
    sentence = r"no room for 2 learners and a worker \(4 CPUs, 3 GPUs\) within workers\.start_s=0\.05 s; it has 4 CPUs"
    with (
        pytest.raises(UserError, match=sentence),
        room(NEEDS, 0.05, lambda: None, print),
    ):
        pass
    assert not ray.bundles


def test_whoever_waits_for_room_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(room=0)
    monkeypatch.setitem(sys.modules, "ray", ray)

    def asked() -> None:
        raise Stopped("asked")

    with pytest.raises(Stopped), room(NEEDS, 60.0, asked, print):
        pass
    assert not ray.bundles


def test_what_ray_prints_does_not_come_between() -> None:
    ours, theirs = io.StringIO(), io.StringIO()
    both = cluster._Apart(ours, theirs)
    both.write("a result\n")
    thread = threading.Thread(target=both.write, args=("A worker died\n",), name=LISTENER)
    thread.start()
    thread.join(10)
    assert ours.getvalue() == "a result\n" and theirs.getvalue() == "A worker died\n" and not both.isatty()
