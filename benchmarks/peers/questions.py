"""What both sides of a comparison are asked and how their answers are graded, from one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha.models.dialogue import Dialogue
from aha.rewards.compose import verdict
from aha.tasks.countdown import Countdown
from aha.types import Completion

PARITY = f"{Path(__file__).with_name('parity.py')}:parity"
REWARDS = {"rules": {"accuracy": 1.0, "format": 1.0}, "parity": {PARITY: 1.0}}
TEMPLATE = "auto"


def countdown() -> Countdown:
    """The task of the benchmarks."""
    return Countdown()


def texts(tokenizer: Any, count: int) -> list[str]:
    """The prompts of the first `count` problems as text that encodes to the very ids that our side is given."""
    task, dialogue = countdown(), Dialogue(tokenizer, TEMPLATE, frozenset())
    found = []
    for index in range(count):
        ids = dialogue.prompt(task.problem("train", index))
        text = str(tokenizer.decode(list(ids), skip_special_tokens=False))
        assert tuple(tokenizer(text)["input_ids"]) == ids, "both sides have to be given the same prompt"
        found.append(text)
    return found


def grade(tokenizer: Any, index: int, ids: Sequence[int], eos: frozenset[int], rewards: str) -> float:
    """The total reward of completion `ids` of problem `index`, by the graders that our side uses."""
    task, dialogue = countdown(), Dialogue(tokenizer, TEMPLATE, eos)
    problem = task.problem("train", index)
    stopped = bool(ids) and ids[-1] in eos
    completion = Completion(tuple(ids), (0.0,) * len(ids), "stop" if stopped else "length", 0)
    total = verdict(task, dialogue.read(problem, dialogue.prompt(problem), completion), REWARDS[rewards]).total
    assert total is not None, "a grader failed"
    return total
