"""Evaluate a model on a task's test split: k samples a problem, every figure over what was asked.

result = evaluate(engine, dialogue, task, problems=64, samples=16, sampling=Sampling(512), seed=0)
result.figures["pass@1"], result.rollouts
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from aha.errors import UserError
from aha.evaluation.grading import Pairs, graded
from aha.evaluation.metrics import cons_at_k, mean_and_stderr, pass_at_k
from aha.evaluation.responses import response_metrics
from aha.models.dialogue import Dialogue
from aha.protocols import Engine, Marks, Task
from aha.seeds import seed_of
from aha.types import Abstain, Prompt, Rollout, Sampling, Verdict

BATCH = 64  # problems sampled at a time
REWARD_THREADS = 4
MARK = "mark/"  # before the name of what a task reports of its responses
WEIGHTS = {"accuracy": 1.0, "format": 1.0, "language": 0.0}  # the last is only looked at


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures by name, and every rollout with its verdict, a list a problem."""

    figures: dict[str, float | str | None]
    rollouts_P_K: tuple[tuple[Rollout, ...], ...]
    verdicts_P_K: tuple[tuple[Verdict, ...], ...]


def evaluate(
    engine: Engine,
    dialogue: Dialogue,
    task: Task,
    *,
    problems: int,
    samples: int,
    sampling: Sampling,
    seed: int,
    k: int | None = None,
) -> Evaluation:
    """Sample `samples` responses to the first `problems` test problems and grade them; `k` of pass@k, cons@k.

    Raises UserError where there is no test problem or `k` exceeds `samples`.
    """
    k = k or samples
    if k > samples:
        raise UserError(f"pass@k with k = {k} needs as many samples, and {samples} were asked for; raise -n")
    size = task.size("test")
    drawn = [task.problem("test", i) for i in range(problems if size is None else min(problems, size))]
    asked = list({problem.id: problem for problem in drawn}.values())  # a part of a mixture may have begun again
    if not asked:
        raise UserError(f"task {task.name!r} has no test problems; give it more rows")
    found: list[Pairs] = []
    for begin in range(0, len(asked), BATCH):
        part = asked[begin : begin + BATCH]
        prompts = [Prompt(dialogue.prompt(p), samples, seed_of("evaluate", seed, p.id)) for p in part]
        finished = engine.stream(prompts, sampling)
        found += graded(finished, part, prompts, dialogue, task, lambda _: WEIGHTS, REWARD_THREADS)
    rollouts = tuple(tuple(r for r, _ in pairs) for pairs in found)
    verdicts = tuple(tuple(v for _, v in pairs) for pairs in found)
    return Evaluation(_figures(task, rollouts, verdicts, samples, k), rollouts, verdicts)


def _figures(
    task: Task, rollouts: Sequence[Sequence[Rollout]], verdicts: Sequence[Sequence[Verdict]], samples: int, k: int
) -> dict[str, float | str | None]:
    """A rollout whose grader failed counts as asked and not as right."""
    judged = [not all(isinstance(v.outcomes["accuracy"], Abstain) for v in group) for group in verdicts]
    if any(judged):  # what no rule can check is neither right nor wrong
        rollouts, verdicts = list(compress(rollouts, judged)), list(compress(verdicts, judged))
    right_P_K = [[v.value("accuracy") == 1.0 for v in group] for group in verdicts]
    pass1, stderr = mean_and_stderr([sum(row) / samples for row in right_P_K])
    votes = [
        cons_at_k([_vote(task, r) for r in group[:k]], row[:k]) for group, row in zip(rollouts, right_P_K, strict=True)
    ]
    flat = [r for group in rollouts for r in group]
    spoken = [value for group in verdicts for v in group if (value := v.value("language")) is not None]
    return {
        "task": task.name,
        "asked": len(rollouts),
        "n": samples,
        "k": k,
        "pass@1": pass1,
        "pass@1_stderr": stderr if math.isfinite(stderr) else None,  # of one problem it cannot be known
        "pass@k": sum(pass_at_k(samples, sum(row), k) for row in right_P_K) / len(right_P_K),
        "cons@k": sum(votes) / len(votes),
        "failed": sum(v.total is None for group in verdicts for v in group) / len(flat),
        **response_metrics(flat),
        **({"language": sum(spoken) / len(spoken)} if spoken else {}),
        **_by_task(rollouts, right_P_K),
        **_marks(task, flat),
    }


def _marks(task: Task, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The mean of each mark that the task gives, over the responses that it gives it to."""
    found: dict[str, list[float]] = {}
    for rollout in rollouts if isinstance(task, Marks) else ():
        for name, value in task.marks(rollout.problem, rollout.text).items():
            found.setdefault(MARK + name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _by_task(rollouts: Sequence[Sequence[Rollout]], right_P_K: Sequence[Sequence[bool]]) -> dict[str, float]:
    """pass@1 of each task, where there are several."""
    rows: dict[str, list[float]] = {}
    for group, row in zip(rollouts, right_P_K, strict=True):
        rows.setdefault(group[0].problem.task, []).append(sum(row) / len(row))
    return {f"pass@1/{name}": sum(own) / len(own) for name, own in rows.items()} if len(rows) > 1 else {}


def _vote(task: Task, rollout: Rollout) -> str | None:
    answer = rollout.parsed.answer
    return None if answer is None else task.vote_key(rollout.problem, answer)
