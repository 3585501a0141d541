"""What responses look like, whatever they score: format, length, reflection, languages, arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from aha.rewards.text import arithmetic_right, mixes_languages, reflection_words
from aha.types import Rollout


def response_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over `rollouts`; `arithmetic_right` is absent where nothing was calculated."""
    n = len(rollouts)
    lengths = [len(r.completion.ids) for r in rollouts]
    right, claims = arithmetic_right([r.text for r in rollouts])
    values = {
        "format": sum(r.parsed.well_formed and r.completion.stop_reason == "stop" for r in rollouts) / n,
        "mean_length": sum(lengths) / n,
        "max_length": float(max(lengths)),
        "truncated": sum(r.completion.stop_reason == "length" for r in rollouts) / n,
        "reflection_words": sum(reflection_words(r.text) for r in rollouts) / n,
        "mixed_language": sum(mixes_languages(r.text) for r in rollouts) / n,
        "arithmetic_claims": float(claims),
    }
    if claims:
        values["arithmetic_right"] = right / claims
    return values
