"""The three seams: Task, Engine, Learner. Everything else calls functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aha.types import Ask, Completion, Failed, Outcome, Problem, Prompt, Reply, Sample, Sampling, Split

if TYPE_CHECKING:
    import torch

Weights = Mapping[str, "torch.Tensor"]


class Task(Protocol):
    """Makes problems and grades answers. Random access by index makes a data cursor one integer."""

    @property
    def name(self) -> str:
        """Its row in the table of tasks."""
        ...

    def size(self, split: Split) -> int | None:
        """Number of problems of `split`, or None where they are generated without end."""
        ...

    def problem(self, split: Split, index: int) -> Problem:
        """Problem number `index` of `split`; the same for the same seed. No problem is in both splits."""
        ...

    def grade(self, problem: Problem, answer: str | None) -> Outcome:
        """1 for a right `answer`, 0 for a wrong, missing or unfinished one. `answer` is untrusted text."""
        ...

    def gold(self, problem: Problem) -> str:
        """An answer that scores 1."""
        ...

    def wrong(self, problem: Problem) -> str:
        """A plausible answer that scores 0."""
        ...

    def vote_key(self, problem: Problem, answer: str) -> str | None:
        """The equivalence class of `answer` in a vote (cons@k); None where it cannot be read and does not vote."""
        ...


@runtime_checkable
class Writes(Protocol):
    """What a task may have beside: responses of its own, as data of a kind that no rule can reward."""

    def response(self, problem: Problem) -> str:
        """A whole response to `problem` that is fit to be learned."""
        ...


@runtime_checkable
class Marks(Protocol):
    """What a task may have beside: more that it knows of a response. Evaluations report the means; nothing is
    rewarded by it."""

    def marks(self, problem: Problem, response: str) -> Mapping[str, float]:
        """Values by name, such as `{"refuses the harmful": 1.0}`; only those that the problem is asked about."""
        ...


Finished = tuple[int, int, Completion]  # number of the prompt, number of its sample, what was drawn


class Engine(Protocol):
    """Token in, token out."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """For each prompt its `n` completions, in order. What one sample draws does not depend on the others."""
        ...

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Finished]:
        """The same completions, each as soon as it has ended, so that grading runs beside sampling."""
        ...

    def publish(self, weights: Weights, version: int) -> None:
        """Take over a policy's weights; completions sampled from here on carry `version`."""
        ...


# Text in, text out, of a model here or behind an endpoint: an answer to each, in order; Failed where none came.
Speaker = Callable[[Sequence[Ask], Sampling], list[Reply | Failed]]

# (learner log-probs, streams of the same shape) -> (sum of the loss over tokens, sums to report)
LossFunction = Callable[..., "tuple[torch.Tensor, dict[str, torch.Tensor]]"]


class Learner(Protocol):
    """Turns samples into gradients. It knows tokens, streams and a pure loss function, and no algorithm."""

    def logprobs(self, samples: Sequence[Sample], which: str = "policy") -> list[tuple[float, ...]]:
        """Log-probs of every token of every sample under `which` ("policy" or "reference"); 0 at position 0."""
        ...

    def with_reference(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with their reference log-probs filled in."""
        ...

    def refresh_reference(self) -> None:
        """Reference := policy."""
        ...

    def forward_backward(
        self, samples: Sequence[Sample], loss: LossFunction, denominator: float, *, entropies: bool = False
    ) -> dict[str, float]:
        """Add the gradient of sum(loss) / `denominator`; returns sums over the tokens of `samples`. With `entropies`
        the loss is given those of the sampled distributions."""
        ...

    def optim_step(self) -> dict[str, float]:
        """Clip, update, clear; returns `grad_norm` and `lr`."""
        ...

    def weights(self) -> Weights:
        """The policy's weights by name, as `Engine.publish` takes them."""
        ...

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        ...
