"""A Ray cluster of two hosts, which network namespaces play: one learns, the other samples, and the link between them
goes down. Needs root and `ip netns`.

.venv/bin/pytest -m slow tests/distributed/ray/test_ray_hosts.py
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from test_ray_runs import LUCKY, STAGE, balanced, same

from aha.config import Recipe, override
from aha.pipeline.run import run
from namespaces import Host, hosts, missing
from small_runs import small
from tiny_models import TinyFactory

pytest.importorskip("ray.util.placement_group", reason="Ray is not installed; pip install 'aha[ray]'")
pytestmark = pytest.mark.slow

STEPS, OUTAGE_S, PATIENCE_S = 12, 10.0, 600.0
PORT = 6379
TOKEN = secrets.token_hex(32)  # which all who belong to the cluster have
STORE = 200_000_000  # bytes of Ray's object store


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    """Two hosts with Ray, each with room for one actor."""
    why = missing()
    if why:
        pytest.skip(why)
    logs = tmp_path_factory.mktemp("hosts")
    with hosts(2) as made, contextlib.ExitStack() as undo:
        for number, host in enumerate(made):
            place = tempfile.mkdtemp(prefix="aha-ray-", dir="/tmp")  # names of sockets have to be short
            undo.callback(shutil.rmtree, place, ignore_errors=True)
            of = ["--head", f"--port={PORT}"] if number == 0 else [f"--address={made[0].address}:{PORT}"]
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *of, f"--node-ip-address={host.address}"]
            spare = ["--disable-usage-stats", f"--object-store-memory={STORE}", "--num-cpus=1", "--num-gpus=0"]
            if number == 0:
                spare += [f"--temp-dir={place}", "--include-dashboard=false"]
            log = logs / f"ray-{number}.log"
            process = undo.enter_context(started(host, [*ray, *spare, "--block"], log))
            until(process, log, lambda log=log: "Ray runtime started" in log.read_text())  # type: ignore[misc]
        yield made


@pytest.fixture(scope="module")
def recipe(tiny: TinyFactory, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    file = tmp_path_factory.mktemp("rewards") / "lucky.py"
    file.write_text(LUCKY)
    more = (
        f"steps={STEPS}",
        "rollouts.questions=3",
        "checkpoint_every=2",
        "device=cpu",
        f"rewards={{'{file}:lucky': 1}}",
    )
    return small(tiny, *more, "workers.start_s=600", "sharding.deadline_s=120")


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run in this process."""
    out = tmp_path_factory.mktemp("here") / "run"
    run(recipe, out)
    return out


@contextlib.contextmanager
def started(host: Host, command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process on `host`, and what it starts; all of it ends with this."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    env.pop("RAY_ADDRESS", None)
    with log.open("ab") as out:
        process = subprocess.Popen(
            host.command(command), stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def until(process: subprocess.Popen[bytes], log: Path, there: Callable[[], bool]) -> None:
    """Wait until it is so, while the process runs."""
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def steps_of(out: Path) -> int:
    metrics = out / STAGE / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def test_a_link_that_is_down_for_ten_seconds_is_survived(
    two: list[Host], recipe: Recipe, unbroken: Path, tmp_path: Path
) -> None:
    """No learner starts again, every step is made once, and the run is that of one process to the last bit."""
    out, log = tmp_path / "run", tmp_path / "log"
    recipe = override(recipe, ["launcher=ray", f"workers.address={two[0].address}:{PORT}"])
    (tmp_path / "run.yaml").write_text(recipe.model_dump_json())  # JSON is YAML
    command = [sys.executable, "-m", "aha", "run", str(tmp_path / "run.yaml"), "--out", str(out)]
    with started(two[0], command, log) as process:
        until(process, log, lambda: steps_of(out) >= 3)
        with two[1].unplugged():
            time.sleep(OUTAGE_S)
            during = steps_of(out)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    said = log.read_text()
    assert "2 machines: 2 CPUs" in said and "start again" not in said, said
    assert 3 <= during < STEPS, "the link was down in the middle of the run"
    assert balanced(out, STEPS, 3).by_step.keys() == set(range(1, STEPS + 1))
    same(out, unbroken)
