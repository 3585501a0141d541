"""Files that may be missing, half written or of another kind than expected: what can be read of them, else nothing.

mapping(path / "stage.json").get("state")
lines(path / "metrics.jsonl")
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Figures = Mapping[str, float | str]


def content(path: Path, most: int = -1) -> str:
    """The text of a file, of its first `most` bytes where that is given; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", errors="replace")
    except OSError:
        return ""


def of_yaml(text: str) -> dict[str, Any]:
    """The mapping that a YAML text is; empty where it is none."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def mapping(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where it holds none."""
    try:
        data = json.loads(content(path) or "{}")
    except json.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def lines(path: Path, most: int = -1) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, or of its first `most` bytes; a line that was cut off is left out."""
    found = []
    for line in content(path, most).split("\n"):
        try:
            data = json.loads(line) if line.strip() else None
        except json.JSONDecodeError:
            continue
        if isinstance(data, dict):
            found.append(data)
    return found


def figures(data: Mapping[str, Any]) -> dict[str, float | str]:
    """Numbers and words; what is null or nested is left out."""
    return {
        str(name): value if isinstance(value, str) else float(value)
        for name, value in data.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


def finite(value: Any) -> float | None:
    """A number that something can be counted with."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def measured(found: Figures, name: str) -> float | None:
    """A figure that is there and finite."""
    return finite(found.get(name))


def part(data: Any, *names: str) -> Mapping[str, Any]:
    """The mapping under `names`, one inside the other; empty where there is none.

    >>> part({"a": {"b": {"c": 1}}}, "a", "b")
    {'c': 1}
    """
    for name in names:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def text_under(data: Mapping[str, Any], name: str) -> str:
    """The text under `name`; empty where that is something else."""
    value = data.get(name)
    return value if isinstance(value, str) else ""
