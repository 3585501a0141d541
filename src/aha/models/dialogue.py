"""Between problems and tokens: a problem becomes a prompt's ids, a completion's ids become text and parsed views."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from aha.models.templates import parse, render
from aha.types import Completion, Problem, Rollout

TAIL = 8  # tokens of a prompt that can hold an opening tag and white space


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A tokenizer with the template that questions are put in."""

    tokenizer: PreTrainedTokenizerBase
    template: str
    eos_ids: frozenset[int]

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """The ids that a policy is shown."""
        return render(problem.messages, self.template, self.tokenizer)

    def text(self, completion: Completion) -> str:
        """A completion's text, without the token that ended it."""
        ids = completion.ids[:-1] if completion.ids and completion.ids[-1] in self.eos_ids else completion.ids
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def read(self, problem: Problem, prompt_ids: tuple[int, ...], completion: Completion) -> Rollout:
        """A completion as a rollout of its problem."""
        text = self.text(completion)
        return Rollout(problem, prompt_ids, completion, text, parse(text, prefilled=self.opens_thinking(prompt_ids)))

    def opens_thinking(self, prompt_ids: tuple[int, ...]) -> bool:
        """Whether the template has written `<think>` at the end of a prompt."""
        prompt_end = str(self.tokenizer.decode(list(prompt_ids[-TAIL:]), skip_special_tokens=False))
        return prompt_end.rstrip().endswith("<think>")

    @property
    def end(self) -> int:
        """The token that ends a response: the tokenizer's own, where the model stops at it."""
        own = self.tokenizer.eos_token_id
        return int(own) if own in self.eos_ids else min(self.eos_ids)
