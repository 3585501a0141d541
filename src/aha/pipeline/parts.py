"""Stages whose work is many parts, each written whole: a broken one goes on after the last part that is there.

    made = in_parts(context, count, lambda number: {"values": {...}, "rows": [...]})

`values` are the part's metrics. They are read from its file, so that a part that was written and not yet noted is noted
when the stage goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aha.errors import Stopped
from aha.pipeline.context import Context
from aha.pipeline.run_folder import write_text
from aha.types import StepMetrics

Part = dict[str, Any]


def in_parts(context: Context, count: int, make: Callable[[int], Part]) -> list[Part]:
    """Parts 0 to `count` - 1, made now where they are not there yet."""
    folder = context.folder
    folder.set_state(planned_steps=count)
    files = [folder.path / "parts" / f"part-{number:05d}.json" for number in range(1, count + 1)]
    done = next((number for number, file in enumerate(files) if not file.exists()), count)
    folder.rewind(done)
    context.observer.stage(folder.name, done, count)
    noted = folder.steps()
    parts: list[Part] = []
    for number, file in enumerate(files):
        if number >= done:
            file.parent.mkdir(exist_ok=True)
            write_text(file, json.dumps(make(number), ensure_ascii=False))
        parts.append(json.loads(file.read_text(encoding="utf-8")))
        if number >= noted:
            metrics = StepMetrics(number + 1, parts[-1]["values"])
            folder.append(metrics)
            context.observer.step(metrics)
        context.alive()
        if context.stop.asked and number + 1 < count:
            raise Stopped(f"part {number + 1} is saved")
    return parts
