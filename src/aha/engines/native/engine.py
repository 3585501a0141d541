"""The native engine: continuous batching over slots, on the same `transformers` model that the learner trains.

    engine = NativeEngine(model, eos_ids, pad_id)
    engine.generate([Prompt(ids, n=16, seed=1)], Sampling(max_tokens=64))   # [[Completion, ...]]

A group's prompt is prefilled once and copied into a slot for each of its samples. Rows 0..n-1 run; a row that has
ended leaves its slot to a waiting sample, or, where none waits, to the last running row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from aha.engines.native.cache import Prefix, SlotCache
from aha.engines.native.sampler import draw, uniforms
from aha.errors import UserError
from aha.models.loading import cast_
from aha.models.logits import hidden_states, logits
from aha.protocols import Finished
from aha.types import Completion, Prompt, Sampling

PREFILL_TOKENS = 4096  # padded tokens of one prefill


@dataclass(frozen=True, slots=True)
class _Prefilled:
    """A prompt whose samples wait for slots: its row in a staged prefix, and the logits of its first token."""

    index: int  # of the prompt
    length: int
    prefix: Prefix
    row: int
    first_logits: Tensor  # [V]
    waiting: deque[int]  # numbers of the samples that have no slot yet


@dataclass(slots=True)
class _Running:
    """Host and device state of the rows. Tensors have room for all slots; rows 0..n-1 run."""

    owner: list[tuple[int, int] | None] = field(default_factory=list)  # (prompt, sample) of each row; None: a hole
    positions: Tensor = field(default_factory=lambda: torch.empty(0))  # [S] where the last token goes
    counts: Tensor = field(default_factory=lambda: torch.empty(0))  # [S] tokens drawn
    last: Tensor = field(default_factory=lambda: torch.empty(0))  # [S] last token drawn
    uniform: Tensor = field(default_factory=lambda: torch.empty(0))  # [S, max_tokens]
    tokens: Tensor = field(default_factory=lambda: torch.empty(0))  # [S, max_tokens]
    logprobs: Tensor = field(default_factory=lambda: torch.empty(0))  # [S, max_tokens]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.positions, self.counts, self.last, self.uniform, self.tokens, self.logprobs


class NativeEngine:
    """Samples from its own copy of the policy, in `dtype`. `slots` bounds the rows that run together."""

    def __init__(
        self,
        model: nn.Module,
        eos_ids: frozenset[int],
        pad_id: int,
        *,
        dtype: torch.dtype = torch.float32,
        slots: int = 512,
        context: int = 1 << 30,
    ) -> None:
        self.model = cast_(model, dtype).eval().requires_grad_(False)
        self.dtype, self.device = dtype, next(model.parameters()).device
        self.eos = torch.tensor(sorted(eos_ids), device=self.device)
        self.pad_id, self.slots, self.context = pad_id, slots, context
        self.version = 0
        self.cache = SlotCache()

    def publish(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take over `weights`. A missing, unknown or misshapen tensor is a ValueError, and nothing is taken over."""
        own = self.model.state_dict()
        wrong = sorted(own.keys() ^ weights.keys())
        wrong += [name for name in own if name in weights and own[name].shape != weights[name].shape]
        if wrong:
            raise ValueError(f"{len(wrong)} published weights are not the engine's in name or shape: {wrong[:3]}")
        with torch.no_grad():
            self.model.load_state_dict(dict(weights), strict=True)
        self.version = version

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """`n` completions of each prompt, in order; stops at an end-of-sequence token or after `max_tokens`."""
        done = {(place, sample): completion for place, sample, completion in self.stream(prompts, sampling)}
        return [[done[i, s] for s in range(p.n)] for i, p in enumerate(prompts)]

    @torch.no_grad()
    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Finished]:
        """The same completions as `generate`, each as soon as it has ended, in the order in which they end."""
        self._check(prompts, sampling)
        queue = deque(range(len(prompts)))
        prefilled: deque[_Prefilled] = deque()
        left = total = sum(p.n for p in prompts)
        slots = min(self.slots, total)
        width = max(len(p.ids) for p in prompts) + sampling.max_tokens
        state = self._fresh_state(slots, sampling)
        while left:
            ended = self._retire(state, sampling)
            left -= len(ended)
            yield from ended
            free = [row for row, owner in enumerate(state.owner) if owner is None]
            free += range(len(state.owner), slots)
            if free and (queue or prefilled):
                if not prefilled:
                    prefilled.extend(self._prefill(prompts, queue))
                    self.cache.reserve(slots, width)
                self._admit(state, prefilled, prompts, free, sampling)
                continue  # a first token may be the last
            self._close_holes(state)
            if state.owner:
                self._step(state, sampling)

    def _check(self, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        if not prompts:
            raise UserError("no prompt was given to sample from")
        longest = max(len(p.ids) for p in prompts)
        if not all(p.ids for p in prompts):
            raise UserError("an empty prompt cannot be continued; give at least one token")
        if sampling.max_tokens < 1 or any(p.n < 1 for p in prompts):
            raise UserError(f"max_tokens={sampling.max_tokens} and the samples a prompt have to be at least 1")
        if longest + sampling.max_tokens > self.context:
            raise UserError(
                f"a prompt of {longest} tokens and max_tokens={sampling.max_tokens} exceed the model's context of "
                f"{self.context}; lower max_tokens or drop long prompts"
            )

    def _fresh_state(self, slots: int, sampling: Sampling) -> _Running:
        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        longest = sampling.max_tokens
        exact = torch.float64 if self.dtype == torch.float64 else torch.float32
        return _Running(
            positions=zeros(slots), counts=zeros(slots), last=zeros(slots), tokens=zeros(slots, longest),
            uniform=zeros(slots, longest, dtype=torch.float32), logprobs=zeros(slots, longest, dtype=exact),
        )  # fmt: skip

    def _prefill(self, prompts: Sequence[Prompt], queue: deque[int]) -> list[_Prefilled]:
        """Run the next prompts of the queue through the model together, once each."""
        chosen: list[int] = []
        longest = 0
        while queue:
            longest = max(longest, len(prompts[queue[0]].ids))
            if chosen and longest * (len(chosen) + 1) > PREFILL_TOKENS:
                break
            chosen.append(queue.popleft())
        lengths = [len(prompts[i].ids) for i in chosen]
        ids = torch.full((len(chosen), max(lengths)), self.pad_id, dtype=torch.long, device=self.device)
        for row, i in enumerate(chosen):
            ids[row, : lengths[row]] = torch.tensor(prompts[i].ids, device=self.device)
        self.cache.begin_prefill()
        hidden = hidden_states(self.model, input_ids=ids, past_key_values=self.cache, use_cache=True)
        ends = torch.tensor(lengths, device=self.device) - 1
        first = logits(self.model, hidden[torch.arange(len(chosen), device=self.device), ends])
        prefix = self.cache.staged
        return [
            _Prefilled(i, lengths[row], prefix, row, first[row], deque(range(prompts[i].n)))
            for row, i in enumerate(chosen)
        ]

    def _admit(
        self,
        state: _Running,
        prefilled: deque[_Prefilled],
        prompts: Sequence[Prompt],
        free: list[int],
        sampling: Sampling,
    ) -> None:
        """Give the `free` rows to waiting samples of prefilled prompts, in place, and draw their first tokens."""
        while free and prefilled:
            group = prefilled[0]
            count = min(len(free), len(group.waiting))
            taken, free[:count] = free[:count], []
            samples = [group.waiting.popleft() for _ in taken]
            if not group.waiting:
                prefilled.popleft()
            state.owner += [None] * (taken[-1] + 1 - len(state.owner))
            for row, s in zip(taken, samples, strict=True):
                state.owner[row] = (group.index, s)
                stream = uniforms(prompts[group.index].seed, s, sampling.max_tokens)
                state.uniform[row] = torch.from_numpy(stream)
            rows = torch.tensor(taken, device=self.device)
            self.cache.copy_prefix(group.prefix, group.row, group.length, rows)
            state.positions[rows] = group.length - 1
            state.counts[rows] = 0
            self._draw(state, rows, group.first_logits.expand(count, -1), sampling)

    def _draw(self, state: _Running, rows: Tensor, logits_NV: Tensor, sampling: Sampling) -> None:
        """Draw the next token of each of `rows` and note it."""
        counts = state.counts[rows]
        tokens, logprobs = draw(logits_NV, state.uniform[rows, counts], sampling)
        state.tokens[rows, counts] = tokens
        state.logprobs[rows, counts] = logprobs
        state.last[rows] = tokens
        state.counts[rows] = counts + 1
        state.positions[rows] += 1

    def _step(self, state: _Running, sampling: Sampling) -> None:
        """One token for every running row."""
        n = len(state.owner)
        positions = state.positions[:n]
        width = int(positions.max()) + 1
        self.cache.begin_decode(positions, width)
        valid = torch.arange(width, device=self.device) <= positions[:, None]
        hidden = hidden_states(
            self.model,
            input_ids=state.last[:n, None],
            position_ids=positions[:, None],
            attention_mask=valid[:, None, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self._draw(state, self.cache.rows, logits(self.model, hidden[:, 0]), sampling)

    def _retire(self, state: _Running, sampling: Sampling) -> list[Finished]:
        """Hand over the rows that have ended; each leaves a hole."""
        ended: list[Finished] = []
        n = len(state.owner)
        stopped = torch.isin(state.last[:n], self.eos)
        for row in (stopped | (state.counts[:n] >= sampling.max_tokens)).nonzero().flatten().tolist():
            owner = state.owner[row]
            if owner is None:
                continue
            count = int(state.counts[row])
            completion = Completion(
                tuple(state.tokens[row, :count].tolist()),
                tuple(state.logprobs[row, :count].tolist()),
                "stop" if bool(stopped[row]) else "length",
                self.version,
            )
            ended.append((*owner, completion))
            state.owner[row] = None
        return ended

    def _close_holes(self, state: _Running) -> None:
        """Move the last running rows into the holes, so that rows 0..n-1 run."""
        left = sum(owner is not None for owner in state.owner)
        if left == len(state.owner):
            return
        holes = [row for row in range(left) if state.owner[row] is None]
        movers = [row for row in range(left, len(state.owner)) if state.owner[row] is not None]
        for hole, mover in zip(holes, movers, strict=True):
            state.owner[hole] = state.owner[mover]
        del state.owner[left:]
        if holes:
            to, source = (torch.tensor(rows, device=self.device) for rows in (holes, movers))
            for tensor in state.tensors():
                tensor[to] = tensor[source]
            self.cache.move(source, to)
