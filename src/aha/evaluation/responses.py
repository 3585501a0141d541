"""What responses look like, whatever they score: format, length, reflection, languages, arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aha.rewards.format import r1_fault
from aha.rewards.text import claims, mixes_languages, reflection_words
from aha.types import Rollout, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One response. Tokens are None where nobody counted them; `thinking_tokens` is a part of `tokens`."""

    stop_reason: StopReason | None = None
    tokens: int | None = None
    thinking_tokens: int | None = None
    well_formed: bool = False
    r1_form: bool = False
    reflection_words: int = 0
    mixed_language: bool = False
    claims: int = 0
    claims_right: int = 0


def look_of(rollout: Rollout, tokens: int | None, thinking_tokens: int | None = None) -> Look:
    """A rollout as it looks; one that was cut off has no form."""
    stopped = rollout.completion.stop_reason == "stop"
    truths = [true for _, true in claims(rollout.text)]
    return Look(
        stop_reason=rollout.completion.stop_reason,
        tokens=tokens,
        thinking_tokens=thinking_tokens,
        well_formed=stopped and rollout.parsed.well_formed,
        r1_form=stopped and r1_fault(rollout.text) is None,
        reflection_words=reflection_words(rollout.text),
        mixed_language=mixes_languages(rollout.text),
        claims=len(truths),
        claims_right=sum(truths),
    )


def response_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over `rollouts`; `arithmetic_right` is absent where nothing was calculated."""
    return means([look_of(rollout, len(rollout.completion.ids)) for rollout in rollouts])


def means(looks: Sequence[Look]) -> dict[str, float]:
    """Shares, and means of lengths in tokens. What nobody counted is absent."""
    n = len(looks)
    lengths = [look.tokens for look in looks if look.tokens is not None]
    thinking = [look.thinking_tokens for look in looks if look.thinking_tokens is not None]
    claimed = sum(look.claims for look in looks)
    values = {"format": sum(look.well_formed for look in looks) / n}
    if lengths:
        values |= {"mean_length": sum(lengths) / len(lengths), "max_length": float(max(lengths))}
    if thinking:
        values["mean_thinking"] = sum(thinking) / len(thinking)
    values |= {
        "truncated": sum(look.stop_reason == "length" for look in looks) / n,
        "reflection_words": sum(look.reflection_words for look in looks) / n,
        "mixed_language": sum(look.mixed_language for look in looks) / n,
        "arithmetic_claims": float(claimed),
    }
    return values | ({"arithmetic_right": sum(look.claims_right for look in looks) / claimed} if claimed else {})
