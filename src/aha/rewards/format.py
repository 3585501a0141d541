"""The format rewards: thinking and answer in their tags (R1-Zero), or thinking and then a summary (R1)."""

from __future__ import annotations

from aha.protocols import Task
from aha.types import Outcome, Rollout, Score

OPEN, CLOSE = "<think>", "</think>"


def well_formed(task: Task, rollout: Rollout) -> Outcome:
    """1 for a well-formed response that ended by itself, else 0. Source: DeepSeek-R1, v1, section 2.2.2."""
    if rollout.completion.stop_reason != "stop":
        return Score(0.0, "cut off at the length limit")
    if not rollout.parsed.well_formed:
        return Score(0.0, "not <think>..</think> then <answer>..</answer>")
    return Score(1.0, "well formed")


def r1_form(task: Task, rollout: Rollout) -> Outcome:
    """1 for one closed piece of thinking and then a summary, in a response that ended by itself, else 0.

    The opening tag may be missing: templates write it at the end of the prompt. Source: DeepSeek-R1, v2, listings 5-7.
    """
    if rollout.completion.stop_reason != "stop":
        return Score(0.0, "cut off at the length limit")
    # A template's <think> is no part of the text, and the one that the policy writes after it is in the reasoning.
    fault = r1_fault(rollout.text) or ("<think> is opened twice" if OPEN in rollout.parsed.reasoning else None)
    return Score(0.0, fault) if fault else Score(1.0, "well formed")


def r1_fault(text: str) -> str | None:
    """What keeps `text` from being `<think>`, reasoning, `</think>`, summary (the opening tag may be missing), or None.

    >>> r1_fault("3*5=15</think>It is 15.")
    >>> r1_fault("<think>3*5=15</think>")
    'no summary after </think>'
    """
    before, opened, rest = text.partition(OPEN) if OPEN in text else ("", "", text)
    reasoning, closed, summary = rest.partition(CLOSE)
    if not closed:
        return "<think> is never closed" if opened else "no thinking"
    if CLOSE in before or CLOSE in summary:
        return "</think> is not there once"
    if OPEN in reasoning or OPEN in summary:
        return "<think> is opened twice"
    if before.strip():
        return "text before <think>"
    if not reasoning.strip():
        return "no reasoning in the tags"
    return None if summary.strip() else "no summary after </think>"
