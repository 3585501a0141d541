"""What there is to compute on: a table of GPUs by their makers' data sheets, or this machine, measured.

choose("8xH100")      # (8, GPUS["H100"])
choose("here")        # (1, this machine: matrix products and copies are timed for half a second)
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
import torch

from aha import runtime
from aha.errors import UserError, nearest

HERE = "here"
GIB = 2**30
TRIED_S = 0.25  # of each measurement


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or a machine without one. FLOP/s are of dense matrix products; `measured` here, or by a data sheet."""

    name: str
    memory: float  # bytes that a process sees
    bfloat16: float  # FLOP/s
    float32: float
    bandwidth: float  # bytes/s of its memory
    dollars_an_hour: float = 0.0
    gpu: bool = True
    measured: bool = False

    def flops(self, dtype: str) -> float:
        """FLOP/s of matrix products in `dtype`."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32


def _gpu(name: str, gib: float, bfloat16: float, float32: float, bandwidth: float, dollars: float) -> Device:
    return Device(name, gib * GIB, bfloat16 * 1e12, float32 * 1e12, bandwidth * 1e12, dollars)


# Memory as a process sees it (GiB), dense bfloat16 and plain float32 TFLOP/s, TB/s, and $ an hour. The $2 of the H800
# are the paper's (DeepSeek-R1 v2, table 7); the other prices are round figures to be replaced by your own.
GPUS: dict[str, Device] = {
    device.name: device
    for device in (
        _gpu("H100", 79.1, 989, 67, 3.35, 2.5),
        _gpu("H200", 139.8, 989, 67, 4.8, 3.5),
        _gpu("H800", 79.1, 989, 67, 3.35, 2.0),
        _gpu("A100-80", 79.1, 312, 19.5, 2.04, 1.5),
        _gpu("A100-40", 39.4, 312, 19.5, 1.56, 1.2),
        _gpu("L40S", 44.4, 362, 91.6, 0.864, 1.0),
        _gpu("RTX4090", 23.6, 165, 82.6, 1.01, 0.5),
        _gpu("MI300X", 191.5, 1307, 163.4, 5.3, 2.5),
    )
}  # fmt: skip


def choose(spec: str, price: float | None = None, chosen: runtime.Runtime | None = None) -> tuple[int, Device]:
    """How many of what: `8xH100`, `H100`, or `here`, which `chosen` describes. `price` replaces the table's."""
    count, device = (1, here(chosen or runtime.choose())) if spec == HERE else _named(spec)
    return count, device if price is None else replace(device, dollars_an_hour=price)


def _named(spec: str) -> tuple[int, Device]:
    found = re.fullmatch(r"(?:([1-9][0-9]{0,5})x)?(.+)", spec.strip(), re.IGNORECASE)
    name = found[2].upper() if found else spec
    if found is None or name not in GPUS:
        raise UserError(
            f"--gpus {spec!r} names no known GPU{nearest(name, GPUS)}; write 8xH100, or {HERE} for this machine"
        )
    return int(found[1] or 1), GPUS[name]


def here(chosen: runtime.Runtime) -> Device:
    """This machine under `chosen`: half a second of matrix products and copies, with what else runs beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        rate = _matrix_rate(chosen)
        bandwidth = _bandwidth(chosen.device)
    finally:
        torch.set_num_threads(before)
    gpu = chosen.device.startswith("cuda")
    memory = torch.cuda.get_device_properties(chosen.device).total_memory if gpu else psutil.virtual_memory().total
    name = torch.cuda.get_device_name(chosen.device) if gpu else runtime.processor_name() or chosen.device
    if not gpu:
        name += f", {chosen.threads} thread{'s' * (chosen.threads > 1)}"
    return Device(name, float(memory), rate, rate, bandwidth, gpu=gpu, measured=True)


def _matrix_rate(chosen: runtime.Runtime) -> float:
    size = 512 if chosen.device == "cpu" else 4096
    a, b = (torch.ones(size, size, dtype=chosen.dtype, device=chosen.device) for _ in range(2))
    return 2.0 * size**3 / _quickest(lambda: torch.mm(a, b), chosen.device)


def _bandwidth(device: str) -> float:
    numbers = 1 << (26 if device == "cpu" else 28)  # more than caches hold
    source, target = (torch.zeros(numbers, dtype=torch.uint8, device=device) for _ in range(2))
    return 2.0 * numbers / _quickest(lambda: target.copy_(source), device)


def _quickest(work: Callable[[], object], device: str) -> float:
    """Seconds of the quickest of as many runs as fit; the first ones do not count."""
    best, ends, runs = float("inf"), time.perf_counter() + TRIED_S, 0
    while runs < 3 or time.perf_counter() < ends:
        began = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()
        runs += 1
        if runs > 2:
            best = min(best, time.perf_counter() - began)
    return best
