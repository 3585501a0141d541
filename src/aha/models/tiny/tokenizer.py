"""The tiny family's tokenizer: byte-level BPE over the web, with a token for every number from 0 to 99.

Any text round-trips. Digits are split in groups of two, never glued to a space or a letter, so `3*5=15` is five tokens
whatever stands around it. The four tags of the R1-Zero template are tokens of their own, but not "special": decoding
shows them, and a reward can read them.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END, PAD = "<|endoftext|>", "<|pad|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_PIECES = Regex(r"\p{N}{1,2}| ?\p{L}+|[^\s\p{L}\p{N}]+ ?|\s+")
VOCABULARY = 1024  # at most; names, Chinese characters and the words of programs among them


def train(pages: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learn the merges from `pages`; deterministic for the same pages."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    numbers = [str(n) for n in range(100)] + [f"{n:02d}" for n in range(10)]
    counting = [" ".join(numbers)] * 100_000
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*counting, *pages], trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    missing = [n for n in numbers if tokenizer.token_to_id(n) is None]
    assert not missing, f"numbers without a token: {missing}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
