"""From a request's fields to what the engine is asked for, the same way at every endpoint."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from aha.engines.native.controls import Controls
from aha.engines.native.request import Request, Sample
from aha.serving.calls import CallFormat
from aha.serving.errors import invalid, to_json
from aha.serving.guide import FREE, Rules
from aha.serving.limits import Repeats
from aha.serving.reader import Begin, Reader
from aha.serving.schema import Generation
from aha.serving.vocabulary import Vocabulary

T = TypeVar("T")
GREEDY_BELOW = 1e-3  # a temperature by which logits could not be divided without leaving float32
BESIDE = {"stream", "stream_options", "user", "metadata", "request_id"}  # fields that make no other request


@dataclass(frozen=True, slots=True)
class Defaults:
    """How a request is sampled that does not say it."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One prompt with its samples, and how what comes is read."""

    ids: tuple[int, ...]
    n: int
    seed: int
    first: int  # the number of the first sample of the seed
    controls: Controls
    ends: frozenset[int] = frozenset()  # tokens that end any answer
    begin: Begin = "raw"
    stops: tuple[str, ...] = ()
    keep_stop: bool = False
    special: bool = False
    whole: bool = False
    tagged: bool = False
    calls: CallFormat | None = None
    prompt_scores: int | None = None
    rules: Rules = FREE

    def request(self) -> Request:
        """For the engine; its samples have no guides yet."""
        samples = [Sample(self.first + i) for i in range(self.n)]
        return Request(self.ids, self.seed, self.controls, samples, self.prompt_scores)

    def reader(self, vocabulary: Vocabulary) -> Reader:
        """For one of its samples."""
        return Reader(
            vocabulary, self.begin, self.stops, keep_stop=self.keep_stop, calls=self.calls, special=self.special,
            whole=self.whole, tagged=self.tagged,
        )  # fmt: skip


def seeded(body: Generation, n: int, repeats: Repeats | None) -> tuple[int, int]:
    """A request's seed, and the number of its first sample. The same request again draws the next samples of its seed,
    unless `sample_index` says which, or `repeats` is None."""
    if body.seed is None:
        return secrets.randbits(63), body.sample_index or 0
    if body.sample_index is not None or repeats is None or body.temperature == 0:
        return body.seed, body.sample_index or 0
    said = to_json(body.model_dump(mode="json", exclude=BESIDE))
    return body.seed, repeats.first(hashlib.sha256(said).digest(), n)


def controls_of(
    body: Generation, defaults: Defaults, vocabulary: Vocabulary, eos_ids: frozenset[int], *, max_tokens: int,
    logprobs: int | None,
) -> Controls:  # fmt: skip
    """The settings of a request's samples. Raises ApiError for tokens that the model does not have."""
    most, temperature = vocabulary.size, _or(body.temperature, defaults.temperature)
    for name, ids in (("stop_token_ids", body.stop_token_ids), ("allowed_token_ids", body.allowed_token_ids)):
        if ids and max(ids) >= most:
            raise invalid(f"token {max(ids)} does not exist; the model has {most}", name)
    ends = (frozenset() if body.ignore_eos else eos_ids) | frozenset(body.stop_token_ids or ())
    return Controls(
        max_tokens=max_tokens,
        temperature=temperature if temperature >= GREEDY_BELOW else 0.0,
        top_k=max(0, _or(body.top_k, defaults.top_k)),
        top_p=_or(body.top_p, defaults.top_p),
        min_p=body.min_p or 0.0,
        repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        bias=_bias(body, most),
        allowed=tuple(sorted(set(body.allowed_token_ids or ()))),
        min_tokens=min(body.min_tokens or 0, max_tokens),
        stop_ids=ends,
        logprobs=logprobs,
    )


def room_for(ids: Sequence[int], asked: int | None, context: int, param: str) -> int:
    """How many tokens may be drawn after a prompt. Raises ApiError where the context is too short."""
    left = context - len(ids)
    if left < (1 if asked is None else asked):
        what = "" if asked is None else f" and {asked} in the answer"
        raise invalid(
            f"the model's context is {context} tokens, and {len(ids)} are in the prompt{what}; ask for less", param,
            "context_length_exceeded",
        )  # fmt: skip
    return left if asked is None else asked


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def _bias(body: Generation, most: int) -> tuple[tuple[int, float], ...]:
    found = []
    for name, amount in (body.logit_bias or {}).items():
        if not name.isascii() or not name.isdigit() or len(name) > 10 or int(name) >= most:
            raise invalid(
                f"logit_bias names token {name[:40]!r}; the model has the tokens 0 to {most - 1}", "logit_bias"
            )
        found.append((int(name), amount))
    return tuple(found)
