"""The bytes that each token stands for, so that text can be made of tokens as they come.

    vocabulary = Vocabulary(tokenizer, 647)
    text = vocabulary.text()            # a decoder; whole characters only
    text.feed([259, 17]); text.feed([88], last=True)

What `Text` gives piece by piece is, joined, what it gives at once: a character whose bytes are spread over several
tokens comes with the last of them, and bytes that are no character come as U+FFFD.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from aha.errors import UserError

# Marks that readers look for: shown even where the tokenizer calls them special.
MARKS = frozenset(
    (
        "<think>", "</think>", "<answer>", "</answer>", "<tool_call>", "</tool_call>", "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>",
    )
)  # fmt: skip
ANCHOR = "a"  # a token before another, where a decoder looks at what stands before


class Vocabulary:
    """A tokenizer's pieces: `pieces[i]` are the bytes of token i, empty for numbers below `size`, the model's, that are
    no token. `hidden` are the special tokens that no reader of a text is shown."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
        self.tokenizer, self.size = tokenizer, size
        words: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.pieces: list[bytes] = [*_pieces(tokenizer, words), *[b""] * (size - len(tokenizer))][:size]
        special = set(tokenizer.all_special_ids)
        self.hidden = frozenset(i for i in special if i < len(words) and words[i] not in MARKS)
        self._shown = [b"" if i in self.hidden else piece for i, piece in enumerate(self.pieces)]

    def text(self, *, special: bool = False) -> Text:
        """A decoder for one text; with `special` it shows all tokens."""
        return Text(self.pieces if special else self._shown)

    def join(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of `ids` at once."""
        return self.text(special=special).feed(ids, last=True)

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """What is shown of `ids`."""
        return b"".join([self._shown[i] for i in ids])

    def reaching(self, ids: Sequence[int], count: int) -> int:
        """How many of `ids` it takes to show `count` bytes."""
        for number, token in enumerate(ids):
            count -= len(self._shown[token])
            if count <= 0:
                return number + 1
        return len(ids)

    def name(self, token: int) -> str:
        r"""A token as text, different for different bytes: `bytes:\xe2\x82` where it is no whole character."""
        piece = self.pieces[token]
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """As `ids_of`."""
        return ids_of(self.tokenizer, text, "the text", special=special)


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str, what: str, *, special: bool = False) -> list[int]:
    """The ids of a text; with `special` those that the tokenizer adds by itself too. Raises UserError, that calls the
    text `what`, for one that no encoding knows: JSON can say halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what} has halves of characters (lone surrogates), which no token stands for") from error
    ids: list[int] = tokenizer.encode(text, add_special_tokens=special)
    return ids


class Text:
    """A decoder for one text, fed with tokens as they come."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int], *, last: bool = False) -> str:
        """The text that `ids` complete; with `last` also what stays incomplete."""
        pieces = self._pieces
        return self._decoder.decode(b"".join([pieces[i] for i in ids]), last)


def _pieces(tokenizer: PreTrainedTokenizerBase, words: Sequence[str | None]) -> list[bytes]:
    """The bytes of each token, by the tokenizer's kind of decoder."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    steps = _steps(json.loads(backend.to_str())["decoder"] or {}) if backend is not None else []
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        table = _byte_of_character()
        return [_of_characters(word or "", table) for word in words]
    if steps and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        replaced = [("▁", " ")] if "Metaspace" in kinds else []
        replaced += [(s["pattern"]["String"], s["content"]) for s in steps if "String" in s.get("pattern", {})]
        return [_of_word(word or "", replaced, "ByteFallback" in kinds) for word in words]
    return _by_difference(tokenizer, len(words))


def _steps(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    """A decoder's steps, those of a sequence one by one."""
    if decoder.get("type") == "Sequence":
        return [step for part in decoder["decoders"] for step in _steps(part)]
    return [decoder] if decoder else []


def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE writes each byte as a character: itself where it is printable, else one from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _of_characters(word: str, table: dict[str, int]) -> bytes:
    if all(character in table for character in word):
        return bytes(table[character] for character in word)
    return word.encode("utf-8", "replace")  # a token that was added as text


def _of_word(word: str, replaced: Sequence[tuple[str, str]], bytes_too: bool) -> bytes:
    if bytes_too and len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
        return bytes([int(word[3:5], 16)])
    for old, new in replaced:
        word = word.replace(old, new)
    return word.encode("utf-8", "replace")


def _by_difference(tokenizer: PreTrainedTokenizerBase, count: int) -> list[bytes]:
    """What each token adds to a text, by any decoder."""
    anchor = tokenizer.encode(ANCHOR, add_special_tokens=False)
    start = len(str(tokenizer.decode(anchor)))
    return [str(tokenizer.decode([*anchor, i]))[start:].encode("utf-8", "replace") for i in range(count)]
