"""The native engine: continuous batching over slots, on the same `transformers` model that the learner trains.

    engine = NativeEngine(model, eos_ids)
    engine.generate([Prompt(ids, n=16, seed=1)], Sampling(max_tokens=64))   # [[Completion, ...]]
    engine.stream(prompts, sampling, more=waiting)                          # more prompts come while the first run

A group's prompt is prefilled once; its samples share a long one and copy a short one into their slots. Rows 0..n-1 run;
a row that has ended leaves its slot to a waiting sample, or, where none waits, to the last running row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from aha.engines.native.cache import SlotCache
from aha.engines.native.prefill import Group, prefill, reserve
from aha.engines.native.rows import Rows, moves
from aha.engines.native.step import Step, fits
from aha.errors import UserError
from aha.models.decoder import Frozen
from aha.models.loading import cast_
from aha.models.logits import capped, logits
from aha.models.packing import rounded
from aha.protocols import Finished
from aha.types import Completion, Prompt, Sampling

More = Callable[[int], Sequence[Prompt]]
STEPS_BETWEEN_LOOKS = {"cuda": 8}  # reading what was drawn makes a GPU wait; elsewhere it is read after every step


class NativeEngine:
    """Samples from its own copy of the policy, in `dtype`. `slots` bounds the rows that run together."""

    def __init__(
        self,
        model: nn.Module,
        eos_ids: frozenset[int],
        *,
        dtype: torch.dtype = torch.float32,
        slots: int = 512,
        context: int = 1 << 30,
    ) -> None:
        self.model = cast_(model, dtype).eval().requires_grad_(False)
        self.forward = Frozen(self.model)
        decoder = self.forward.decoder
        self._whole = Step(self.model, decoder) if decoder is not None and fits(decoder) else None
        self.dtype, self.device = dtype, next(model.parameters()).device
        self.eos_ids, self.slots, self.context = eos_ids, slots, context
        self.steps_between_looks = STEPS_BETWEEN_LOOKS.get(self.device.type, 1)
        self.version = 0
        self.cache = SlotCache(self.device)

    def publish(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take over `weights`. A missing, unknown or misshapen tensor is a ValueError, and nothing is taken over."""
        own = self.model.state_dict()
        wrong = sorted(own.keys() ^ weights.keys())
        wrong += [name for name in own if name in weights and own[name].shape != weights[name].shape]
        if wrong:
            raise ValueError(f"{len(wrong)} published weights are not the engine's in name or shape: {wrong[:3]}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(_gathered(weights[name]))
        if self._whole is not None:
            self._whole.refresh()
        self.version = version

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """`n` completions of each prompt, in order; stops at an end-of-sequence token or after `max_tokens`."""
        done = {(place, sample): completion for place, sample, completion in self.stream(prompts, sampling)}
        return [[done[i, s] for s in range(p.n)] for i, p in enumerate(prompts)]

    @torch.no_grad()
    def stream(self, prompts: Sequence[Prompt], sampling: Sampling, more: More | None = None) -> Iterator[Finished]:
        """The same completions as `generate`, each as soon as it has ended, in the order in which they end.

        `more` is called before every step with the number of free rows, and gives prompts that join those that run;
        the stream ends where nothing runs and none comes. Inside of it, and between two completions, `publish` may be
        called: what runs goes on under the new weights, and completions tell which tokens were drawn by which.
        """
        self._check(prompts, sampling)
        waiting = dict(enumerate(prompts))  # those whose samples have not all had a slot
        queue, groups, asked = deque(waiting), deque[Group](), len(prompts)
        slots = min(self.slots, sum(p.n for p in prompts)) if more is None else self.slots
        exact = torch.float64 if self.dtype == torch.float64 else torch.float32
        rows = Rows(slots, sampling, self.eos_ids, self.device, exact)
        sharing: list[Group | None] = []  # the group of each shared prefix
        while True:
            if more is not None and (joining := more(len(rows.free))):
                self._check(joining, sampling)
                waiting |= enumerate(joining, asked)
                queue.extend(range(asked, asked + len(joining)))
                asked += len(joining)
            while (queue or groups) and (free := rows.free):
                self._read_again(groups, queue)
                if not groups:
                    groups.extend(prefill(self.forward, waiting, queue, self.device, self.version))
                    used = len(rows.owners), len(sharing)
                    reserve(self.cache, groups[0].kept, waiting.values(), slots, sampling.max_tokens, used)
                for index in self._admit(rows, groups, sharing, free):
                    del waiting[index]
                yield from self._finished(rows, sharing, [rows.last[: len(rows.owners)]])  # it may be the last
            if rows.changed:
                self._tidy(rows, sharing)
            if not rows.owners:
                return
            steps = min(self.steps_between_looks, rows.steps_left)
            yield from self._finished(rows, sharing, [self._step(rows) for _ in range(steps)])

    def _read_again(self, groups: deque[Group], queue: deque[int]) -> None:
        """Give prompts that older weights have read, and of which no sample has begun, back to the `queue`."""
        old = [group for group in groups if group.version != self.version and not group.begun]
        queue.extendleft(group.index for group in reversed(old))
        for group in old:
            groups.remove(group)

    def _admit(self, rows: Rows, groups: deque[Group], sharing: list[Group | None], free: list[int]) -> list[int]:
        """Give the `free` rows to waiting samples of prefilled groups, in place, and draw their first tokens; returns
        the prompts of which none waits any more."""
        done: list[int] = []
        while free and groups:
            group = groups[0]
            if group.shared and group.prefix is None:
                group.prefix = next((i for i, other in enumerate(sharing) if other is None), len(sharing))
                sharing[group.prefix : group.prefix + 1] = [group]
                self.cache.write_prefix(group.kept, group.tokens, group.prefix)
            count = min(len(free), len(group.waiting))
            taken, free[:count] = free[:count], []
            drawing = rows.admit(group, taken, self.version)
            if not group.waiting:
                done.append(groups.popleft().index)
            if not group.shared:
                self.cache.write_own(group.kept, group.tokens, drawing)
            rows.draw(drawing, logits(self.model, group.hidden[-1:]).expand(count, -1))
        return done

    def _step(self, rows: Rows) -> Tensor:
        """One token for every running row."""
        n = len(rows.owners)
        size = self.computed(n)
        found = self.next_logits(self.cache, rows.last[:size], rows.own[:size], rows.depth[:size], n, rows.width)
        rows.tick(self.version)
        return rows.draw(slice(n), found)

    def computed(self, n: int) -> int:
        """Rows that a step for `n` of them computes, and needs slots for."""
        return n if self._whole is not None else rounded(n)

    def next_logits(self, cache: SlotCache, last: Tensor, own: Tensor, depth: Tensor, n: int, width: int) -> Tensor:
        """Logits [n, V] of the next token of rows 0..n-1, whose last tokens are `last` in their own places `own`, below
        `width`, after `depth` shared ones. The three tensors have `computed(n)` elements; those beyond n are 0."""
        cache.begin(own, depth, width)
        if self._whole is not None:
            return capped(self.model, self._whole(last, own, depth, cache))
        return logits(self.model, self.forward(last, own + depth, cache))[:n]

    def _finished(self, rows: Rows, sharing: list[Group | None], drawn: Sequence[Tensor]) -> Iterator[Finished]:
        """The samples that have ended; a group without samples leaves its prefix."""
        for owner, completion in rows.ended(drawn):
            group = owner.group
            group.left -= 1
            if group.prefix is not None and not group.left:
                sharing[group.prefix] = None
            yield group.index, owner.sample, completion

    def _tidy(self, rows: Rows, sharing: list[Group | None]) -> None:
        """Close the holes that rows and groups have left."""
        self.cache.move(self.cache.store, *rows.close_holes(), rows.width)
        source, to = moves([group is not None for group in sharing])
        deepest = max((group.depth for group in sharing if group is not None), default=0)
        self.cache.move(self.cache.prefixes, source, to, deepest)
        for old, new in zip(source, to, strict=True):
            sharing[new], sharing[old] = sharing[old], None
        sharing[:] = [group for group in sharing if group is not None]
        for prefix, group in enumerate(sharing):
            if group is not None:
                group.prefix = prefix
        owned = [owner.group for owner in rows.owners if owner is not None]
        prefixes = [group.prefix for group in owned] + [None] * (rows.size - len(owned))
        self.cache.group(prefixes, max((group.depth for group in owned), default=0))

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


def _gathered(tensor: Tensor) -> Tensor:
    """A whole tensor; one that is divided among processes is put together when its turn comes, on all of them."""
    whole = getattr(tensor, "full_tensor", None)
    return tensor if whole is None else whole()
