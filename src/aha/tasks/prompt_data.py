"""General prompts, whose answers no rule can check: they are for reward models.

    {"prompt": "Write a note to my landlord.", "preference": "helpful"}

A prompt may have a `reference`, what a right answer comes to, for a model to judge by where a stage has one.
`preference` names the reward model that a prompt is for: "helpful", or "safety" (DeepSeek-R1, v2, section 3.1: each
belongs to one of the two). It is "helpful" where it is missing.
"""

from __future__ import annotations

from functools import partial

from aha.tasks.datasets import Kind, Row, language_of, load
from aha.tasks.rows import Raw, RowError, text_under
from aha.types import Abstain, Outcome, Problem, Score

PREFERENCES = ("helpful", "safety")


def read_prompt(raw: Raw) -> Row:
    """`hidden["preference"]` is the kind of reward model. The reference is for judges alone; it may be missing."""
    prompt = text_under(raw.data, "prompt", "question").strip()
    reference = raw.data.get("reference") or ""
    if not isinstance(reference, str):
        raise RowError(f"has the reference {reference!r}; write it as a text")
    preference = raw.data.get("preference", "helpful")
    if preference not in PREFERENCES:
        raise RowError(f"has the preference {preference!r}; write one of {', '.join(PREFERENCES)}")
    return Row(prompt, reference, language_of(prompt), hidden={"preference": preference, "whole_text": True})


def grade_prompt(problem: Problem, answer: str | None) -> Outcome:
    """0 for no answer; no opinion on any other."""
    return Abstain("no rule can check this answer") if answer else Score(0.0, "no answer")


PROMPTS = Kind(
    "prompts", '{"prompt": "...", "preference": "helpful"}', read_prompt, grade_prompt,
    lambda problem: "", lambda problem, answer: None, lambda problem: None,
)  # fmt: skip
load_prompts = partial(load, PROMPTS)
