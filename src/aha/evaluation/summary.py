"""What of a response is judged: the summary alone, which follows the thinking, and the answer that it states.

judged(rollout).parsed.answer      # "B" for "<think>A? no</think>The third rule decides.\\n\\n**Answer: B**"

Source: DeepSeek-R1, arXiv 2501.12948 v1, section 3: what stands in the thinking is no answer. A response that does not
think is all summary, one whose thinking never ends has none.
"""

from __future__ import annotations

import re
from dataclasses import replace

from aha.rewards.maths.extract import final_answer
from aha.rewards.prose import final_text
from aha.types import Rollout

_STATED = re.compile(r"(?:\banswer\b|答案(?:是|为)?)[*_\s]{0,8}[:：][*_\s]{0,8}([^\n]*)", re.IGNORECASE)
_MARKS = ("\\boxed", "\\fbox", "<answer>")


def judged(rollout: Rollout, *, whole: bool = False, bare: bool = False) -> Rollout:
    """`rollout` with the answer that its summary states, whatever its thinking holds; with `whole` that of all of it.

    With `bare` a summary without box or tags is the answer: servers take R1-Zero's answers out of their tags.
    """
    answer = rollout.parsed.answer if whole else stated(rollout)
    if answer is None and bare and final_text(rollout) is not None:
        summary = rollout.text.rpartition("</think>")[2]
        answer = summary.strip() or None if not any(mark in summary for mark in _MARKS) else None
    return replace(rollout, parsed=replace(rollout.parsed, answer=answer))


def stated(rollout: Rollout) -> str | None:
    """The answer in the summary: what its last box or `<answer>` tag holds. Of multiple choice also what follows the
    last "Answer:" on its line, where that stands later. None where there is none, or the last one is unfinished."""
    if final_text(rollout) is None:
        return None
    summary = rollout.text.rpartition("</think>")[2]
    if rollout.problem.hidden.get("options"):
        lines = list(_STATED.finditer(summary))
        if lines and lines[-1].start() > max(summary.rfind(mark) for mark in _MARKS):
            return lines[-1][1].strip() or None
    return final_answer(summary) or None
