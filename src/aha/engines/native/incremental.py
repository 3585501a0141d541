"""The native engine for a server: requests come while others run, each with settings of its own, and may be called off.

    engine = IncrementalEngine(native, slots=64, room=2**30)
    engine.submit(request)          # a Request; from here on the engine's thread alone changes its samples
    while engine.busy:
        engine.step()               # prefills what there is room for, then draws a token for every running row

What is to be done beside the engine, in other threads, is best begun by `meanwhile`: it is called before the model is
computed, which takes most of a step and needs no interpreter.

Model, kernels and the cache's layout are those of `NativeEngine`: a sample draws what `generate` would give it, alone
or in a crowd. A request's samples begin together, in the order of requests.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aha.engines.native.cache import ROUND, Pair, SlotCache
from aha.engines.native.controls import History, Mix, Scored, score
from aha.engines.native.engine import NativeEngine
from aha.engines.native.prefill import PREFILL_TOKENS, Group, prefill
from aha.engines.native.request import Limits, Reason, Request, Sample, up
from aha.engines.native.rows import moves
from aha.engines.native.sampler import uniforms
from aha.errors import boundary
from aha.models.logits import capped, logits
from aha.types import Failed, Prompt

# A prefill of one short prompt costs about as much as a step, one of several little more. So where many rows run, a
# step for each `COMPANY` of them is made before the next prompts begin, and where steps are short, one for each
# `MORE_COMPANY` in the next `PATIENCE_S` seconds; unless as many tokens wait as use a prefill well.
COMPANY, MORE_COMPANY, PATIENCE_S, ENOUGH = 16, 4, 0.02, 512
NOTHING_LEFT = "what the request allows and forbids leaves no token to be drawn"
SCORED = 256  # tokens of a prompt whose logits exist together


@dataclass(slots=True, eq=False)
class _Row:
    """A running sample."""

    request: Request
    sample: Sample
    random: np.ndarray  # [max_tokens]
    history: History
    place: int  # of its last token in its slot


class IncrementalEngine:
    """`slots` rows at most run together, in at most `room` bytes of keys and values."""

    def __init__(self, engine: NativeEngine, *, slots: int, room: int) -> None:
        self.engine = engine
        self.meanwhile: Callable[[], None] = lambda: None
        self.cache = SlotCache(engine.device)
        self.waiting: deque[Request] = deque()
        self._rows: list[_Row | None] = []
        self._mix = Mix((), (), engine.device)
        self._changed = False
        self._steps = 0  # since prompts began
        self._patient = 0.0  # until when more of them may be waited for
        vocabulary = engine.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
        exact = engine.computed(1) == 1
        self.limits = Limits(vocabulary, engine.context, slots, room, self._warm_up(), exact)

    @property
    def busy(self) -> bool:
        """True where a step would do something."""
        return bool(self._rows or self.waiting)

    @property
    def running(self) -> int:
        """Rows that draw."""
        return len(self._rows)

    @property
    def usage(self) -> float:
        """The share of the room that the running rows have filled."""
        places = sum(row.place + 1 for row in self._rows if row is not None)
        return places * self.limits.place_bytes / self.limits.room

    def submit(self, request: Request) -> None:
        """Queue a request. Raises UserError for one that could never run."""
        self.limits.check(request)
        self.waiting.append(request)

    @torch.no_grad()
    def step(self) -> list[Request]:
        """Admit, then draw one token for every running row; returns the requests of which a sample has ended."""
        ended = self._call_off()
        ended += self._admit()
        if self._changed:
            self._tidy()
        if self._rows:
            ended += self._step()
        return ended

    def clear(self, fault: str) -> list[Request]:
        """End all requests as failed, and forget all that is stored; returns them."""
        requests = [*self.waiting, *(row.request for row in self._rows if row is not None)]
        for request in requests:
            _end(request, "failed", fault)
        self.waiting.clear()
        self._rows, self._changed = [], False
        self.cache = SlotCache(self.engine.device)
        self.cache.reserve(self._kept, 1, ROUND, 0, 0)
        return requests

    @torch.no_grad()
    def _warm_up(self) -> int:
        """One prefill: builds what is built on first use. Returns the bytes of keys and values of a row's position."""
        [group] = prefill(self.engine.forward, [Prompt((0, 0), 1, 0)], deque([0]), self.engine.device, 0)
        tensors = [tensor for pair in group.kept.values() for tensor in pair]
        self._kept = {layer: (k[:1].clone(), v[:1].clone()) for layer, (k, v) in group.kept.items()}
        self.cache.reserve(self._kept, 1, ROUND, 0, 0)
        return sum(t[0].numel() * t.element_size() for t in tensors)

    def _call_off(self) -> list[Request]:
        """Drop what was cancelled."""
        gone = [request for request in self.waiting if request.cancelled]
        for request in gone:
            self.waiting.remove(request)
        for number, row in enumerate(self._rows):
            if row is not None and row.request.cancelled:
                self._rows[number], self._changed = None, True
                gone.append(row.request)
        for request in gone:
            _end(request, "cancelled")
        return gone

    def _admit(self) -> list[Request]:
        """Prefill the next requests, as many as there is room for, and draw their first tokens."""
        chosen: list[Request] = []
        if self._waits_for_company():
            return []
        tokens = 0
        while self.waiting and self._has_room(chosen, self.waiting[0]):
            if chosen and tokens + len(self.waiting[0].ids) > PREFILL_TOKENS:
                break
            chosen.append(self.waiting.popleft())
            tokens += len(chosen[-1].ids)
            chosen[-1].began = time.monotonic()
        if not chosen:
            return []
        self._steps, self._patient = 0, time.monotonic() + PATIENCE_S
        if self._changed:
            self._tidy()
        self._make_room(chosen)
        self.meanwhile()
        ended: list[Request] = []
        prompts, queue = [Prompt(request.ids, 1, request.seed) for request in chosen], deque(range(len(chosen)))
        while queue:
            groups = prefill(self.engine.forward, prompts, queue, self.engine.device, self.engine.version)
            ended += self._begin([(chosen[group.index], group) for group in groups])
        return ended

    def _waits_for_company(self) -> bool:
        """True where prompts wait that are better prefilled together with others."""
        least = COMPANY if time.monotonic() > self._patient else MORE_COMPANY
        soon = self._steps < len(self._rows) // least
        return soon and sum(len(request.ids) for request in self.waiting) < ENOUGH

    def _begin(self, prefilled: Sequence[tuple[Request, Group]]) -> list[Request]:
        """Give requests that were prefilled together their rows, and draw their first tokens."""
        ended, began = [], []
        for request, group in prefilled:
            if request.prompt_scores is not None:
                request.scored += self._scored(group, request.prompt_scores)
            if request.controls.max_tokens:
                began.append((request, group))
            else:
                _end(request, "length")
                ended.append(request)
        if not began:
            return ended
        rows = [row for request, _ in began for row in _rows_of(request)]
        _write(self.cache.store, [group for request, group in began for _ in request.samples], len(self._rows))
        self._rows += rows
        self._changed = True
        head = self.engine.model.get_output_embeddings()  # type: ignore[operator]
        # one by one, as `generate` does it: several rows would be rounded otherwise
        found = [head(group.hidden[-1:]).expand(len(request.samples), -1) for request, group in began]
        return ended + self._draw(rows, capped(self.engine.model, torch.cat(found)), self._mix_of(rows))

    def _scored(self, group: Group, most: int) -> list[Scored]:
        """Of each token of a prompt but the first."""
        ids, scores = group.prompt.ids, []
        for at in range(0, len(ids) - 1, SCORED):
            following = ids[at + 1 : at + 1 + SCORED]
            scores += score(logits(self.engine.model, group.hidden[at : at + len(following)]), following, most)
        return scores

    def _step(self) -> list[Request]:
        rows = [row for row in self._rows if row is not None]
        n = len(rows)
        padding = [0] * (self.engine.computed(n) - n)
        last, own = (
            torch.tensor(numbers + padding, device=self.engine.device)
            for numbers in ([row.sample.ids[-1] for row in rows], [row.place for row in rows])
        )
        width = max(row.place for row in rows) + 1
        self._steps += 1
        self.meanwhile()
        found = self.engine.next_logits(self.cache, last, own, torch.zeros_like(own), n, width)
        return self._draw(rows, found, self._mix)

    def _draw(self, rows: Sequence[_Row], found_NV: Tensor, mix: Mix) -> list[Request]:
        """Draw the next token of each of `rows`; returns the requests of samples that ended."""
        for number in mix.changing:
            self._look_ahead(rows[number])
        numbers = np.array([row.random[len(row.sample.ids)] for row in rows], dtype=np.float32)
        uniform = torch.from_numpy(numbers).to(self.engine.device)
        tokens = mix.draw(found_NV, uniform, [row.history for row in rows])
        self._score(rows, found_NV, tokens)
        now, ended = time.monotonic(), []
        for row, token in zip(rows, tokens, strict=True):
            if token >= 0:
                row.sample.ids.append(token)
                row.place += 1
                row.request.first = row.request.first or now
            reason = self._reason(row, token)
            if reason is not None:
                row.sample.reason = reason
                ended.append(row.request)
        if ended:
            self._rows = [row if row is not None and row.sample.reason is None else None for row in self._rows]
            self._changed = True
        return ended

    def _look_ahead(self, row: _Row) -> None:
        """Ask a guide what may come next; one that cannot say ends its sample."""
        guide = row.sample.guide
        if guide is not None:
            mask = boundary(guide.mask, "the guide")
            row.history.mask = None if isinstance(mask, Failed) else mask
            row.sample.fault = mask.reason if isinstance(mask, Failed) else ""

    def _reason(self, row: _Row, token: int) -> Reason | None:
        """Why a row ends with the `token` that it drew; None: it goes on."""
        sample, controls = row.sample, row.request.controls
        guide = sample.guide
        if token < 0 or sample.fault:
            sample.fault = sample.fault or NOTHING_LEFT
            return "failed"
        if controls.counts:
            row.history.drawn[token] += 1
        if token in controls.stop_ids:
            return "stop"
        if guide is not None:
            last = boundary(lambda: guide.take(token), "the guide")
            if isinstance(last, Failed):
                sample.fault = last.reason
                return "failed"
            if last:
                return "stop"
        return "length" if len(sample.ids) >= controls.max_tokens else None

    def _score(self, rows: Sequence[_Row], found_NV: Tensor, tokens: Sequence[int]) -> None:
        """Note log-probs where they are asked for."""
        asked = [i for i, row in enumerate(rows) if row.request.controls.logprobs is not None and tokens[i] >= 0]
        if asked:
            most = max(rows[i].request.controls.logprobs or 0 for i in asked)
            found = score(found_NV[torch.tensor(asked, device=found_NV.device)], [tokens[i] for i in asked], most)
            for i, scored in zip(asked, found, strict=True):
                likeliest = scored.likeliest[: rows[i].request.controls.logprobs or 0]
                rows[i].sample.scores.append(Scored(scored.logprob, likeliest))

    def _tidy(self) -> None:
        """Close the holes that rows have left, and look anew at who draws."""
        source, to = moves([row is not None for row in self._rows])
        places = max((self._rows[row].place for row in source), default=0) + 1  # type: ignore[union-attr]
        self.cache.move(self.cache.store, source, to, places)
        for old, new in zip(source, to, strict=True):
            self._rows[new], self._rows[old] = self._rows[old], None
        rows = [row for row in self._rows if row is not None]
        self._rows = [*rows]
        self.cache.group([None] * self.engine.computed(len(rows)), 0)
        self._mix = self._mix_of(rows)
        self._changed = False

    def _mix_of(self, rows: Sequence[_Row]) -> Mix:
        guided = [number for number, row in enumerate(rows) if row.sample.guide is not None]
        return Mix([row.request.controls for row in rows], guided, self.engine.device)

    def _has_room(self, chosen: Sequence[Request], another: Request) -> bool:
        """True where `another` may begin beside those that run and those that are `chosen` already."""
        requests = [*(row.request for row in self._rows if row is not None), *chosen, another]
        n = sum(row is not None for row in self._rows) + sum(len(r.samples) for r in [*chosen, another])
        return n <= self.limits.slots and self.limits.fits(n, max(request.places for request in requests))

    def _make_room(self, chosen: Sequence[Request]) -> None:
        """Have a store that holds the running rows and the `chosen` ones to their ends; generous where that fits."""
        requests = [*(row.request for row in self._rows if row is not None), *chosen]
        n = len(self._rows) + sum(len(request.samples) for request in chosen)
        places = max(request.places for request in requests)
        slots, room = next(iter(self.cache.store.values()))[1].shape[0::2]
        if slots >= self.engine.computed(n) and room >= places:
            return
        for more_n, more_places in ((2 * n, 2 * places), (2 * n, places), (n, places)):
            more_n, more_places = min(more_n, max(n, self.limits.slots)), min(more_places, self.limits.context)
            if self.limits.fits(more_n, more_places) or (more_n, more_places) == (n, places):
                self.cache.resize(self.engine.computed(more_n), up(more_places), len(self._rows))
                return


