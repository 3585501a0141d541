"""Two processes examine themselves: what they find is the same on both, and nothing waits for ever."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from aha.distributed.world import joined
from aha.doctor import clocks, cluster, facts, folder, links
from aha.doctor.deadline import limit
from aha.doctor.findings import Finding
from rank_processes import answer, on_ranks, ranks

WAIT_S = 60.0
SMALL = (("1 KB", 1000), ("1 MB", 1_000_000))


def apart() -> list[Any]:
    """Clocks of three hosts, of which each is 3 s ahead of the one before."""
    with joined(WAIT_S, "cpu") as world:
        name = f"host-{world.rank}"
        return clocks.offsets(world, name, lambda: time.time() + 3.0 * world.rank)


def test_clocks_are_compared_with_their_uncertainty() -> None:
    one, *others = on_ranks(apart, size=3)
    assert all(other == one for other in others) and [offset.host for offset in one] == ["host-1", "host-2"]
    for offset, ahead in zip(one, (3.0, 6.0), strict=True):
        assert abs(offset.ahead_s - ahead) <= offset.uncertain_s + 1e-3
    judged = clocks.judged(one)
    assert judged.state == "warning" and judged.value.startswith("host-2 is 6") and "host-2" in judged.remedy
    assert clocks.judged([clocks.Offset("b", -0.25, 0.001)]) == Finding(
        "clocks", "b is 250 ms behind the first host, give or take 1 ms"
    )
    assert clocks.judged([]).state == "ok"


def looking(paths: list[str]) -> list[list[Finding]]:
    with joined(WAIT_S, "cpu") as world:
        return [folder.looked(world, f"host-{world.rank}", Path(p.format(world.rank)), 1.0) for p in paths]


def test_one_folder_for_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    paths = [str(tmp_path / p) for p in ("new/deep", "there", "own-{0}", "file/below")]
    one, other = on_ranks(looking, paths)
    assert one[2:] == other[2:] and [f.name for f in one[0]] == [f.name for f in other[0]] == ["run folder", "disk"]
    for well in (*one[:2], *other[:2]):
        assert well[0].state in ("ok", "warning") and "seen by all after" in well[0].value
    (apart,), (no_folder,) = one[2:]
    assert apart.state == "fails" and "process 1 on host-1" in apart.value and "--out" in apart.remedy
    assert no_folder.state == "fails" and no_folder.value.endswith("Not a directory")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "there"], "nothing is left behind"


@pytest.mark.parametrize(
    ("told", "back", "states"),
    [
        ([(0.0, 50), (2.0, 50)], 0.0, ["warning", "ok"]),
        ([(0.0, 50), (0.0, 5)], 0.0, ["ok", "warning"]),
        ([(0.0, 50), (0.0, 0)], 0.0, ["ok", "fails"]),
        ([(0.0, 50), (0.0, 50)], None, ["fails"]),
    ],
)
def test_a_folder_is_judged(told: list[tuple[float, int]], back: float | None, states: list[str]) -> None:
    seen = [("a", folder.Seen(after, "", free * folder.GIB)) for after, free in told]
    assert [finding.state for finding in folder.judged("out", seen, back)] == states


def linked() -> tuple[list[links.Link], list[str]]:
    links.SIZES, links.BUDGET_S = SMALL, 0.01
    links.OPERATIONS["nothing"] = (lambda values, world, group: None, links._reduced)
    said: list[str] = []
    with joined(WAIT_S, "cpu") as world:
        return list(links.measured(world, None, "gloo", "cpu", said.append)), said


def test_links_are_measured_and_their_numbers_held() -> None:
    (one, said), (other, _) = on_ranks(linked)
    assert one == other and [link.operation for link in one] == ["all_reduce", "broadcast", "all_gather", "nothing"]
    assert all(len(link.seconds) == 2 and min(link.seconds) > 0 for link in one)
    assert [link.whole for link in one] == [True, True, True, False]
    assert said[:2] == ["gloo all_reduce of 1 KB", "gloo all_reduce of 1 MB"]
    assert links.judged(one[3]).state == "fails"


def test_links_are_judged() -> None:
    quick = links.Link("gloo", "broadcast", (1e-4, 1e-3, 0.05))
    assert links.judged(quick) == Finding("gloo broadcast", "1 KB 0.1 ms, 1 MB 1 ms, 100 MB 50 ms, 2 GB/s")
    for slow in ((1e-4, 1e-3, 1.5), (0.02, 0.02, 0.05), (1e-4, 0.5)):
        row = links.judged(links.Link("nccl", "broadcast", slow))
        assert row.state == "warning" and "NCCL_SOCKET_IFNAME" in row.remedy


def examined(out: str, what: str = "", wait: float = WAIT_S) -> tuple[bool, list[Any]]:
    """Whether something fails, and what was shown; something may be wrong with the last process."""
    links.SIZES, links.BUDGET_S = SMALL, 0.01
    shown: list[Any] = []
    if int(os.environ["RANK"]) == 1:
        if what == "other code":
            facts.source_digest = lambda: "0123456789"  # type: ignore[assignment]
        if what == "hangs":
            clocks.offsets = lambda *_: time.sleep(WAIT_S)  # type: ignore[assignment]
        if what == "absent":
            return False, []
    found = cluster.examine(Path(out), "cpu", wait, lambda found: shown.append(found.as_dict()))
    return found.fails, shown


def test_the_whole_examination(tmp_path: Path) -> None:
    """Of two processes, one of which has other code: both say that it fails, and the first one shows it."""
    (fails, (shown,)), (also, nothing) = on_ranks(examined, str(tmp_path), "other code")
    assert fails and also and nothing == [] and not shown["ok"]
    rows = json.loads(json.dumps(shown))["checks"]
    assert list(rows) == [
        "processes", "python", "torch", "transformers", "aha", "device", "threads", "memory", "open files", "/dev/shm",
        "clocks", "run folder", "disk", "gloo all_reduce", "gloo broadcast", "gloo all_gather",
    ]  # fmt: skip
    assert rows["aha"]["state"] == "fails" and "source 0123456789 in process 1" in rows["aha"]["value"]
    assert rows["torch"] == {"value": torch.__version__, "state": "ok", "remedy": ""}
    assert all(bool(row["remedy"]) == (row["state"] != "ok") for row in rows.values())
    assert shown["processes"] == len(shown["machines"]) == 2 and len(shown["links"]) == 3


def test_one_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """What was found before is shown, with what did not end."""
    with ranks(examined, str(tmp_path), "hangs", 3.0) as made:
        well, (fails, (shown,)) = answer(made[0][1])
    assert well and fails and list(shown["checks"])[-2:] == ["/dev/shm", "network"]
    assert shown["checks"]["network"]["value"].startswith("the comparison of clocks failed: ")


@pytest.mark.slow
def test_one_that_does_not_come(tmp_path: Path) -> None:
    with ranks(examined, str(tmp_path), "absent", 3.0) as made:
        well, said = answer(made[0][1])
    assert not well and "RunFailed: the 2 processes did not all meet" in said


def test_a_deadline_of_each_part() -> None:
    said: list[str] = []
    there = threading.Event()

    def late(what: str) -> None:
        said.append(what)
        there.set()

    with limit(0.2, late) as begins:
        begins("one")
        begins("two")
        assert there.wait(30)
    assert said == ["two"]
    with limit(0.2, late) as begins:
        begins("three")
    assert not there.wait(0.0) or said == ["two"]
