"""The data of one step, in the order in which it flows.

    Problem -> Completion -> Rollout -> Group(verdicts, advantages) -> Sample -> Batch -> StepMetrics

Everything here is frozen and ragged (plain ints and floats); padding begins in `training/batch.py`.
Axes in names: G a group of completions of one problem, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["train", "test"]
StopReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `Message("user", "Using each of 3, 5, 7 once ...")`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its verifiable answer.

    `messages` is all that a policy is shown. `reference` and `hidden` are for graders only.

    >>> Problem("countdown-train-0", "countdown", (Message("user", "Make 22 from 3, 5, 7."),), "3*5+7").language
    'en'
    """

    id: str
    task: str
    messages: tuple[Message, ...]
    reference: str
    language: str = "en"
    hidden: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 leave the distribution whole.

    >>> Sampling(max_tokens=64).temperature
    1.0
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine is asked for: `n` completions of `ids`; `seed` and the sample's number fix its random numbers.

    >>> Prompt(ids=(5, 8), n=16, seed=7).n
    16
    """

    ids: tuple[int, ...]
    n: int
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """Sampled tokens, with their log-probs under the distribution that they were drawn from.

    The stop token is the last of `ids` when `stop_reason` is "stop": it was sampled, and it is trained.
    `policy_version` is of the weights that drew the last token. Where weights arrived on the way, `earlier` says how
    many tokens were drawn by versions before, oldest first; none, where a version only read the prompt.

    >>> Completion((4, 2, 7), (-0.1, -0.5, -0.2), "stop", policy_version=3, earlier=((1, 2),)).versions
    (1, 1, 3)
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop_reason: StopReason
    policy_version: int
    earlier: tuple[tuple[int, int], ...] = ()  # (version, tokens)

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.logprobs), "one log-prob a token"

    @property
    def oldest(self) -> int:
        """The oldest version that had a part in it."""
        return self.earlier[0][0] if self.earlier else self.policy_version

    @property
    def versions(self) -> tuple[int, ...]:
        """The version that drew each token."""
        before = tuple(version for version, tokens in self.earlier for _ in range(tokens))
        return before + (self.policy_version,) * (len(self.ids) - len(before))


@dataclass(frozen=True, slots=True)
class Parsed:
    """The views of a response's text. `answer` is None where none was given or it was left unfinished.

    >>> Parsed(reasoning="3*5=15", answer="15", well_formed=True).answer
    '15'
    """

    reasoning: str
    answer: str | None
    well_formed: bool


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of a problem, with its text. The ids are the truth: they are never made again from `text`."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    completion: Completion
    text: str
    parsed: Parsed


@dataclass(frozen=True, slots=True)
class Score:
    """A reward's value and the reason for it: `Score(1.0, "3*5+7 = 22")`."""

    value: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Abstain:
    """A reward has no opinion on this rollout; it takes no part in any mean: `Abstain("no reference")`."""

    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A grader crashed or timed out. Not a 0: `Failed("accuracy: TimeoutError")`."""

    reason: str


Outcome = Score | Abstain | Failed


@dataclass(frozen=True, slots=True)
class Verdict:
    """All outcomes of one rollout by reward name, and their weighted sum; `total` is None where any of them failed.

    >>> Verdict({"accuracy": Score(1.0), "format": Score(1.0)}, total=2.0).total
    2.0
    """

    outcomes: Mapping[str, Outcome]
    total: float | None

    def value(self, name: str) -> float | None:
        """The score of the reward `name`, or None where it abstained, failed or was not asked."""
        outcome = self.outcomes.get(name)
        return outcome.value if isinstance(outcome, Score) else None


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts of one problem at one step, with their verdicts and advantages (None: takes no part in the loss).

    A group whose totals are all equal carries no signal; its advantages are all 0.
    """

    problem: Problem
    rollouts_G: tuple[Rollout, ...]
    verdicts_G: tuple[Verdict, ...]
    advantages_G: tuple[float | None, ...]

    def __post_init__(self) -> None:
        assert len(self.rollouts_G) == len(self.verdicts_G) == len(self.advantages_G)

    @property
    def zero_variance(self) -> bool:
        """True where no rollout has an advantage other than 0."""
        return not any(self.advantages_G)


@dataclass(frozen=True, slots=True)
class Sample:
    """One training row. Every list has the length of `ids`; position t speaks of the prediction *of* token t.

    `loss_mask` is 1 on tokens that are trained: the completion with its stop token, never the prompt.

    >>> Sample(ids=(5, 8, 4), loss_mask=(0, 1, 1), advantages=(0.0, 1.0, 1.0)).n_targets
    2
    """

    ids: tuple[int, ...]
    loss_mask: tuple[int, ...]
    advantages: tuple[float, ...] = ()
    behaviour_logprobs: tuple[float, ...] = ()
    reference_logprobs: tuple[float, ...] = ()
    corrections: tuple[float, ...] = ()  # a factor of each token's policy loss; empty: 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.loss_mask)
        for stream in (self.advantages, self.behaviour_logprobs, self.reference_logprobs, self.corrections):
            assert not stream or len(stream) == len(self.ids), "a stream is empty or one value a token"

    @property
    def n_targets(self) -> int:
        """Number of trained tokens."""
        return sum(self.loss_mask)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a judge or a refiner is to answer in text; `draw` tells apart several answers to the same messages.

    >>> Ask((Message("user", "Which of the two is better?"),), draw=1).draw
    1
    """

    messages: tuple[Message, ...]
    draw: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in text, apart from the thinking before it: `Reply('{"correct": true}', thinking="3*5 is 15 ...")`.

    `tokens` are of both, `thinking_tokens` a part of them; None where nobody counted.
    """

    text: str
    thinking: str = ""
    stop_reason: StopReason = "stop"
    tokens: int | None = field(default=None, compare=False)
    thinking_tokens: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """The numbers of one update, by name (`reward/accuracy`, `time/rollout_s`); one line of `metrics.jsonl`.

    A value that was not measured is absent, never 0.
    """

    step: int
    values: Mapping[str, float]
