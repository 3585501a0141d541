"""What is done with samples that the rewards let pass: a judge looks at those that no rule could check, a refiner
rewrites what is left, and what it has written has to pass again, before the same rewards and the same judge.

    voices, finish = voices_and_finish(context, stage, dialogue)
    finish(graded)       # for each a `Finished`, or the reason why it is dropped
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aha.choices import SpeakerChoice
from aha.config import CollectStage
from aha.models.dialogue import Dialogue
from aha.models.templates import parse
from aha.pipeline.context import Context
from aha.pipeline.conversations import response_ids
from aha.pipeline.refine import Refiner, refiner
from aha.pipeline.rewriting import rewritten
from aha.pipeline.selection import Finish, Finished, Graded, fault
from aha.pipeline.voices import Voice
from aha.protocols import Task
from aha.rewards.beside import beside
from aha.rewards.compose import verdict
from aha.rewards.judge import Case, judge_answers
from aha.rewards.prose import final_text
from aha.types import Abstain, Completion, Failed, Rollout, Score, Verdict

RULE = "accuracy"  # the reward that says whether a rule of the task can check an answer


def graded_by(stage: CollectStage) -> dict[str, float]:
    """The rewards that samples of a stage are graded by: those that decide, and for a judge the one that it stands in
    for."""
    return {**stage.least, **({RULE: stage.least.get(RULE, 1.0)} if stage.judge is not None else {})}


def voices_and_finish(context: Context, stage: CollectStage, dialogue: Dialogue) -> tuple[tuple[Voice, ...], Finish]:
    """The models that a stage asks, and what it does with samples that pass."""
    judge = Voice(context, "judge", stage.judge, stage.slots) if stage.judge is not None else None
    judging = Judging(judge)
    if not isinstance(stage.refine, SpeakerChoice):
        by_rule = refiner(stage.refine)
        return (judge,) if judge else (), lambda graded: _by_rule(judging, by_rule, graded)
    refine = Voice(context, "refine", stage.refine, stage.slots)
    checking = Checking(context.task, graded_by(stage), stage.least, dialogue, stage.reward_threads, judging)
    keep_original = stage.unrefined == "original"
    return (*([judge] if judge else []), refine), lambda graded: _by_model(checking, refine, graded, keep_original)


@dataclass(frozen=True, slots=True)
class Judging:
    """The judge, or none."""

    voice: Voice | None

    def faults(self, graded: Sequence[Graded]) -> list[str | None]:
        """Why a judge keeps a sample out; None where a rule has checked it, there is no reference, or it is right."""
        found: list[str | None] = [None] * len(graded)
        if self.voice is None:
            return found
        places = [place for place, (_, given) in enumerate(graded) if isinstance(given.outcomes[RULE], Abstain)]
        cases = [_case(graded[place][0]) for place in places]
        for place, outcome in zip(places, judge_answers(self.voice, cases, self.voice.sampling), strict=True):
            if isinstance(outcome, Failed):
                found[place] = "judge failed"
            elif isinstance(outcome, Score) and outcome.value < 1:
                found[place] = "judge"
        return found


@dataclass(frozen=True, slots=True)
class Checking:
    """What a rewritten response has to pass again."""

    task: Task
    rewards: Mapping[str, float]
    least: Mapping[str, float]
    dialogue: Dialogue
    threads: int
    judging: Judging

    def faults(self, rollouts: Sequence[Rollout]) -> list[str | None]:
        """Why a response does not pass; None where it does."""
        verdicts = beside(rollouts, lambda rollout: verdict(self.task, rollout, self.rewards), threads=self.threads)
        found = [fault(given, self.least) for given in verdicts]
        passing = [place for place, reason in enumerate(found) if reason is None]
        judged: list[tuple[Rollout, Verdict]] = [(rollouts[place], verdicts[place]) for place in passing]
        for place, reason in zip(passing, self.judging.faults(judged), strict=True):
            found[place] = reason
        return found

    def as_sampled(self, original: Rollout, response: str) -> Rollout:
        """A response as if the policy had sampled it."""
        prompt = original.prompt_ids
        ids = tuple(response_ids(self.dialogue, prompt, response))
        opened = self.dialogue.opens_thinking(prompt)
        text = response.removeprefix("<think>") if opened else response
        completion = Completion(ids, (0.0,) * len(ids), "stop", original.completion.policy_version)
        return replace(original, completion=completion, text=text, parsed=parse(text, prefilled=opened))


def _case(rollout: Rollout) -> Case:
    problem = rollout.problem
    return Case(problem.messages, problem.reference, final_text(rollout) or "")


def _by_rule(judging: Judging, by_rule: Refiner, graded: Sequence[Graded]) -> list[Finished | str]:
    found: list[Finished | str] = []
    for (rollout, _), reason in zip(graded, judging.faults(graded), strict=True):
        response = None if reason else by_rule(rollout)
        missing = reason or "not refined"
        found.append(missing if response is None else Finished(response, len(rollout.completion.ids)))
    return found


def _by_model(checking: Checking, refine: Voice, graded: Sequence[Graded], keep_original: bool) -> list[Finished | str]:
    faults = checking.judging.faults(graded)
    passing = [place for place, reason in enumerate(faults) if reason is None]
    texts = dict(zip(passing, rewritten(refine, [graded[place][0] for place in passing]), strict=True))
    made = {place: checking.as_sampled(graded[place][0], text) for place, text in texts.items() if text is not None}
    found: list[Finished | str] = [reason or "not refined" for reason in faults]
    for (place, rollout), reason in zip(made.items(), checking.faults(list(made.values())), strict=True):
        response, tokens = texts[place] or "", len(rollout.completion.ids)
        found[place] = f"refined {reason}" if reason else Finished(response, tokens, "refined")
    if keep_original:
        for place in passing:
            rollout = graded[place][0]
            if isinstance(found[place], str):
                found[place] = Finished(rollout.text, len(rollout.completion.ids), "original")
    return found
