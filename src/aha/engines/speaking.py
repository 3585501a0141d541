"""A model here as a `Speaker`: an engine with the dialogue that puts messages to it.

    speaker = speaking(engine, dialogue, context=4096, seed=0)
    speaker([Ask((Message("user", "2+2?"),))], Sampling(max_tokens=64))      # [Reply("4", thinking="...")]

What it answers follows from the seed and the question alone, whatever is asked beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from aha.engines.chat_reply import apart
from aha.models.dialogue import Dialogue
from aha.models.templates import render
from aha.protocols import Engine, Speaker
from aha.seeds import seed_of
from aha.types import Ask, Completion, Failed, Message, Prompt, Reply, Sampling


def speaking(engine: Engine, dialogue: Dialogue, *, context: int, seed: int) -> Speaker:
    """The speaker. `context` is the model's limit of tokens; what does not fit into it is Failed."""
    special = _special(dialogue.tokenizer)

    def speak(asks: Sequence[Ask], sampling: Sampling) -> list[Reply | Failed]:
        prompts: dict[int, Prompt] = {}
        found: list[Reply | Failed] = []
        for place, ask in enumerate(asks):
            messages = [Message(m.role, special.sub(r"\1 ", m.content)) for m in ask.messages]
            ids = render(messages, dialogue.template, dialogue.tokenizer)
            if len(ids) + sampling.max_tokens <= context:
                prompts[place] = Prompt(ids, 1, seed_of("speak", seed, ask.draw, ids))
            found.append(
                Failed(f"a prompt of {len(ids)} tokens and max_tokens={sampling.max_tokens} exceed {context} tokens")
            )
        drawn = engine.generate(list(prompts.values()), sampling) if prompts else []
        for (place, prompt), (completion,) in zip(prompts.items(), drawn, strict=True):
            found[place] = _reply(dialogue, prompt, completion)
        return found

    return speak


def _reply(dialogue: Dialogue, prompt: Prompt, completion: Completion) -> Reply:
    thinking, text = apart(dialogue.text(completion), opened=dialogue.opens_thinking(prompt.ids))
    return Reply(text, thinking, completion.stop_reason, len(completion.ids))


def _special(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """The first character of each special token's name. With a space after it the name is text, as it is in what others
    wrote, and does not become the token that ends a turn or begins one."""
    names = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    known = "|".join(re.escape(name) for name in sorted(names) if len(name) > 1)
    return re.compile(f"(?={known})(.)" if known else r"(?!)(.)", re.DOTALL)
