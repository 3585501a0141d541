"""Rewards that check: functions of a batch, here for any trainer; of a row (`graders`); of a rollout (`table`)."""

from aha.rewards.functions import (
    code_accuracy,
    format_reward,
    instruction_following,
    json_schema,
    language_consistency,
    length_penalty,
    math_accuracy,
    multiple_choice,
    repetition_penalty,
)

__all__ = [
    "code_accuracy",
    "format_reward",
    "instruction_following",
    "json_schema",
    "language_consistency",
    "length_penalty",
    "math_accuracy",
    "multiple_choice",
    "repetition_penalty",
]
