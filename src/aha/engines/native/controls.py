"""How each sample of a server is drawn: settings of its own, beside others in the same step.

    controls = Controls(max_tokens=64, temperature=0.6, top_p=0.95, stop_ids=eos_ids)
    tokens = Mix([controls, ...], guided, device).draw(logits, uniforms, histories)

What remains after a row's own adjustments is drawn by `sampler.draw`, as in training: rows of the same temperature,
top-k and top-p together, so that a row's token does not depend on what else is drawn.

Axes: N rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from aha.engines.native.sampler import draw
from aha.types import Sampling

Likely = tuple[tuple[int, float], ...]  # the likeliest tokens with their log-probs, likeliest first


class Scored(NamedTuple):
    """A token's log-prob under the model itself: temperature 1, nothing cut off; and the likeliest tokens' there."""

    logprob: float
    likeliest: Likely


@dataclass(frozen=True, slots=True)
class Controls:
    """The settings of one sample. What is at its default changes nothing; `logprobs` None: not asked for."""

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0  # tokens below this share of the likeliest one's probability are cut off
    repetition_penalty: float = 1.0  # of all tokens in prompt and answer: their positive logits are divided by it
    presence_penalty: float = 0.0  # taken once from the logits of tokens in the answer
    frequency_penalty: float = 0.0  # taken from them as often as they occur there
    bias: tuple[tuple[int, float], ...] = ()  # added to the logits of tokens
    allowed: tuple[int, ...] = ()  # if any: no other token is drawn
    min_tokens: int = 0  # before which none of `stop_ids` is drawn
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    # What follows from the others, and is asked for at every change of the rows.
    counts: bool = field(init=False)  # it matters which tokens there were
    adjusts: bool = field(init=False)  # logits are changed before they are drawn from

    def __post_init__(self) -> None:
        counts = bool(self.presence_penalty or self.frequency_penalty) or self.repetition_penalty != 1.0
        object.__setattr__(self, "counts", counts)
        adjusts = bool(self.bias or self.allowed or self.min_tokens or self.min_p or counts)
        object.__setattr__(self, "adjusts", adjusts)


@dataclass(slots=True, eq=False)
class History:
    """What a row's adjustments look at: its tokens, and what may come next."""

    prompt: frozenset[int]  # kept where the controls count tokens
    ids: Sequence[int]  # drawn so far
    drawn: Counter[int] = field(default_factory=Counter)  # the same, where the controls count tokens
    mask: Tensor | None = None  # [V] bool: the tokens that may be drawn next; None: all


def adjusted(logits_V: Tensor, controls: Controls, history: History) -> Tensor:
    """A row's logits after its bias, limits and penalties; the same tensor where there are none."""
    row = logits_V
    if len(history.ids) < controls.min_tokens and controls.stop_ids:
        row = row.index_fill(0, _index(sorted(controls.stop_ids), row), -math.inf)
    if controls.bias:
        tokens, amounts = zip(*controls.bias, strict=True)
        row = row.index_add(0, _index(tokens, row), row.new_tensor(amounts))
    if controls.counts:
        row = _penalised(row, controls, history)
    if controls.allowed:
        row = torch.full_like(row, -math.inf).index_copy(
            0, _index(controls.allowed, row), row[_index(controls.allowed, row)]
        )
    if history.mask is not None:
        row = row.masked_fill(~history.mask, -math.inf)
    if controls.min_p > 0 and controls.temperature > 0:
        row = row.masked_fill(row < row.max() + controls.temperature * math.log(controls.min_p), -math.inf)
    return row


def _penalised(row: Tensor, controls: Controls, history: History) -> Tensor:
    seen = sorted(history.prompt | history.drawn.keys())
    if controls.repetition_penalty != 1.0 and seen:
        at = _index(seen, row)
        found = row[at]
        factor = controls.repetition_penalty
        row = row.index_copy(0, at, torch.where(found > 0, found / factor, found * factor))
    if history.drawn and (controls.presence_penalty or controls.frequency_penalty):
        tokens, counts = zip(*history.drawn.items(), strict=True)
        amounts = controls.presence_penalty + controls.frequency_penalty * row.new_tensor(counts)
        row = row.index_add(0, _index(tokens, row), -amounts)
    return row


def _index(tokens: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(tokens, device=like.device)


class Mix:
    """Rows that draw together. `changing` are those whose logits are adjusted first."""

    def __init__(self, controls_N: Sequence[Controls], guided: Sequence[int], device: torch.device) -> None:
        self.controls_N = controls_N
        self.changing = sorted({row for row, c in enumerate(controls_N) if c.adjusts}.union(guided))
        together: dict[tuple[float, int, float], list[int]] = {}
        for row, c in enumerate(controls_N):
            together.setdefault((c.temperature, c.top_k, c.top_p), []).append(row)
        self._groups = [(Sampling(1, *cuts), torch.tensor(rows, device=device)) for cuts, rows in together.items()]

    def draw(self, logits_NV: Tensor, uniform_N: Tensor, histories_N: Sequence[History]) -> list[int]:
        """The next token of each row; -1 where nothing is left that the row may draw."""
        empty: list[int] = []
        if self.changing:
            rows = torch.stack([adjusted(logits_NV[r], self.controls_N[r], histories_N[r]) for r in self.changing])
            left = torch.isfinite(rows.amax(-1))
            empty = [row for row, possible in zip(self.changing, left.tolist(), strict=True) if not possible]
            at = _index(self.changing, logits_NV)
            logits_NV = logits_NV.index_copy(0, at, torch.where(left[:, None], rows, logits_NV[at]))
        if len(self._groups) == 1:
            tokens = draw(logits_NV, uniform_N, self._groups[0][0])[0]
        else:
            tokens = torch.empty(len(uniform_N), dtype=torch.long, device=logits_NV.device)
            for sampling, members in self._groups:
                tokens[members] = draw(logits_NV[members], uniform_N[members], sampling)[0]
        found: list[int] = tokens.tolist()
        for row in empty:
            found[row] = -1
        return found


def score(logits_NV: Tensor, tokens_N: Sequence[int], most: int) -> list[Scored]:
    """Each token's log-prob with those of the `most` likeliest, in float32 at least."""
    logprobs = torch.log_softmax(logits_NV, -1)
    own = logprobs.gather(-1, _index(tokens_N, logits_NV)[:, None])[:, 0].tolist()
    if not most:
        return [Scored(value, ()) for value in own]
    values, tokens = torch.topk(logprobs, min(most, logprobs.shape[-1]), dim=-1)
    likeliest = [tuple(zip(t, v, strict=True)) for t, v in zip(tokens.tolist(), values.tolist(), strict=True)]
    return [Scored(value, found) for value, found in zip(own, likeliest, strict=True)]
