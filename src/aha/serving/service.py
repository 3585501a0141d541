"""What the endpoints share: the model and the way to its engines, how it is asked, and what the server takes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aha.engines.native.controls import Scored
from aha.serving.auth import Keys
from aha.serving.engines import Facts
from aha.serving.errors import ApiError
from aha.serving.guide import Forms
from aha.serving.limits import Gate, Repeats, Scope
from aha.serving.loop import Loop
from aha.serving.metrics import Metrics
from aha.serving.plan import Defaults, Plan
from aha.serving.prompt import ChatForm
from aha.serving.risk import RiskControl
from aha.serving.run import Progress, Run
from aha.serving.vocabulary import Vocabulary

LEAST_LOGPROB = -9999.0  # OpenAI's word for a log-prob of minus infinity, which JSON cannot say


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server is started with. Times are in seconds, sizes in bytes."""

    name: str  # of the model, for clients
    aliases: frozenset[str] = frozenset()
    slots: int = 64
    queue: int = 256  # samples that may wait beside those that run
    most_body: int = 4 * 2**20
    timeout_s: float = 600.0  # of one answer
    stall_s: float = 60.0  # for which a client may take or send nothing
    reasoning_fields: tuple[str, ...] = ("reasoning_content", "reasoning")
    strict_seeds: bool = False  # the same seed again gives the same answer again


@dataclass(slots=True, eq=False)
class Service:
    """One served model."""

    settings: Settings
    vocabulary: Vocabulary
    form: ChatForm
    loop: Loop
    facts: Facts
    defaults: Defaults
    keys: Keys
    grammars: Forms
    risk: RiskControl | None = None
    metrics: Metrics = field(default_factory=Metrics)
    gate: Gate = field(init=False)
    repeats: Repeats | None = field(init=False)
    created: int = field(default_factory=lambda: int(time.time()))
    cut: Callable[[Scope], None] = field(default=lambda scope: None)  # closes a client's connection by force

    def __post_init__(self) -> None:
        self.gate = Gate(self.settings.slots, self.settings.queue, self.metrics)
        self.repeats = None if self.settings.strict_seeds else Repeats()

    def begin(self, plans: Sequence[Plan], *, streaming: bool, passes: bool = False) -> Run:
        """Start to serve `plans`. Raises ApiError where there is no room for them, or no engine."""
        if not self.loop.alive:
            raise ApiError(503, self.loop.trouble, code="engine_stopped")
        return Run(
            plans, self.loop, self.facts.limits, self.vocabulary, self.gate, self.metrics, streaming=streaming,
            timeout_s=self.settings.timeout_s, passes=passes,
        )  # fmt: skip

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens that end any answer."""
        return self.facts.eos_ids

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer."""
        return self.facts.limits.context

    @property
    def answering(self) -> dict[str, Any]:
        """What every `Answer` is made with."""
        return {"stall_s": self.settings.stall_s, "cut": self.cut}

    def known(self, model: str | None) -> None:
        """Raise ApiError for a model that is not served."""
        if model is not None and model != self.settings.name and model not in self.settings.aliases:
            raise ApiError(
                404, f"the model {model[:100]!r} does not exist; {self.settings.name!r} is served", param="model",
                code="model_not_found",
            )  # fmt: skip

    @property
    def model(self) -> dict[str, Any]:
        """The served model, as `/v1/models` lists it."""
        return {
            "id": self.settings.name, "object": "model", "created": self.created, "owned_by": "aha",
            "root": self.settings.name, "parent": None, "max_model_len": self.context,
        }  # fmt: skip

    @property
    def gauges(self) -> dict[str, float]:
        """What is true right now."""
        running = self.loop.running
        return {
            "num_requests_running": running,
            "num_requests_waiting": max(0, self.gate.inside - running),
            "kv_cache_usage_perc": self.loop.usage,
            "engine_failures": self.loop.faults,
        }

    def scored(self, token: int, scored: Scored) -> dict[str, Any]:
        """A token's log-probs as chat completions and responses give them."""
        return {
            **self._named(token, scored.logprob),
            "top_logprobs": [self._named(other, logprob) for other, logprob in scored.likeliest],
        }

    def _named(self, token: int, logprob: float) -> dict[str, Any]:
        name, piece = self.vocabulary.name(token), self.vocabulary.pieces[token]
        return {"token": name, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(piece)}


def usage_of(plans: Sequence[Plan], samples: Sequence[Progress]) -> dict[str, Any]:
    """Tokens of an answer. A prompt counts once, however many samples it has; thinking is among the completion's."""
    prompt = sum(len(plan.ids) for plan in plans)
    drawn = sum(len(sample.ids) for sample in samples)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": drawn,
        "total_tokens": prompt + drawn,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": sum(sample.reader.reasoning for sample in samples)},
    }
