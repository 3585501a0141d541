"""Tokens as bytes, and text that comes piece by piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from aha.errors import UserError
from aha.serving.vocabulary import Vocabulary, ids_of
from tiny_models import tokenizer

BYTES = Vocabulary(tokenizer(), 260)


def sentencepiece() -> PreTrainedTokenizerFast:
    """Words with a mark for the space before them, and bytes for all else: as Llama's and Gemma's."""
    words = ["<unk>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)], "▁", "▁so", "so", "é", "▁我"]
    made = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[], byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")


WORDS = Vocabulary(sentencepiece(), 300)


def wordpiece() -> PreTrainedTokenizerFast:
    """Words, and pieces that go on with them: another kind of decoder."""
    words = ["[UNK]", "a", "say", "##ing", "me"]
    made = Tokenizer(models.WordPiece(vocab={w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece("##", cleanup=False)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")


def test_pieces_are_what_tokenizers_decode() -> None:
    ids = BYTES.encode("Ω: 3*5 → 我 🙂")
    assert BYTES.join(ids) == BYTES.tokenizer.decode(ids) == "Ω: 3*5 → 我 🙂"
    ids = WORDS.encode("so é 我 🙂 so")
    assert WORDS.join(ids) == WORDS.tokenizer.decode(ids) == "so é 我 🙂 so"
    assert len(WORDS.pieces) == 300 and WORDS.pieces[299] == b""
    third = Vocabulary(wordpiece(), 5)
    ids = third.encode("a saying me")
    assert third.join(ids) == " a saying me" and third.tokenizer.decode(ids) == "a saying me"


@given(st.lists(st.integers(0, 255), max_size=40), st.data())
def test_text_by_pieces_is_text_at_once(ids: list[int], data: st.DataObject) -> None:
    """Whatever the bytes are, and wherever they are cut, broken characters among them."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=6)))
    text = BYTES.text()
    parts = [text.feed(ids[a:b]) for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    whole = "".join(parts) + text.feed((), last=True)
    assert whole == BYTES.join(ids) == BYTES.tokenizer.decode(ids)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_character_comes_whole(written: str) -> None:
    for vocabulary in (BYTES, WORDS):
        text = vocabulary.text()
        parts = [text.feed([token]) for token in vocabulary.encode(written)]
        assert "".join(parts) == written
        assert written.count("�") == "".join(parts).count("�")


def test_special_tokens_are_hidden_and_named() -> None:
    ids = [*BYTES.encode("so"), 256]
    assert BYTES.join(ids) == "so" and BYTES.join(ids, special=True) == "so<end>"
    assert BYTES.name(256) == "<end>"
    assert BYTES.name(BYTES.encode("é")[0]) == r"bytes:\xc3"
    assert BYTES.name(BYTES.encode("é")[0]) != BYTES.name(BYTES.encode("é")[1])


def test_halves_of_characters_are_refused() -> None:
    with pytest.raises(UserError, match="surrogates"):
        BYTES.encode("a\ud800")
    with pytest.raises(UserError, match="the rule has halves of characters"):
        ids_of(BYTES.tokenizer, "a\udc00", "the rule")
    assert ids_of(BYTES.tokenizer, "🙂", "it") == BYTES.encode("🙂")
