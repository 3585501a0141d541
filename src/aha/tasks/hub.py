"""Data sets on the Hugging Face hub: whole ones through the optional library `datasets`, single files without it.

hub_splits("openai/gsm8k", "main")["test"]                     # [("main", {"question": ..., "answer": ...}), ...]
hub_file("hf://datasets/livecodebench/code_generation_lite/test5.jsonl")       # the path of the fetched file
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.errors import UserError

FILE_ON_HUB = "hf://datasets/"
EVERY = "*"  # as a configuration: all that the data set has
UNREADABLE = (OSError, ValueError, RuntimeError)

Rows = list[tuple[str, Any]]  # the row's configuration, and the row


def hub_splits(source: str, config: str = "") -> dict[str, Rows]:
    """Every split of a hub's data set, of one configuration or of all.

    Where none is given and the data set has several and no default, all of them are read. Raises UserError where the
    library is missing or the data set cannot be loaded.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{source!r} is no file, and a hub id needs the library 'datasets': pip install datasets, or give a file"
        ) from error
    found: dict[str, Rows] = {}
    try:
        for name, splits in _loaded(datasets, source, config):
            for split, rows in splits.items():
                found.setdefault(split, []).extend((name, row) for row in rows)
    except UNREADABLE as error:
        raise UserError(
            f"data set {source!r} cannot be loaded ({_reason(error)}); give a hub id or a .jsonl file"
        ) from error
    return found


def _loaded(datasets: Any, source: str, config: str) -> Iterator[tuple[str, Any]]:
    names = [config]
    if config != EVERY:
        try:
            yield config, datasets.load_dataset(source, config or None)
            return
        except ValueError as error:
            if config or "config" not in str(error).lower():  # there is one, or that is not what it lacks
                raise
    names = datasets.get_dataset_config_names(source)
    for name in names:
        yield name, datasets.load_dataset(source, name)


def hub_file(address: str) -> Path:
    """The local copy of `hf://datasets/OWNER/NAME/PATH`. Raises UserError where it cannot be had."""
    from huggingface_hub import hf_hub_download

    owner, _, rest = address.removeprefix(FILE_ON_HUB).partition("/")
    name, _, path = rest.partition("/")
    if not path:
        raise UserError(f"{address!r} names no file; write {FILE_ON_HUB}OWNER/NAME/FILE")
    try:
        return Path(hf_hub_download(f"{owner}/{name}", path, repo_type="dataset"))
    except UNREADABLE as error:
        raise UserError(f"{address!r} cannot be fetched ({_reason(error)}); give a file") from error


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
