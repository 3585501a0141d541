"""`aha doctor --cluster`: what would ruin a run of several processes, found before its first step.

    torchrun --nproc-per-node 2 -m aha doctor --cluster --out /shared/runs/x      # as the run will be started

    examine(Path("/shared/runs/x"), "auto", 60, show)     # on every process; the first one shows what was found

Processes meet as those of a run do and compare what they are (`facts`, `compare`), their clocks (`clocks`), the run
folder (`folder`) and the network (`links`). Every part has a deadline: past it, what was found until then is shown.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from aha.distributed.address import taken
from aha.distributed.world import World, gpu_of, joined, launched
from aha.doctor import clocks, compare, folder, links
from aha.doctor.deadline import limit
from aha.doctor.facts import Facts, of_this
from aha.doctor.findings import Finding
from aha.errors import RunFailed

LATER_S = 5.0  # than a library's own deadline, whose words say more, comes ours


@dataclass(slots=True)
class Examination:
    """What was found, as far as it came."""

    processes: int
    findings: list[Finding] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    offsets: list[clocks.Offset] = field(default_factory=list)
    links: list[links.Link] = field(default_factory=list)
    doing: str = "the meeting of all processes"

    @property
    def fails(self) -> bool:
        """Whether something would ruin a run."""
        return any(finding.state == "fails" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain data; sizes in bytes, times in seconds."""
        return {
            "ok": not self.fails, "processes": self.processes,
            "checks": {finding.name: finding.as_dict() for finding in self.findings},
            "clocks": [asdict(one) for one in self.offsets],
            "links": [
                {"backend": one.backend, "operation": one.operation,
                 "seconds": {str(size): s for (_, size), s in zip(links.SIZES, one.seconds, strict=False)}}
                for one in self.links
            ],
            "machines": [asdict(one) for one in self.facts],
        }  # fmt: skip


def examine(out: Path, device: str, wait: float, show: Callable[[Examination], None]) -> Examination:
    """All checks, each of which may take `wait` seconds; `show` is called once, on the first process. Raises RunFailed
    where processes do not meet."""
    found = Examination(launched().size)
    first = launched().first

    def late(what: str) -> None:
        _broken(found, f"{what} did not end within {wait:g} s")
        if first:
            show(found)
        else:
            print(f"aha: (process {launched().rank}) {found.findings[-1].value}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    with limit(wait + LATER_S, late) as begins:

        def doing(what: str) -> None:
            found.doing = what
            begins(what)

        doing(found.doing)
        with joined(wait, "cpu", meeting=wait) as world:
            try:
                _all(world, found, out, device, wait, doing)
            except RuntimeError as error:
                if isinstance(error, RunFailed):
                    raise
                _broken(found, f"{found.doing} failed: {str(error).splitlines()[0][:300]}")
            if first:
                show(found)
            with contextlib.suppress(RuntimeError):
                world.wait()  # a launcher ends all where one has ended: the first one shows it before that
    return found


def _all(world: World, found: Examination, out: Path, device: str, wait: float, doing: Callable[[str], None]) -> None:
    doing("what processes say of themselves")
    own = of_this(world, device, taken())
    found.facts += [Facts(**one) for one in world.told(asdict(own))]
    found.findings += compare.compared(found.facts)
    doing("the comparison of clocks")
    found.offsets += clocks.offsets(world, own.host)
    found.findings.append(clocks.judged(found.offsets))
    doing(f"the look into {out}")
    found.findings += folder.looked(world, own.host, out, wait / 3)
    if world.size == 1:
        found.findings.append(Finding("network", "one process: nothing is sent"))
        return
    _network(world, found, wait, doing)


def _network(world: World, found: Examination, wait: float, doing: Callable[[str], None]) -> None:
    """What a run says goes over gloo; on GPUs, what it learns over NCCL."""
    groups: list[tuple[dist.ProcessGroup | None, str, str]] = [(None, "gloo", "cpu")]
    if all(one.device == "cuda" and not one.refused for one in found.facts):
        doing("the beginning of NCCL")
        torch.cuda.set_device(gpu_of(world))
        nccl = dist.new_group(backend="nccl", timeout=datetime.timedelta(seconds=wait))
        groups.append((nccl, "nccl", f"cuda:{gpu_of(world)}"))
    for group, backend, where in groups:
        for link in links.measured(world, group, backend, where, doing):
            found.links.append(link)
            found.findings.append(links.judged(link))


def _broken(found: Examination, value: str) -> None:
    remedy = "see that the process that is missing still runs and that no firewall is between the hosts, or set --wait"
    found.findings.append(Finding("network", value, "fails", remedy))
