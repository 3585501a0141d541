"""A run on two hosts, which network namespaces play: each has a name, an address and a network of its own.

The command is that of docs/distributed.md. A host's own name leads to 127.0.1.1, as on Debian, so the interface that
gloo would take by itself is the wrong one. Needs root and `ip netns`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from test_ranked_runs import same

from aha.config import Recipe
from namespaces import Host, hosts, missing
from small_runs import small
from tiny_models import TinyFactory

pytestmark = pytest.mark.slow
STAGE = Path("stages/01-zero")
STEPS, OUTAGE_S, PATIENCE_S = 12, 10.0, 300.0
PORT = 29500


@pytest.fixture(scope="module")
def two() -> Iterator[list[Host]]:
    why = missing()
    if why:
        pytest.skip(why)
    with hosts(2) as made:
        yield made


@pytest.fixture(scope="module")
def recipe(tiny: TinyFactory) -> Recipe:
    more = (f"steps={STEPS}", "rollouts.questions=3", "checkpoint_every=2", "optimiser.lr=1e-3")
    return small(tiny, *more)


def run_of(recipe: Recipe, out: Path, *more: str) -> list[str]:
    """What is launched on each host."""
    file = out.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(recipe.model_dump_json())  # JSON is YAML
    return ["run", str(file), "--out", str(out), *(part for one in more for part in ("--set", one))]


@contextlib.contextmanager
def started(
    two: Sequence[Host], out: Path, arguments: Sequence[str], way: str = "c10d"
) -> Iterator[list[subprocess.Popen[str]]]:
    """The launchers of both hosts; what is left of them ends with this."""
    made = []
    for number, host in enumerate(two):
        launch = ["--nnodes", "2", "--nproc-per-node", "1"]
        meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{two[0].name}:{PORT}", "--rdzv-id", out.parent.name]
        if way == "static":
            meet = ["--node-rank", str(number), "--master-addr", two[0].name, "--master-port", str(PORT)]
        command = host.command([sys.executable, "-m", "torch.distributed.run", *launch, *meet, "-m", "aha", *arguments])
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        env.pop("GLOO_SOCKET_IFNAME", None)
        log = out.with_suffix(f".{number}.log").open("a")
        made.append(
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True)
        )
        log.close()
    try:
        yield made
    finally:
        for process in made:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Their exit statuses."""
    return [process.wait(PATIENCE_S) for process in processes]


def said(out: Path) -> str:
    return "".join(out.with_suffix(f".{number}.log").read_text() for number in range(2))


def until(there: Callable[[], bool], out: Path) -> None:
    """Wait until it is so."""
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end, said(out)
        time.sleep(0.05)


def made(out: Path, steps: int) -> bool:
    """Whether so many steps are."""
    metrics = out / STAGE / "metrics.jsonl"
    return metrics.exists() and metrics.read_text().count("\n") >= steps


@pytest.fixture(scope="module")
def unbroken(two: list[Host], recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hosts") / "run"
    with started(two, out, run_of(recipe, out)) as processes:
        assert ends(processes) == [0, 0], said(out)
    return out


def test_through_to_the_end(unbroken: Path) -> None:
    assert (unbroken / STAGE / "metrics.jsonl").read_text().count("\n") == STEPS
    assert (unbroken / STAGE / "model/model.safetensors").is_file()


@pytest.mark.parametrize("way", ["c10d", "static"])
def test_a_link_that_is_down_for_ten_seconds_is_survived(
    two: list[Host], recipe: Recipe, unbroken: Path, tmp_path: Path, way: str
) -> None:
    """What was on its way is sent again, and the run is the same to the last bit."""
    out = tmp_path / "run"
    with started(two, out, run_of(recipe, out), way) as processes:
        until(lambda: made(out, 3), out)
        with two[1].unplugged():
            time.sleep(OUTAGE_S)
        assert ends(processes) == [0, 0], said(out)
    same(out / STAGE, unbroken / STAGE)


def test_a_link_that_is_down_for_longer_than_the_deadline_ends_all(
    two: list[Host], recipe: Recipe, unbroken: Path, tmp_path: Path
) -> None:
    """Each says so, and the same command goes on, to the same bits. torchrun's own process on the host that is cut off
    ends when the network is back."""
    out, goes_on = tmp_path / "run", "the same command goes on from the last checkpoint"
    here = f"process 1 has given no sign of life for 5 s; {goes_on}"
    there = f"nothing was heard for 5 s from {two[0].name}, where all have met, or others; {goes_on}"
    command = run_of(recipe, out, "sharding.deadline_s=5")
    with started(two, out, command) as processes:
        until(lambda: made(out, 3), out)
        with two[1].unplugged():
            until(lambda: here in said(out) and there in said(out), out)
        assert 0 not in ends(processes)
    with started(two, out, command) as processes:
        assert ends(processes) == [0, 0], said(out)
    same(out / STAGE, unbroken / STAGE)


def test_they_are_examined(two: list[Host], tmp_path: Path) -> None:
    """By the doctor, before the first step: two hosts, with addresses by which the other one reaches them."""
    out = tmp_path / "run"
    with started(two, out, ["doctor", "--cluster", "--out", str(out), "--json"]) as processes:
        assert ends(processes) == [0, 0], said(out)
    found = json.loads(next(line for line in said(out).splitlines() if line.startswith("{")))
    rows = found["checks"]
    assert found["ok"] and rows["processes"]["value"].startswith("2 processes on 2 hosts, 1 each: ")
    assert all(f"{host.name} at {host.address} ({host.interface})" in rows["processes"]["value"] for host in two)
    (clock,) = found["clocks"]  # both hosts have this machine's
    assert clock["host"] in [host.name for host in two] and abs(clock["ahead_s"]) <= clock["uncertain_s"] + 1e-3
    assert all(set(link["seconds"]) == {"1000", "1000000", "100000000"} for link in found["links"])
    assert not out.exists(), "nothing is left behind"
