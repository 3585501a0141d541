"""What processes say of themselves, held side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aha.distributed.world import World
from aha.doctor.compare import GIB, compared, named
from aha.doctor.facts import Facts, of_this
from aha.doctor.findings import Finding

ONE = Facts(
    rank=0, host="a", address="10.0.0.1 (eth0)", python="3.11.7", torch="2.13.0", transformers="5.23.0",
    aha="0.1.0, commit abc, source 1", device="cpu", cores=8, omp="", memory=64 * GIB, files=65536, opened=20,
    shm=8 * GIB, shm_free=8 * GIB,
)  # fmt: skip
H100 = {"device": "cuda", "gpus": ("H100",) * 4, "gpu_free": 79 * GIB, "gpu_memory": 80 * GIB}


def four(second: dict[str, Any] | None = None, **all_of_them: Any) -> list[Facts]:
    """Two processes on each of the hosts a and b, the last of which may differ."""
    made = [replace(ONE, rank=rank, host="ab"[rank // 2], gpu=f"uuid-{rank}", **all_of_them) for rank in range(4)]
    return [*made[:3], replace(made[3], **(second or {}))]


def found(facts: list[Facts]) -> dict[str, Finding]:
    return {finding.name: finding for finding in compared(facts)}


@pytest.mark.parametrize("more", [{}, H100], ids=["cpu", "gpu"])
def test_equal_processes_are_well(more: dict[str, Any]) -> None:
    rows = found(four(**more))
    assert {row.state for row in rows.values()} == {"ok"} and not any(row.remedy for row in rows.values())
    assert rows["processes"].value == "4 processes on 2 hosts, 2 each: a at 10.0.0.1 (eth0), b at 10.0.0.1 (eth0)"
    assert rows["memory"].value == "32.0 GiB for each process, at least (on a)"
    assert rows["threads"].value == "4 cores for each process"
    assert ("gpus" in rows) == bool(more) and (not more or rows["gpus"].value == "4 x H100")


@pytest.mark.parametrize("name", ["python", "torch", "transformers", "aha", "device"])
def test_what_has_to_be_equal(name: str) -> None:
    row = found(four({name: "other"}))[name]
    assert row.state == "fails" and row.value.endswith("but other in process 3 on b") and " all hosts" in row.remedy


BAD = [
    ({}, {"refused": "device 'cuda' is not available here"}, "device", "fails", "process 3 on b: device 'cuda' is not"),
    ({"memory": GIB}, {}, "memory", "warning", "0.5 GiB for each"),
    ({"memory": GIB // 2}, {}, "memory", "fails", "0.2 GiB for each"),
    ({"files": 547}, {}, "open files", "fails", "547 for each"),  # 20 + 512 + 4 * 4 are needed
    ({"files": 548}, {}, "open files", "ok", "548 for each"),
    ({"files": -1}, {}, "open files", "ok", "no limit"),
    ({"shm_free": 64 << 20, "shm": 64 << 20}, {}, "/dev/shm", "warning", "0.1 of 0.1 GiB free"),
    ({"shm_free": 1 << 20, **H100}, {}, "/dev/shm", "fails", "0.0 of 8.0 GiB free"),
    ({"cores": 1}, {}, "threads", "warning", "2 processes on 1 cores of a"),
    ({"omp": "8"}, {}, "threads", "warning", "OMP_NUM_THREADS=8 of 2 processes on 8 cores of a"),
    (H100, {"gpus": ("A100",) * 4}, "gpus", "fails", "4 x H100, but 4 x A100 in process 3 on b"),
    (H100, {"gpu": "uuid-2"}, "gpus", "fails", "4 processes share 3 GPUs"),
    (H100, {"gpu_free": 40 * GIB}, "gpu memory", "warning", "40.0 of 80.0 GiB free, at least (process 3 on b)"),
]


@pytest.mark.parametrize(("all_of_them", "last", "name", "state", "words"), BAD)
def test_what_is_in_the_way(
    all_of_them: dict[str, Any], last: dict[str, Any], name: str, state: str, words: str
) -> None:
    row = found(four(last, **all_of_them))[name]
    assert row.state == state and words in row.value and bool(row.remedy) == (state != "ok")


def test_hosts_that_are_not_alike() -> None:
    rows = found([*four()[:3], replace(ONE, rank=3, host="c")])
    assert rows["processes"].state == "warning" and "3 hosts, 1 to 2 each" in rows["processes"].value
    assert rows["threads"].state == "warning" and rows["threads"].value == "4 to 8 cores for a process"


def test_many_are_counted() -> None:
    assert named(four()) == "process 0 on a, process 1 on a, process 2 on b and 1 more"


def test_this_machine() -> None:
    facts = of_this(World(), "cpu", "127.0.0.1 (lo)")
    assert facts.device == "cpu" and not facts.refused and facts.cores > 0 and facts.memory > 0
    assert facts.files == -1 or 0 < facts.opened < facts.files
    assert of_this(World(), "mps:7", "").refused or of_this(World(), "mps", "").device == "mps"
    assert of_this(World(), "tpu", "").refused.startswith("unknown device 'tpu'")