def _rows_of(request: Request) -> list[_Row]:
    controls, length = request.controls, len(request.ids)
    prompt = frozenset(request.ids) if controls.counts else frozenset()
    return [
        _Row(request, s, uniforms(request.seed, s.number, controls.max_tokens), History(prompt, s.ids), length - 1)
        for s in request.samples
    ]


def _write(store: dict[int, Pair], groups: Sequence[Group], first: int) -> None:
    """Copy prompts, that were prefilled together, to the first places of the slots from number `first` on."""
    lengths = [len(group.prompt.ids) for group in groups]
    slots = np.repeat(np.arange(first, first + len(groups)), lengths)
    places = np.concatenate([np.arange(length) for length in lengths])
    tokens = places + np.repeat([group.tokens.start for group in groups], lengths)
    device = groups[0].hidden.device
    at, to, place = (torch.from_numpy(numbers).to(device) for numbers in (tokens, slots, places))
    for layer, (keys, values) in store.items():
        new_keys, new_values = groups[0].kept[layer]
        keys[to, :, :, place] = new_keys[at]
        values[to, :, place] = new_values[at]


def _end(request: Request, reason: Reason, fault: str = "") -> None:
    for sample in request.samples:
        if sample.reason is None:
            sample.fault = fault
            sample.reason = reason
