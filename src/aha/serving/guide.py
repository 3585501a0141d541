"""What may come next in one sample: an end to thinking that takes too long, a grammar after the thinking, stop strings.

    rules = Rules(thinking=True, budget=512, grammar=grammars.of_regex("[0-9]+"))   # of a request: numbers and texts
    guide = Guides(vocabulary, grammars, eos_ids).make(rules)                       # of one of its samples

Grammars are compiled and matched by llguidance (`pip install 'aha[guide]'`). A grammar holds for the answer alone:
thinking is free.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aha.errors import UserError
from aha.serving.reader import CLOSE, closings_of
from aha.serving.vocabulary import Vocabulary

CALLED = "}\n</tool_call>"  # after a call's arguments
# Between the parts of JSON: a space, or a line end with spaces. A model that is made to write JSON may else write space
# without end.
SPACE = {"whitespace_pattern": "( |\n {0,16})?"}


class Grammar(NamedTuple):
    """`kind`: json (a schema), regex or lark."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What a request's samples are held to. `thinking`: they begin inside of it, and may do so for `budget` tokens."""

    stops: tuple[str, ...] = ()
    thinking: bool = False
    budget: int | None = None
    grammar: Grammar | None = None

    def __bool__(self) -> bool:
        return bool(self.stops) or self.budget is not None or self.grammar is not None


FREE = Rules()


