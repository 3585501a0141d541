"""How the engine of a server is made, in the server's own process or in another, and what the server knows of it."""

from __future__ import annotations

import dataclasses
import gc
from dataclasses import dataclass
from typing import Any

import torch

from aha.engines.native.engine import NativeEngine
from aha.engines.native.incremental import IncrementalEngine
from aha.engines.native.request import Limits
from aha.errors import UserError
from aha.models.loading import Loaded
from aha.serving.guide import Grammars, Guides
from aha.serving.plan import Defaults
from aha.serving.prompt import ChatForm
from aha.serving.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Wanted:
    """One engine. `room` are bytes of keys and values, `context` 0: the model's own."""

    dtype: str  # of torch: float32, bfloat16
    threads: int
    slots: int
    room: int
    context: int = 0
    share: float = 1.0  # of the messages a second that all engines may send

    def divided(self, engines: int) -> Wanted:
        """What each of several engines is to be."""
        threads = max(1, self.threads // engines)
        return dataclasses.replace(self, threads=threads, room=self.room // engines, share=1 / engines)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server has to know of the model that its engines run, and of what one of them takes on. `defaults` are
    those of the model's generation config, else R1's temperature 0.6 and top-p 0.95."""

    eos_ids: frozenset[int]
    limits: Limits
    defaults: Defaults


def make_engine(loaded: Loaded, wanted: Wanted) -> IncrementalEngine:
    """The engine of a model, whose weights become its own. Raises UserError where the room is too little."""
    native = NativeEngine(loaded.model, loaded.eos_ids, dtype=getattr(torch, wanted.dtype), context=loaded.context)
    engine = IncrementalEngine(native, slots=wanted.slots, room=wanted.room)
    longest = engine.limits.longest
    engine.limits = dataclasses.replace(engine.limits, context=min(longest, wanted.context or longest))
    if engine.limits.context < 2:
        raise UserError(f"{wanted.room / 2**20:.0f} MiB are too little for keys and values; give the server more room")
    return engine


def facts_of(loaded: Loaded, engine: IncrementalEngine) -> Facts:
    """What is to be known of a model and its engine."""
    return Facts(loaded.eos_ids, engine.limits, defaults_of(getattr(loaded.model, "generation_config", None)))


def defaults_of(config: Any) -> Defaults:
    """How a generation config samples; what it leaves open, as R1's authors advise."""

    def own(name: str, otherwise: float) -> float:
        found = getattr(config, name, None)
        return otherwise if found is None else found

    return Defaults(own("temperature", 0.6), own("top_p", 0.95), int(own("top_k", 0)), own("repetition_penalty", 1.0))


def make_guides(vocabulary: Vocabulary, facts: Facts, form: ChatForm, device: torch.device) -> tuple[Grammars, Guides]:
    """What compiles the grammars of requests, and what makes their guides."""
    grammars = Grammars(vocabulary, vocabulary.size, facts.eos_ids)
    return grammars, Guides(vocabulary, grammars, facts.eos_ids, tagged=form.tagged, device=device)


def keep_what_is_loaded() -> None:
    """All that was imported and loaded stays: the collector, that needs a fifth of a second for it, leaves it alone."""
    gc.collect()
    gc.freeze()
