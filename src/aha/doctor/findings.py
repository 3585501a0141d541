"""One row of an examination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fails"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and one sentence with the remedy; "" where nothing is to be done."""

    name: str
    value: str
    state: State = "ok"
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """As JSON shows it, under its name."""
        return {"value": self.value, "state": self.state, "remedy": self.remedy}