class Watch:
    """A `Guide` of one sample, for the engine's thread. `thinking`: it begins inside of thinking. `ends` are the tokens
    that end a sample."""

    def __init__(
        self, vocabulary: Vocabulary, *, thinking: bool, budget: int | None = None, close_ids: Sequence[int] = (),
        stops: Sequence[str] = (), matcher: Any = None, ends: Collection[int] = (), tagged: bool = False,
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        self._pieces, self._size = vocabulary.pieces, vocabulary.size
        self._encode = vocabulary.encode
        self._thinking, self._budget, self._close_ids = thinking, budget, list(close_ids)
        self._stops = [stop.encode() for stop in stops]
        self._closings = [mark.encode() for mark in closings_of(tagged)]
        self._longest = max(map(len, [*self._closings, *self._stops]))
        self._matcher, self._ends, self._device = matcher, sorted(ends), device
        self._forced: list[int] = []
        self._drawn = 0
        self._tail = b""

    @property
    def thinking(self) -> bool:
        """True where the sample is inside of thinking."""
        return self._thinking

    def after(self, token: int) -> bytes | None:
        """What `token` would say beyond the end of thinking; None where it does not end it."""
        if not self._thinking:
            return None
        tail = self._tail + self._pieces[token]
        return next((tail.partition(mark)[2] for mark in self._closings if mark in tail), None)

    def mask(self) -> Tensor | None:
        """The tokens that may be drawn next."""
        if self._thinking and not self._forced and self._budget is not None and self._drawn >= self._budget:
            self._forced = list(self._close_ids)
        if self._forced:
            only = torch.zeros(self._size, dtype=torch.bool, device=self._device)
            only[self._forced[0]] = True
            return only
        if self._matcher is None:
            return None
        if self._thinking:  # which has to end before the sample may: what the grammar asks for is still to come
            going_on = torch.ones(self._size, dtype=torch.bool, device=self._device)
            going_on[self._ends] = False
            return going_on
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        mask = np.unpackbits(bits, bitorder="little", count=self._size).view(np.bool_)
        return torch.from_numpy(mask).to(self._device)

    def take(self, token: int) -> bool:
        """True where a stop string or the grammar ends the sample."""
        self._drawn += 1
        if self._forced:
            self._forced.pop(0)
        rest = self.after(token)
        self._tail += self._pieces[token]
        if self._thinking:
            if rest is None:
                self._tail = self._tail[-self._longest :]
                return False
            self._tail, self._thinking, self._forced = rest, False, []
            ids = self._encode(rest.strip().decode("utf-8", "replace"))
            return self._follow(ids) if ids else False
        if any(stop in self._tail for stop in self._stops):
            return True
        self._tail = self._tail[-self._longest :]
        return self._follow([token])

    def _follow(self, ids: Sequence[int]) -> bool:
        if self._matcher is None:
            return False
        if not self._matcher.consume_tokens(list(ids)):
            raise ValueError(f"the grammar does not go on: {self._matcher.get_error()[:200]}")
        return bool(self._matcher.is_stopped())


class Forms:
    """Makes grammars of what requests ask for."""

    def check(self, grammar: Grammar) -> None:
        """Raise UserError for a grammar that cannot be used."""
        raise NotImplementedError

    def of_schema(self, schema: Mapping[str, Any] | bool) -> Grammar:
        """The grammar of JSON that `schema` accepts. Raises UserError where it cannot be compiled."""
        return self._checked(Grammar("json", json.dumps(schema)))

    def of_regex(self, regex: str) -> Grammar:
        """The grammar of text that matches `regex` as a whole."""
        return self._checked(Grammar("regex", regex))

    def of_lark(self, grammar: str) -> Grammar:
        """A grammar in llguidance's form of Lark."""
        return self._checked(Grammar("lark", grammar))

    def _checked(self, grammar: Grammar) -> Grammar:
        self.check(grammar)
        return grammar


class Grammars(Forms):
    """Compiles grammars for one tokenizer; those asked for last are kept."""

    def __init__(self, vocabulary: Vocabulary, size: int, eos_ids: frozenset[int]) -> None:
        self._vocabulary, self._size, self._eos_ids = vocabulary, size, sorted(eos_ids)
        self._compiled = functools.lru_cache(maxsize=64)(self._compile)

    def check(self, grammar: Grammar) -> None:
        """As `Forms`."""
        self._compiled(*grammar)

    def matcher(self, grammar: Grammar) -> Any:
        """A matcher of one sample. Raises UserError where the grammar cannot be compiled."""
        return self._compiled(*grammar).deep_copy()

    @functools.cached_property
    def _tokenizer(self) -> Any:
        llguidance = _library()
        return llguidance.hf.from_tokenizer(self._vocabulary.tokenizer, n_vocab=self._size, eos_token=self._eos_ids)

    def _compile(self, kind: str, text: str) -> Any:
        llguidance = _library()
        make = {
            "json": lambda: llguidance.LLMatcher.grammar_from_json_schema(text, overrides=SPACE),
            "regex": lambda: llguidance.LLMatcher.grammar_from_regex(text),
            "lark": lambda: llguidance.LLMatcher.grammar_from_lark(text),
        }
        try:
            matcher = llguidance.LLMatcher(self._tokenizer, make[kind](), log_level=0)
        except ValueError as error:
            raise UserError(f"the {kind} grammar cannot be used: {error}") from error
        if matcher.is_error():
            raise UserError(f"the {kind} grammar cannot be used: {_first_line(matcher.get_error())}")
        return matcher


class Guides:
    """Makes the guides of samples. `ends` end a sample; `tagged`: the model was taught R1-Zero's tags."""

    def __init__(
        self, vocabulary: Vocabulary, grammars: Grammars, ends: frozenset[int], *, tagged: bool = False,
        device: torch.device | None = None,
    ) -> None:  # fmt: skip
        self._vocabulary, self._grammars, self._ends = vocabulary, grammars, ends
        self._tagged, self._device = tagged, device
        self._close_ids = vocabulary.encode(CLOSE)

    def make(self, rules: Rules) -> Watch | None:
        """The guide of one sample; None where there is nothing to watch. Raises UserError for an unusable grammar."""
        if not rules:
            return None
        return Watch(
            self._vocabulary,
            thinking=rules.thinking,
            budget=rules.budget,
            close_ids=self._close_ids,
            stops=rules.stops,
            matcher=None if rules.grammar is None else self._grammars.matcher(rules.grammar),
            ends=self._ends,
            tagged=self._tagged,
            device=self._device,
        )


def tool_grammar(tools: Sequence[Mapping[str, Any]], several: bool) -> str:
    """Lark for one call of one of the functions `tools`, or more, in the Hermes format."""
    lines = ['start: call ("\\n" call)*' if several else "start: call"]
    lines.append("call: " + " | ".join(f"call{i}" for i in range(len(tools))))
    for i, tool in enumerate(tools):
        head = f'<tool_call>\n{{"name": {json.dumps(tool["name"])}, "arguments": '
        lines.append(f"call{i}: {json.dumps(head)} args{i} {json.dumps(CALLED)}")
        schema = {**(tool.get("parameters") or {"type": "object"}), "x-guidance": SPACE}
        lines.append(f"args{i}: %json {json.dumps(schema)}")
    return "\n".join(lines)


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:300]


def _library() -> Any:
    try:
        import llguidance
        import llguidance.hf
    except ImportError as error:
        raise UserError("constrained answers need llguidance: pip install 'aha[guide]'") from error
    return llguidance
