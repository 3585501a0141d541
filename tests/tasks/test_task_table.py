"""Tasks by name: every row makes a task, and what is unknown names the nearest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aha.errors import UserError
from aha.tasks.countdown import Countdown
from aha.tasks.table import EMBEDDED, TASKS, make_task


def test_every_embedded_row_makes_its_task() -> None:
    assert set(EMBEDDED) < set(TASKS)
    for name in EMBEDDED:
        assert make_task(name).name == name and make_task(name).problem("test", 0).task == name


def test_options_and_seed() -> None:
    assert make_task("countdown", 3, {"numbers": 4, "chinese": 1}) == Countdown(numbers=4, chinese=1, seed=3)
    assert make_task("countdown", 3, {"seed": 5}) == Countdown(seed=5)


def test_gsm8k_reads_its_source(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"question": f"Q{i}?", "answer": f"#### {i}"}) + "\n" for i in range(40)), encoding="utf-8"
    )
    assert (make_task(f"gsm8k:{path}").size("train") or 0) > 20


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("countdwn", {}, "unknown task 'countdwn'; did you mean 'countdown'"),
        ("countdown", {"nubmers": 4}, "unknown option 'nubmers' of task 'countdown'; did you mean 'numbers'"),
        ("countdown", {"name": "x"}, "unknown option 'name'"),
        ("gsm8k:x", {"source": "y"}, "unknown option 'source'"),
        ("countdown", {"numbers": "4"}, "'numbers' of task 'countdown' is '4'; give int such as 3"),
        ("countdown", {"numbers": True}, "give int such as 3"),
        ("countdown", {"numbers": 40}, "give a value from 2 to 5"),
        ("countdown", {"chinese": float("nan")}, "give a value from 0 to 1"),
        ("arithmetic", {"steps": 1}, "give a value from 2 to 8"),
        ("gsm8k", {}, "needs its data: write gsm8k:FILE"),
        ("gsm8k:", {}, "needs its data"),
        ("countdown:x.jsonl", {}, "reads no data; write 'countdown'"),
        ("gsm8k:/no/such.jsonl", {}, "no file '/no/such.jsonl'"),
    ],
)
def test_what_cannot_be_made_names_the_remedy(spec: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        make_task(spec, options=options)
    assert message in str(error.value)
