"""What all processes say of themselves, held side by side: pure functions from facts to findings.

compared([Facts(...), ...]) -> [Finding("torch", "2.13.0 on all 16 processes"), ...]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aha.doctor.facts import Facts
from aha.doctor.findings import Finding

GIB = 2**30
NAMED = 3  # processes that a sentence names
MEMORY_LEAST, MEMORY_WANTED = GIB // 2, 2 * GIB  # of a process: it loads its libraries; it keeps a small model
FILES_OWN, FILES_EACH = 512, 4  # files that one process opens by itself, and for each of the others
SHM_LEAST, SHM_WANTED = 64 << 20, GIB  # what Docker gives; what is enough
GPU_FREE = 0.9  # share of a GPU's memory that nobody else is to hold


def compared(facts: Sequence[Facts]) -> list[Finding]:
    """All findings about what processes say of themselves, in the order of the table."""
    checks = (_processes, _versions, _devices, _gpus, _threads, _memory, _files, _shm)
    return [finding for check in checks for finding in check(facts)]


def by_host(facts: Sequence[Facts]) -> dict[str, list[Facts]]:
    """The processes of each host."""
    found: dict[str, list[Facts]] = {}
    for one in facts:
        found.setdefault(one.host, []).append(one)
    return found


def named(facts: Sequence[Facts]) -> str:
    """Some processes in words: `process 3 on b, process 4 on b and 14 more`."""
    words = ", ".join(f"process {one.rank} on {one.host}" for one in facts[:NAMED])
    return words + (f" and {len(facts) - NAMED} more" if len(facts) > NAMED else "")


def _processes(facts: Sequence[Facts]) -> list[Finding]:
    hosts = by_host(facts)
    counts = sorted({len(own) for own in hosts.values()})
    each = f"{counts[0]} each" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} each"
    many = f"{len(facts)} process{'es' * (len(facts) > 1)} on {len(hosts)} host{'s' * (len(hosts) > 1)}"
    where = ", ".join(f"{host} at {own[0].address}" for host, own in list(hosts.items())[:NAMED])
    value = f"{many}, {each}: {where}" if len(hosts) > 1 else f"{many}: {where}"
    if len(counts) > 1:
        return [Finding("processes", value, "warning", "start as many on each host: the fullest is waited for")]
    return [Finding("processes", value)]


def _versions(facts: Sequence[Facts]) -> list[Finding]:
    reads: Mapping[str, tuple[Callable[[Facts], str], str]] = {
        "python": (lambda one: one.python, "run the same Python on all hosts"),
        "torch": (lambda one: one.torch, "install the same torch on all hosts"),
        "transformers": (lambda one: one.transformers, "install the same transformers on all hosts"),
        "aha": (lambda one: one.aha, "install the same aha on all hosts, of one commit"),
    }
    return [_same(facts, name, read, remedy) for name, (read, remedy) in reads.items()]


def _same(facts: Sequence[Facts], name: str, read: Callable[[Facts], str], remedy: str) -> Finding:
    groups: dict[str, list[Facts]] = {}
    for one in facts:
        groups.setdefault(read(one), []).append(one)
    (most, _), *others = sorted(groups.items(), key=lambda group: -len(group[1]))
    if not others:
        return Finding(name, most)
    different = "; ".join(f"{value} in {named(own)}" for value, own in others)
    return Finding(name, f"{most}, but {different}", "fails", remedy)


def _devices(facts: Sequence[Facts]) -> list[Finding]:
    refused = [one for one in facts if one.refused]
    if refused:
        return [Finding("device", f"{named(refused)}: {refused[0].refused}", "fails", "choose with --device")]
    remedy = "give all hosts the same kind of device, or choose one with --device"
    return [_same(facts, "device", lambda one: one.device, remedy)]


def _gpus(facts: Sequence[Facts]) -> list[Finding]:
    having = [one for one in facts if one.gpus]
    if not having:
        return []
    seen = _same(having, "gpus", lambda one: _counted(one.gpus), "use hosts with the same GPUs: the slowest is waited")
    own = {one.gpu for one in having}
    if len(own) < len(having):
        seen = Finding("gpus", f"{len(having)} processes share {len(own)} GPUs", "fails", "start one process for each")
    least = min(having, key=lambda one: one.gpu_free / one.gpu_memory)
    share = least.gpu_free / least.gpu_memory
    free = f"{least.gpu_free / GIB:.1f} of {least.gpu_memory / GIB:.1f} GiB free, at least ({named([least])})"
    if share < GPU_FREE:
        remedy = "end what holds the rest: nvidia-smi lists it"
        return [seen, Finding("gpu memory", free, "warning", remedy)]
    return [seen, Finding("gpu memory", free)]


def _counted(names: Sequence[str]) -> str:
    """`8 x NVIDIA H100`."""
    return ", ".join(f"{names.count(name)} x {name}" for name in sorted(set(names)))


def _threads(facts: Sequence[Facts]) -> list[Finding]:
    for host, own in by_host(facts).items():
        cores, omp = own[0].cores, own[0].omp
        if len(own) > cores:
            remedy = f"start at most {cores} processes there: they take turns on a core"
            return [Finding("threads", f"{len(own)} processes on {cores} cores of {host}", "warning", remedy)]
        if omp.isdigit() and int(omp) * len(own) > cores > 0:
            value = f"OMP_NUM_THREADS={omp} of {len(own)} processes on {cores} cores of {host}"
            return [Finding("threads", value, "warning", f"set OMP_NUM_THREADS={cores // len(own)}")]
    shares = sorted({one.cores // len(own) for own in by_host(facts).values() for one in own})
    if len(shares) > 1:
        value = f"{shares[0]} to {shares[-1]} cores for a process"
        return [Finding("threads", value, "warning", "use hosts with as many cores: the slowest is waited for")]
    return [Finding("threads", f"{shares[0]} core{'s' * (shares[0] > 1)} for each process")]


def _memory(facts: Sequence[Facts]) -> list[Finding]:
    shares = {host: min(one.memory for one in own) / len(own) for host, own in by_host(facts).items()}
    host, least = min(shares.items(), key=lambda item: item[1])
    value = f"{least / GIB:.1f} GiB for each process, at least (on {host})"
    if least >= MEMORY_WANTED:
        return [Finding("memory", value)]
    remedy = f"free memory on {host}, or start fewer processes there: each loads the whole model"
    return [Finding("memory", value, "fails" if least < MEMORY_LEAST else "warning", remedy)]


def _files(facts: Sequence[Facts]) -> list[Finding]:
    limited = [one for one in facts if one.files > 0]  # 0: not known; -1: no limit
    if not limited:
        return [Finding("open files", "no limit")]
    least = min(limited, key=lambda one: one.files - one.opened)
    needed = least.opened + FILES_OWN + FILES_EACH * len(facts)
    value = f"{least.files:,} for each process, at least (on {least.host})"
    if least.files < needed:
        return [Finding("open files", value, "fails", f"raise the limit on {least.host}: ulimit -n {2 * needed}")]
    return [Finding("open files", value)]


def _shm(facts: Sequence[Facts]) -> list[Finding]:
    known = [one for one in facts if one.shm is not None]
    if not known:
        return []
    least = min(known, key=lambda one: one.shm_free)
    value = f"{least.shm_free / GIB:.1f} of {(least.shm or 0) / GIB:.1f} GiB free, at least (on {least.host})"
    if least.shm_free >= SHM_WANTED:
        return [Finding("/dev/shm", value)]
    fails = least.shm_free < SHM_LEAST and any(one.gpus for one in facts)  # NCCL does not begin
    remedy = f"enlarge it on {least.host}: docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm"
    return [Finding("/dev/shm", value, "fails" if fails else "warning", remedy)]
