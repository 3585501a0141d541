"""How much there is to learn from, as far as it is known before."""

from __future__ import annotations

import math
from pathlib import Path

from aha.config import CollectStage, Recipe, SFTStage

PAPERS_ROWS = 800_000  # conversations that the paper distils from (v2, B.3.3)


def conversations(recipe: Recipe, stage: SFTStage, prompt: float, assumed: int) -> tuple[int, float, list[str]]:
    """Conversations that a stage reads at most, the tokens of the longest (prompts have `prompt`), and what had to be
    assumed: `assumed` rows of each file that is not here."""
    count, most, notes = 0, 0.0, []
    for source in stage.data:
        made = recipe.stages.get(source)
        if isinstance(made, CollectStage):
            count += made.questions * min(made.keep, made.samples) + sum(made.written.values())
            count += sum(lines(file) or 0 for file in made.also)
            most = max(most, prompt + made.max_tokens)
            continue
        found = lines(source)
        if found is None:
            notes.append(f"{source} is not here: {assumed:,} conversations are assumed (--rows)")
        count, most = count + (assumed if found is None else found), math.inf
    return count, most, notes


def lines(file: str) -> int | None:
    """Lines of a file that is here and not empty."""
    if not Path(file).is_file():
        return None
    with open(file, "rb") as stream:
        return sum(1 for line in stream if line.strip())
