"""Fixtures of run folders as runs leave them: `run_folders.py` and `many_stages.py` write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from many_stages import make_many
from run_folders import add_supervised, make_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes run folders: `run_folder("failed", steps=30)`."""
    return lambda *args, **kwargs: make_run(tmp_path / "demo", *args, **kwargs)


@pytest.fixture(name="add_supervised")
def _add_supervised() -> Callable[[Path], None]:
    """Adds a supervised stage to a run folder."""
    return add_supervised


@pytest.fixture
def many_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes run folders of the whole pipeline: `many_folder(broken="traces")`."""
    return lambda **kwargs: make_many(tmp_path / "r1", **kwargs)
