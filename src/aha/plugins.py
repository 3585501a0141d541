"""A user's own task or reward, from a Python file: `FILE.py:NAME`. The file is trusted as the user's code."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from aha.errors import UserError, nearest


def is_plugin(spec: str) -> bool:
    """True for `FILE.py:NAME`."""
    return spec.partition(":")[0].endswith(".py")


def load_object(spec: str) -> Any:
    """The object NAME of FILE.py. Raises UserError where the file is missing or fails, or has no such name."""
    file, _, name = spec.partition(":")
    module = _module(Path(file).resolve())
    known = [n for n in vars(module) if not n.startswith("_")]
    if name not in known:
        raise UserError(f"{file} has no {name!r}{nearest(name, known)}; write FILE.py:NAME")
    return getattr(module, name)


@functools.cache
def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}; write FILE.py:NAME with a path that exists")
    spec = importlib.util.spec_from_file_location(f"aha_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path.name} cannot be imported ({type(error).__name__}: {error}); mend it first") from error
    return module
