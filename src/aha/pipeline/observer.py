"""Who watches a run: the command line's display, a test, nobody. Watching changes nothing."""

from __future__ import annotations

from typing import Protocol

from aha.types import StepMetrics


class Observer(Protocol):
    """Told what happens, as it happens."""

    def stage(self, name: str, done: int, planned: int) -> None:
        """A stage begins, or goes on after `done` of its `planned` steps."""
        ...

    def step(self, metrics: StepMetrics) -> None:
        """A step was made."""
        ...

    def note(self, text: str) -> None:
        """Something else worth a line."""
        ...


class Silent:
    """Watches nothing."""

    def stage(self, name: str, done: int, planned: int) -> None: ...

    def step(self, metrics: StepMetrics) -> None: ...

    def note(self, text: str) -> None: ...
