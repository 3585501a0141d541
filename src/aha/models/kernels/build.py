"""Builds `kernels.cpp` on first use for this processor and keeps the result; a few seconds, once a machine.

library()       # None where there is no C++ compiler with OpenMP, or AHA_KERNELS=0: PyTorch then does the same
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from aha.runtime import processor_name

SOURCE = Path(__file__).with_name("kernels.cpp")
# Nothing is reordered or joined by the compiler, only where the source says so (numbers.h).
FLAGS = (
    "-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp",
    "-shared", "-fPIC",
)  # fmt: skip
BUILD_S = 120.0
# What each function takes: p(ointer), i(nteger) or f(loat).
SIGNATURES = {
    "add_norm": "pppfpppii",
    "norm_backward": "pppppppii",
    "turn": "ppppfppiiii",
    "turn_backward": "pppppppfppiiii",
    "swiglu": "ppii",
    "swiglu_backward": "pppii",
    "decode": "pppippippipppfpiiiii",
    "attention": "ppppipfppiiiii",
    "attention_backward": "pppppppipfpppiiiii",
    "sample": "pfpppii",
    "step": "ppffppppip",
}
TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
DTYPES = ("float32", "bfloat16")


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The kernels, built if need be."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None or os.environ.get("AHA_KERNELS") == "0":
        return None
    try:
        return _typed(ctypes.CDLL(str(_built(compiler))))
    except (OSError, subprocess.SubprocessError):
        return None


def cache_folder() -> Path:
    """Where what was built is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aha"


def _built(compiler: str) -> Path:
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=BUILD_S, check=True).stdout
    # march=native follows the processor, which a home folder on a network does not
    sources = (path.read_bytes() for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))))
    key = (*sources, version, " ".join(FLAGS).encode(), processor_name().encode(), _features())
    name = f"kernels-{hashlib.sha256(b'|'.join(key)).hexdigest()[:16]}.so"
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            return folder / name
        draft = Path(tempfile.mkdtemp(dir=folder)) / name
    except OSError:  # no home, or a full or read-only one
        folder = Path(tempfile.mkdtemp())
        draft = folder / f"draft-{name}"
    subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(draft)], capture_output=True, timeout=BUILD_S, check=True)
    draft.replace(folder / name)
    if draft.parent != folder:
        draft.parent.rmdir()
    return folder / name


def _features() -> bytes:
    """What the processor can do, as Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return b""
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")


def _typed(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name, signature in SIGNATURES.items():
        for dtype in DTYPES:
            function = getattr(loaded, f"{name}_{dtype}")
            function.argtypes, function.restype = [TYPES[kind] for kind in signature], None
    loaded.panel_columns.restype = ctypes.c_int64
    return loaded
