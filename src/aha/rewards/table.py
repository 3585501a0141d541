"""The rewards, a row each. A reward is a function of the task and one rollout; its outcome is typed."""

from __future__ import annotations

from collections.abc import Callable

from aha.protocols import Task
from aha.rewards.accuracy import accuracy
from aha.rewards.format import r1_form, well_formed
from aha.rewards.instructions import instruction_all, instruction_share
from aha.rewards.language import language, language_detected
from aha.rewards.length import length
from aha.rewards.repetition import repetition
from aha.rewards.schema import json_schema
from aha.types import Outcome, Rollout

RewardFunction = Callable[[Task, Rollout], Outcome]

REWARDS: dict[str, RewardFunction] = {
    "accuracy": accuracy,  # DeepSeek-R1 section 2.2.2: 1 for a right answer, else 0
    "format": well_formed,  # DeepSeek-R1 section 2.2.2: 1 for thinking and answer in their tags, else 0
    "format-r1": r1_form,  # DeepSeek-R1 v2 listings 5-7: 1 for thinking in its tags, then a summary, else 0
    "language": language,  # DeepSeek-R1 v2 eq. 7: share of the thinking's words in the problem's language, by script
    "language-detected": language_detected,  # the same, with languages of one script told apart by py3langid
    "length": length,  # DAPO, arXiv 2503.14476, eq. 13: 0 down to -1 near the paper's limit of tokens
    "repetition": repetition,  # arXiv 2502.03373, open-r1: minus the share of repeated 10-grams
    "instructions": instruction_share,  # IFEval, arXiv 2311.07911: share of the instructions that are followed
    "instructions-all": instruction_all,  # IFEval: 1 where all of them are followed, else 0
    "json-schema": json_schema,  # 1 where the final answer is JSON that the problem's schema accepts, else 0
}
