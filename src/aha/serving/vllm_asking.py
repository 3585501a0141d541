"""What a vLLM server is asked for, and what it answers: bodies and messages of vLLM 0.32's `/v1/completions`.

    body = body_of("model", ids, controls, seed, most=64, streaming=True) | structured(grammar)
    part_of(line, controls.logprobs)        # Part(ids, scores, finish) of one message of the stream

Log-probs have to be the model's own: vLLM's `raw_logprobs`, its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.engines.native.controls import Controls, Likely, Scored
from aha.engines.post import said
from aha.serving.guide import SPACE, Grammar

COMPLETIONS = "/v1/completions"
TOGETHER = 16  # tokens in a message, where nobody reads along
MARK = "token_id:"  # before a token's number, where its text would stand
KINDS = {"json": "json", "regex": "regex", "lark": "grammar"}  # of grammars, as vLLM calls them


class Fault(Exception):
    """vLLM makes no answer; `status` is HTTP's, for whoever asked."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one message; `scores` has as many where log-probs were asked for. `finish` comes with the last."""

    ids: tuple[int, ...] = ()
    scores: tuple[Scored, ...] = ()
    finish: str | None = None


def body_of(
    model: str, ids: Sequence[int], controls: Controls, seed: int, *, most: int, drawn: int = 0, streaming: bool = True
) -> dict[str, Any]:
    """A request for at most `most` tokens after `ids`, of which `drawn` belong to the sample."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(ids),
        "seed": seed,
        "max_tokens": most,
        "min_tokens": min(most, max(0, controls.min_tokens - drawn)),
        "temperature": controls.temperature,
        "top_k": controls.top_k,
        "top_p": controls.top_p,
        "min_p": controls.min_p,
        "repetition_penalty": controls.repetition_penalty,
        "presence_penalty": controls.presence_penalty,
        "frequency_penalty": controls.frequency_penalty,
        "ignore_eos": True,  # what ends an answer is what this server says, not what vLLM reads from its files
        "stop_token_ids": sorted(controls.stop_ids),
        "stream": True,
        "stream_interval": 1 if streaming else TOGETHER,
        "return_token_ids": True,
    }
    if controls.bias:
        body["logit_bias"] = {str(token): amount for token, amount in controls.bias}
    if controls.allowed:
        body["allowed_token_ids"] = list(controls.allowed)
    if controls.logprobs is not None:
        body |= {"logprobs": controls.logprobs, "return_tokens_as_token_ids": True}
    return body


def only(token: int) -> dict[str, Any]:
    """What makes a request one for `token`: its log-prob is the model's own all the same."""
    changes = {"max_tokens": 1, "min_tokens": 0, "temperature": 0.0, "allowed_token_ids": [token]}
    return changes | {"logit_bias": None, "stop_token_ids": []}


def structured(grammar: Grammar) -> dict[str, Any]:
    """What holds a request to a grammar."""
    text: Any = grammar.text
    if grammar.kind == "json":
        schema = json.loads(text)
        if isinstance(schema, bool):
            schema = {} if schema else {"not": {}}
        text = {**schema, "x-guidance": SPACE}
    return {"structured_outputs": {KINDS[grammar.kind]: text}}


def part_of(line: str, most: int | None) -> Part:
    """What a message says, with the `most` likeliest tokens; None: no log-probs. Raises Fault."""
    try:
        found = json.loads(line)
        if "error" in found:
            raise refused(int(found["error"].get("code") or 500), line.encode())
        if not found["choices"]:
            return Part()
        choice = found["choices"][0]
        ids = tuple(map(int, choice["token_ids"]))
        scores: tuple[Scored, ...] = ()
        if most is not None and ids:
            given = choice["logprobs"]
            pairs = zip(ids, given["token_logprobs"], given["top_logprobs"], strict=True)
            scores = tuple(Scored(float(own), _likeliest(top, most)) for _, own, top in pairs)
        return Part(ids, scores, choice.get("finish_reason"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Fault(f"vLLM sends what is not known ({type(error).__name__}: {error}): {line[:100]}", 500) from error


def prompt_scores_of(found: Any, ids: Sequence[int], most: int) -> list[Scored]:
    """The scores of a prompt's tokens but the first, in an answer to a request with `prompt_logprobs`. Raises Fault."""
    try:
        scores = []
        for token, entry in zip(ids, found["choices"][0]["prompt_logprobs"], strict=True):
            if entry is not None:
                values = {name: float(scored["logprob"]) for name, scored in entry.items()}
                scores.append(Scored(values[str(token)], _likeliest(values, most)))
        if len(scores) != len(ids) - 1:
            raise ValueError(f"{len(scores)} scores of {len(ids)} tokens")
        return scores
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Fault(
            f"vLLM scores a prompt in a way that is not known ({type(error).__name__}: {error})", 500
        ) from error


def refused(status: int, body: bytes) -> Fault:
    """What a request is told that vLLM does not answer: that it asked for too much, or that vLLM cannot."""
    return Fault(f"vLLM answers {status}: {said(body)}".rstrip(": "), 400 if 400 <= status < 500 else 503)


def _likeliest(values: Mapping[str, float], most: int) -> Likely:
    found = sorted(((int(name.removeprefix(MARK)), value) for name, value in values.items()), key=lambda pair: -pair[1])
    return tuple(found[:most])
