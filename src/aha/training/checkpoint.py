"""Checkpoints that appear whole or not at all, and are verified before they are trusted.

save(folder, step, state)      # write aside, fsync, rename
step, state = newest(folder)   # the newest whose digest holds
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

LITTLE = 1 << 20  # bytes free on a disk that is full
KEEP = 2  # the newest, and one before it in case that is damaged
_NAME = re.compile(r"step-(\d+)$")


def save(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write `state` (nested plain containers of tensors and numbers) as `folder`/step-N, and drop older ones."""
    final = folder / f"step-{step:06d}"
    aside = folder / f".writing-{step:06d}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    _write(state, aside / "state.pt")
    (aside / "digest.json").write_text(json.dumps({"step": step, "sha256": _digest(aside / "state.pt")}))
    for file in aside.iterdir():
        _sync(file)
    if final.exists():
        shutil.rmtree(final)
    os.rename(aside, final)
    _sync(folder)
    for _, old in _listed(folder)[:-KEEP]:
        shutil.rmtree(old)
    return final


def _write(state: Mapping[str, Any], file: Path) -> None:
    try:
        torch.save(dict(state), file)
    except RuntimeError as error:  # how torch says that the disk is full
        if shutil.disk_usage(file.parent).free < LITTLE:
            raise OSError(errno.ENOSPC, "no space left for a checkpoint", str(file)) from error
        raise


def newest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the newest checkpoint whose digest holds; None where there is none."""
    for step, path in reversed(_listed(folder)):
        if _holds(path, step):
            return step, torch.load(path / "state.pt", weights_only=True)
    return None


def _listed(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    found = ((_NAME.match(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def _holds(path: Path, step: int) -> bool:
    try:
        noted = json.loads((path / "digest.json").read_text())
        return bool(noted["step"] == step and noted["sha256"] == _digest(path / "state.pt"))
    except (OSError, ValueError, KeyError):
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
