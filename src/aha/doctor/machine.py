"""`aha doctor`: what this machine offers, and what is missing for which part."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from importlib import metadata, util

import psutil
import torch

from aha import runtime
from aha.doctor.findings import Finding


def examine() -> list[Finding]:
    """All findings, in the order of the table."""
    return [check() for check in CHECKS]


def _python() -> Finding:
    return Finding("python", platform.python_version())


def _torch() -> Finding:
    return Finding("torch", torch.__version__)


def _transformers() -> Finding:
    return Finding("transformers", metadata.version("transformers"))


def _device() -> Finding:
    chosen = runtime.choose()
    name = torch.cuda.get_device_name(0) if chosen.device == "cuda" else chosen.device
    return Finding("device", f"{name}, {chosen.dtype_name}")


def _bfloat16() -> Finding:
    if runtime.cpu_has_bfloat16():
        return Finding("cpu bfloat16", "native")
    return Finding("cpu bfloat16", "emulated", "warning", "dtype=fastest stays with float32 here")


def _threads() -> Finding:
    cores = runtime.default_threads()
    named = os.environ.get("OMP_NUM_THREADS")
    if named and named.isdigit() and int(named) > cores:
        return Finding("threads", f"{cores} cores, OMP_NUM_THREADS={named}", "fails", f"set OMP_NUM_THREADS={cores}")
    return Finding("threads", f"{cores} cores")


def _load() -> Finding:
    cores = runtime.default_threads()
    one_minute = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if one_minute > 0.5 * cores:
        return Finding(
            "load",
            f"{one_minute:.1f} of {cores} cores busy",
            "warning",
            "other processes can slow a step tenfold; end them",
        )
    return Finding("load", f"{one_minute:.1f} of {cores} cores busy")


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 2**30
    return Finding(
        "memory", f"{free:.1f} GiB available", "ok" if free > 2 else "fails", "" if free > 2 else "free 2 GiB"
    )


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    if free < 1:
        return Finding(
            "disk", f"{free:.1f} GiB free here", "fails", "a run keeps its samples and checkpoints; free 1 GiB"
        )
    try:
        with tempfile.NamedTemporaryFile(dir="."):
            pass
    except OSError:
        return Finding("disk", "this folder cannot be written", "warning", "give runs another folder with --out")
    return Finding("disk", f"{free:.1f} GiB free here")


def _hub() -> Finding:
    if util.find_spec("datasets") is None:
        return Finding("datasets", "not installed", "warning", "data from a hub needs it: pip install 'aha[hub]'")
    return Finding("datasets", metadata.version("datasets"))


def _kernels() -> Finding:
    from aha.models.kernels.build import library

    if library() is None:
        return Finding("kernels", "none", "warning", "a small model is 2 to 3 times faster on a CPU with g++ installed")
    return Finding("kernels", "built for this processor")


def _sandbox() -> Finding:
    from aha.rewards.sandbox import available

    missing = available()
    if missing is not None:
        return Finding("sandbox", missing, "warning", "running model-written code needs it; maths does not")
    return Finding("sandbox", "starts")


CHECKS: tuple[Callable[[], Finding], ...] = (
    _python, _torch, _transformers, _device, _bfloat16, _threads, _kernels, _load, _memory, _disk, _hub, _sandbox,
)  # fmt: skip
