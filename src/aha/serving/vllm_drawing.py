"""One sample that a vLLM server draws: in one request, or in several where more is asked than one can say.

    drawing = Drawing(request, sample, rules, taught, model="model", streaming=True)
    while (body := drawing.body()) is not None:         # the next request
        for part in stream(body):
            if drawing.take(part):                      # nothing more of it is wanted: hang up
                break
    sample.ids, drawing.reason

Thinking that takes longer than its budget is cut off, closed, and what follows is asked for anew, after all tokens
until then. So is an answer under a grammar, when the thinking before it has ended by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from aha.engines.native.controls import Scored
from aha.engines.native.request import Reason, Request, Sample
from aha.seeds import seed_of
from aha.serving.guide import Rules, Watch
from aha.serving.reader import CLOSE
from aha.serving.vllm_asking import Fault, Part, body_of, only, structured
from aha.serving.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Taught:
    """What is known of the model. `tagged`: it was taught R1-Zero's tags."""

    vocabulary: Vocabulary
    eos_ids: frozenset[int]
    tagged: bool


class Drawing:
    """The state between messages. `reason` is set when the sample has ended."""

    def __init__(
        self, request: Request, sample: Sample, rules: Rules, taught: Taught, *, model: str, streaming: bool
    ) -> None:
        self._request, self._controls, self._sample, self._rules = request, request.controls, sample, rules
        self._taught, self._model, self._streaming = taught, model, streaming
        self._watch: Watch | None = None
        if rules:
            self._watch = Watch(taught.vocabulary, thinking=rules.thinking, stops=rules.stops, tagged=taught.tagged)
        self._forced: list[int] = []
        self._turned = False  # what is asked for has to change
        self.reason: Reason | None = None

    def body(self) -> dict[str, Any] | None:
        """The next request; None where the sample has ended. Closing tokens whose log-probs nobody wants need none."""
        if self._overdue and not self._forced:
            self._forced = self._taught.vocabulary.encode(CLOSE)
        while self._forced and self._controls.logprobs is None and self._goes_on:
            self._note(self._forced[0], None)
        self._turned = False
        if not self._goes_on:
            self.reason = self.reason or "length"
            return None
        drawn = len(self._sample.ids)
        most = self._controls.max_tokens - drawn
        # vLLM takes what fits a signed number of 64 bits
        seed = seed_of("vllm", self._request.seed, self._sample.number, *([drawn] if drawn else [])) >> 2
        ids = [*self._request.ids, *self._sample.ids]
        body = body_of(
            self._model, ids, self._controls, seed, most=most, drawn=drawn, streaming=self._streaming
        )  # fmt: skip
        return body | self._changes(most)

    def take(self, part: Part) -> bool:
        """Note what came; True where nothing more of this request is wanted. Raises Fault."""
        scores: Sequence[Scored] | repeat[None] = part.scores or repeat(None)
        for token, score in zip(part.ids, scores, strict=False):
            self._note(token, score)
            if self._turned or not self._goes_on:
                return True
        if part.finish is None:
            return False
        if part.finish not in ("stop", "length"):
            raise Fault(f"vLLM broke the answer off ({part.finish})", 503)
        self.reason = "stop" if part.finish == "stop" else "length"
        return True

    @property
    def _goes_on(self) -> bool:
        return self.reason is None and len(self._sample.ids) < self._controls.max_tokens

    @property
    def _thinks(self) -> bool:
        return self._watch is not None and self._watch.thinking

    @property
    def _overdue(self) -> bool:
        budget = self._rules.budget
        return self._thinks and budget is not None and len(self._sample.ids) >= budget

    def _changes(self, most: int) -> dict[str, Any]:
        """What is different in the request that comes next."""
        grammar, ends = self._rules.grammar, self._taught.eos_ids
        if self._forced:
            return only(self._forced[0])
        if grammar is None:
            return {}
        if self._thinks:  # which has to end before the sample may: vLLM draws no end before the least number of tokens
            return {"min_tokens": most, "stop_token_ids": sorted(ends)}
        return structured(grammar) | {"min_tokens": 0, "stop_token_ids": sorted(ends | self._controls.stop_ids)}

    def _note(self, token: int, score: Scored | None) -> None:
        """Note a token that was drawn, or put."""
        if self._forced:
            if token != self._forced.pop(0):
                raise Fault(f"vLLM drew token {token}, and another was the only one allowed", 500)
            self._turned = True
        elif token in self._controls.stop_ids:
            self._append(token, score)
            self.reason = "stop"
            return
        elif self._rules.grammar is not None and not self._thinks and token in self._taught.eos_ids:
            self.reason = "stop"  # the grammar's end, where no token is asked to end the answer
            return
        elif self._rules.grammar is not None and self._watch is not None:
            beyond = self._watch.after(token)
            if beyond is not None and beyond.strip():  # the grammar is to hold for all that follows
                piece = self._taught.vocabulary.pieces[token]
                mark = piece[: len(piece) - len(beyond)].decode("utf-8", "replace")
                self._forced, self._turned = self._taught.vocabulary.encode(mark), True
                return
        self._append(token, score)
        if self._watch is None:
            return
        thought = self._watch.thinking
        if self._watch.take(token):
            self.reason = "stop"
        if thought and not self._watch.thinking:
            self._forced, self._turned = [], self._turned or self._rules.grammar is not None
        self._turned = self._turned or self._overdue

    def _append(self, token: int, score: Scored | None) -> None:
        if self._controls.logprobs is not None:
            if score is None:
                raise Fault("vLLM gives no log-prob of a token", 500)
            self._sample.scores.append(score)
        self._sample.ids.append(token)
