"""What the server and the processes of its engines tell each other: JSON in frames, over a pair of sockets.

    sock.sendall(frame(asked(7, request, rules, streaming=True)))      # the server's end
    for message in frames.feed(data):                                  # the engine's
        request, rules = request_of(message)
    sock.sendall(frame(news))                                          # and back

A frame is the length of its JSON in four bytes, and the JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from aha.engines.native.controls import Controls, Scored
from aha.engines.native.request import Limits, Request, Sample
from aha.serving.driver import Work
from aha.serving.engines import Facts
from aha.serving.guide import Grammar, Rules
from aha.serving.plan import Defaults

LENGTH = struct.Struct(">I")
DEFAULTS = {f.name: f.default for f in fields(Controls) if f.init}

Message = dict[str, Any]


class Frames:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        self._held += data
        found: list[Message] = []
        at = 0
        while len(self._held) >= at + LENGTH.size:
            [length] = LENGTH.unpack_from(self._held, at)
            end = at + LENGTH.size + length
            if len(self._held) < end:
                break
            found.append(json.loads(self._held[at + LENGTH.size : end]))
            at = end
        del self._held[:at]
        return found


def frame(message: Message) -> bytes:
    """A message on its way."""
    content = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(content)) + content


def asked(number: int, request: Request, rules: Rules, *, streaming: bool) -> Message:
    """A request under the `number` by which both ends know it. What is at its default is left out."""
    controls = {name: getattr(request.controls, name) for name in DEFAULTS}
    message: Message = {"ask": number, "ids": request.ids, "seed": request.seed, "streaming": streaming}
    message["samples"] = [sample.number for sample in request.samples]
    message["controls"] = {name: value for name, value in controls.items() if value != DEFAULTS[name]}
    if "stop_ids" in message["controls"]:
        message["controls"]["stop_ids"] = sorted(request.controls.stop_ids)
    if request.prompt_scores is not None:
        message["prompt_scores"] = request.prompt_scores
    if rules:
        message["rules"] = [rules.stops, rules.thinking, rules.budget, rules.grammar]
    return message


def request_of(message: Message) -> tuple[Request, Rules]:
    """The other way round."""
    given = message["controls"]
    if "stop_ids" in given:
        given["stop_ids"] = frozenset(given["stop_ids"])
    if "bias" in given:
        given["bias"] = tuple((token, amount) for token, amount in given["bias"])
    if "allowed" in given:
        given["allowed"] = tuple(given["allowed"])
    samples = [Sample(number) for number in message["samples"]]
    controls = Controls(**given)
    request = Request(tuple(message["ids"]), message["seed"], controls, samples, message.get("prompt_scores"))
    stops, thinking, budget, grammar = message.get("rules") or ((), False, None, None)
    return request, Rules(tuple(stops), thinking, budget, None if grammar is None else Grammar(*grammar))


def loaded(facts: Facts) -> Message:
    """What is told of an engine that takes requests from now on."""
    return {"eos_ids": sorted(facts.eos_ids), "limits": asdict(facts.limits), "defaults": asdict(facts.defaults)}


def facts_in(message: Message) -> Facts:
    """The other way round."""
    return Facts(frozenset(message["eos_ids"]), Limits(**message["limits"]), Defaults(**message["defaults"]))


@dataclass(slots=True, eq=False, kw_only=True)
class Reported(Work):
    """A request in an engine's process, and what of it has been told: tokens by sample, and the prompt's scores."""

    number: int
    sent: list[int] = field(default_factory=list)
    scored: bool = False

    def news(self) -> list[Any]:
        """What has come since the last time: number, times, the prompt's scores, and of each sample with news its
        index, tokens, scores, reason and fault."""
        request = self.request
        self.sent = self.sent or [0] * len(request.samples)
        found = []
        for index, sample in enumerate(request.samples):
            reason, at = sample.reason, self.sent[index]
            ids = sample.ids[at:]
            if ids or reason is not None:
                self.sent[index] += len(ids)
                found.append([index, ids, sample.scores[at : at + len(ids)], reason, sample.fault])
        scored = [] if self.scored else request.scored
        self.scored = True
        return [self.number, request.began, request.first, scored, found]


def follow(request: Request, news: Sequence[Any]) -> None:
    """Bring a request up to date with its `news`."""
    _, request.began, request.first, scored, found = news
    request.scored += map(_scored, scored)
    for index, ids, scores, reason, fault in found:
        sample = request.samples[index]
        sample.ids += ids
        sample.scores += map(_scored, scores)
        sample.fault = fault
        sample.reason = reason


def _scored(given: Sequence[Any]) -> Scored:
    logprob, likeliest = given
    return Scored(logprob, tuple((token, value) for token, value in likeliest))
