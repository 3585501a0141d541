"""The numbers that describe a step's groups. Pure functions; nothing here changes what is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import psutil

from aha.evaluation.responses import response_metrics
from aha.types import Group, Score

WINDOW = 200  # steps over which memory is watched


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards, format, lengths, reflection, language mixing and entropy of all rollouts of a step."""
    rollouts = [r for group in groups for r in group.rollouts_G]
    verdicts = [v for group in groups for v in group.verdicts_G]
    values: dict[str, float] = {}
    for name in dict.fromkeys(name for v in verdicts for name in v.outcomes):  # tasks may have rewards of their own
        scores = [o.value for v in verdicts if isinstance(o := v.outcomes.get(name), Score)]
        if scores:
            values[f"reward/{name}"] = sum(scores) / len(scores)
    totals = [v.total for v in verdicts if v.total is not None]
    if totals:
        values["reward/total"] = sum(totals) / len(totals)
    if "reward/accuracy" in values:
        values["pass@1"] = values["reward/accuracy"]
        values |= _by_task(groups)
    responses = response_metrics(rollouts)
    values["format"] = responses.pop("format")
    values |= {f"response/{name}": value for name, value in responses.items()}
    values["failed"] = 1 - len(totals) / len(verdicts)
    # Too few of its rewards came back as scores to compare: the group trains nothing.
    values["dropped_groups"] = sum(all(a is None for a in g.advantages_G) for g in groups) / len(groups)
    values["zero_variance_groups"] = sum(g.zero_variance for g in groups) / len(groups)
    logprobs = [lp for r in rollouts for lp in r.completion.logprobs]
    values["entropy"] = -sum(logprobs) / len(logprobs)  # unbiased: the mean surprise of what was sampled
    return values


def _by_task(groups: Sequence[Group]) -> dict[str, float]:
    """pass@1 of each task, where there are several."""
    scores: dict[str, list[float]] = {}
    for group in groups:
        values = (verdict.value("accuracy") for verdict in group.verdicts_G)
        scores.setdefault(group.problem.task, []).extend(value for value in values if value is not None)
    return {f"pass@1/{name}": sum(own) / len(own) for name, own in scores.items() if own} if len(scores) > 1 else {}


def grows(memory: Sequence[float]) -> bool:
    """True where memory has grown without rest: in each fifth of the last `WINDOW` steps, and by a tenth in all.

    >>> grows([1 + 0.01 * i for i in range(WINDOW)]), grows([1.0] * WINDOW), grows([1.0, 9.0])
    (True, False, False)
    """
    if len(memory) < WINDOW:
        return False
    part = WINDOW // 5
    means = [sum(memory[i : i + part]) / part for i in range(len(memory) - WINDOW, len(memory), part)]
    return all(b > a for a, b in itertools.pairwise(means)) and means[-1] > 1.1 * means[0]


def memory_gb() -> float:
    """Resident memory of this process in GiB."""
    return float(psutil.Process().memory_info().rss) / 2**30
