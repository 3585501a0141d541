"""The claims of the paper: what is measured for each, and what has to hold; fixed before the runs, for every seed.

    for claim in CLAIMS:
        numbers = claim.measure(seed)
        claim.holds(numbers)

Source: DeepSeek-R1, arXiv 2501.12948; the sections stand at each claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aha.studio.claims.seed import (
    GENERAL,
    REASONING,
    Missing,
    Seed,
    mean,
    right_within,
    tokens_by_difficulty,
)  # fmt: skip

Numbers = dict[str, float]
Line = tuple[list[float], list[float]]  # x, y
Lines = dict[str, Line]
HARD = "countdown"  # where thinking longer is searching longer
CLEAR, EVEN = 0.05, 0.02  # differences of shares that count as one, and as none
LANGUAGE = 0.01  # a difference of the share of words in one language
STEADY = 3  # steps


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: `says` is the paper's, `asks` is in words what `holds` tests. `draws` gives lines by label."""

    name: str
    says: str
    source: str
    asks: str
    measure: Callable[[Seed], Numbers]
    holds: Callable[[Mapping[str, float]], bool]
    draws: Callable[[Seed], Lines]
    x: str
    y: str
    marks: tuple[str, ...] = ()  # at 0, 1, ... in place of numbers


def pure_rl(run: Seed) -> Numbers:
    """Before and after R1-Zero's training, sampled at temperature 1."""
    return {
        "countdown before": run.before("zero", "pass@1/countdown"),
        "countdown after": run.after("zero", "pass@1/countdown"),
        "all tasks before": run.before("zero", "pass@1"),
        "all tasks after": run.after("zero", "pass@1"),
        "majority vote after": run.after("zero", "cons@k"),
    }


def growth(figure: str, least: float) -> Callable[[Seed], Numbers]:
    """A figure of the responses before and after R1-Zero's training, which does not reward it. Missing where the base
    has less than `least` of it: what grows from next to nothing has no ratio."""

    def measure(run: Seed) -> Numbers:
        before, after = run.before("zero", figure), run.after("zero", figure)
        if before < least:
            raise Missing(f"a {figure} of the base model of at least {least:g}, to compare with,")
        hundreds = run.before("zero", "mean_length") / 100, run.after("zero", "mean_length") / 100
        return {
            "before": before,
            "after": after,
            "ratio": after / before,
            "before, in 100 tokens": before / hundreds[0],
            "after, in 100 tokens": after / hundreds[1],
            "cut off after training": run.after("zero", "truncated"),
        }

    return measure


def language(run: Seed) -> Numbers:
    """Consistency of language, and what the reward for it costs."""
    return {
        "R1-Zero's language": run.reasoning("zero", "language"),
        "R1's language": run.reasoning("r1", "language"),
        "language with the reward": run.reasoning("dev2", "language"),
        "language without": run.reasoning("dev2-plain", "language"),
        "pass@1 with the reward": run.reasoning("dev2"),
        "pass@1 without": run.reasoning("dev2-plain"),
    }


def cold_start(run: Seed) -> Numbers:
    """Steps until R1-Zero's last level, from the base and from the cold start, by the same rewards; how both read."""
    level = mean(run.curve("zero", "pass@1")[1][-STEADY:])
    return {
        "R1-Zero's level": level,
        "steps from the base": _steps_to(run, "zero", level - EVEN),
        "steps from the cold start": _steps_to(run, "dev2-plain", level - EVEN),
        "language from the base": run.reasoning("zero", "language"),
        "language from the cold start": run.reasoning("dev2-plain", "language"),
        "format from the base": run.reasoning("zero", "format"),
        "format from the cold start": run.reasoning("dev2-plain", "format"),
    }


def _steps_to(run: Seed, stage: str, level: float) -> float:
    """The first of `STEADY` steps in a row that have at least `level`."""
    steps, values = run.curve(stage, "pass@1")
    high = [value >= level for value in values]
    found = (step for i, step in enumerate(steps) if i + STEADY <= len(high) and all(high[i : i + STEADY]))
    return float(next(found, float("inf")))


def stages(run: Seed) -> Numbers:
    """Reasoning and general requests through the stages."""
    return {
        **{f"reasoning, {model}": run.reasoning(model) for model in STAGES},
        **{f"requests, {model}": run.share(model, GENERAL, "pass@1") for model in STAGES},
    }


STAGES = ("zero", "dev1", "dev2", "dev3", "r1")


def distilled(run: Seed) -> Numbers:
    """The small model taught, and by RL alone; with the seconds of both, those of sampling the traces among them."""
    return {
        "distilled": run.reasoning("distilled"),
        "RL alone": run.reasoning("small-zero"),
        "seconds of distilling": run.seconds("distilled"),
        "seconds of sampling the traces": sum(run.stage("traces").series("time/step_s")[1]),
        "seconds of RL": run.seconds("small-zero"),
    }


def hacked(run: Seed) -> Numbers:
    """A preference reward alone, for many steps: the reward, and the truth that it stands for, on test problems."""
    reward = run.stage("overdone").series("reward/helpful")[1]
    if len(reward) < 2:
        raise Missing("reward/helpful of overdone")
    few = max(1, len(reward) // 6)
    return {
        "reward of the first sixth": mean(reward[:few]),
        "reward of the last sixth": mean(reward[-few:]),
        "quality before": run.before("overdone", "mark/quality"),
        "quality after": run.after("overdone", "mark/quality"),
        "tokens before": run.before("overdone", "mean_length"),
        "tokens after": run.after("overdone", "mean_length"),
    }


def thinking(run: Seed) -> Numbers:
    """R1's tokens on problems that the base solves often and seldom, and what a smaller budget would cost."""
    samples = run.sampled("r1", HARD)
    easy, middle, hard = tokens_by_difficulty(run.sampled("base", HARD), samples)
    longest = max(sample.tokens for sample in samples)
    return {
        "tokens, easiest third": easy,
        "tokens, middle third": middle,
        "tokens, hardest third": hard,
        "pass@1 within 50 tokens": right_within(samples, 50),
        "pass@1 within 100 tokens": right_within(samples, 100),
        "pass@1 within all": right_within(samples, longest),
    }


def critic(run: Seed) -> Numbers:
    """GRPO and PPO with a critic, from the same base, on as many samples."""
    return {
        "base": run.before("zero", "pass@1"),
        "GRPO": run.after("zero", "pass@1"),
        "PPO, lambda 1": run.after("ppo-1", "pass@1"),
        "PPO, lambda 0.95": run.after("ppo-95", "pass@1"),
        "seconds of GRPO": run.seconds("zero"),
        "seconds of PPO": run.seconds("ppo-1"),
    }


def curves(metric: str, stages_by_label: Mapping[str, str]) -> Callable[[Seed], Lines]:
    """A metric over the steps of stages."""

    def draw(run: Seed) -> Lines:
        lines = {}
        for label, stage in stages_by_label.items():
            steps, values = run.curve(stage, metric)
            lines[label] = ([float(step) for step in steps], values)
        return lines

    return draw


def _by_stage(run: Seed) -> Lines:
    places = [float(number) for number in range(len(STAGES))]
    reasoning = [run.reasoning(model) for model in STAGES]
    return {"reasoning": (places, reasoning), "requests": (places, [run.share(m, GENERAL, "pass@1") for m in STAGES])}


def _by_time(run: Seed) -> Lines:
    """RL's pass@1 in training over its seconds, beside the level that distilling reached and when."""
    _, values = run.curve("small-zero", "pass@1")
    seconds, clock = [], 0.0
    for value in run.stage("small-zero").series("time/step_s")[1]:
        clock += value
        seconds.append(clock)
    if len(seconds) != len(values):
        raise Missing("the time of each step of small-zero")
    level, spent = run.after("distilled", "pass@1"), run.seconds("distilled")
    return {"RL alone": (seconds, values), "distilled": ([spent, max(spent, seconds[-1])], [level, level])}


def _hacking(run: Seed) -> Lines:
    reward = _line(run, "overdone", "reward/helpful")
    quality = [run.before("overdone", "mark/quality"), run.after("overdone", "mark/quality")]
    return {"reward of the model": reward, "quality of test answers": ([0.0, reward[0][-1]], quality)}


def _line(run: Seed, stage: str, metric: str) -> Line:
    steps, values = run.curve(stage, metric)
    return [float(step) for step in steps], values


def _by_budget(run: Seed) -> Lines:
    samples = run.sampled("r1", HARD)
    longest = max(sample.tokens for sample in samples)
    budgets = list(range(10, longest + 10, 10))
    return {"R1": ([float(b) for b in budgets], [right_within(samples, b) for b in budgets])}


def _rises(n: Mapping[str, float]) -> bool:
    requests = [n[f"requests, {model}"] for model in STAGES]
    rises = all(b >= a - EVEN for a, b in itertools.pairwise(requests)) and requests[-1] >= requests[0] + CLEAR
    dips = n["reasoning, dev1"] <= n["reasoning, zero"] - CLEAR
    return rises and dips and n["reasoning, r1"] >= n["reasoning, zero"] - EVEN


def _critic(n: Mapping[str, float]) -> bool:
    learns = n["PPO, lambda 1"] >= n["base"] + CLEAR and n["PPO, lambda 1"] >= n["PPO, lambda 0.95"] + CLEAR
    return learns and n["GRPO"] >= n["PPO, lambda 1"] - EVEN


def _one_language(n: Mapping[str, float]) -> bool:
    mixes = n["R1-Zero's language"] <= n["R1's language"] - LANGUAGE
    mends = n["language with the reward"] >= max(0.99, n["language without"] + LANGUAGE)
    return mixes and mends and n["pass@1 without"] - n["pass@1 with the reward"] <= CLEAR


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "Pure RL", "RL with rule rewards alone makes a base model reason; a majority vote adds to it.",
        "v1 2.2, figure 2: AIME 15.6 to 71.0 %, with votes 86.7 %",
        "countdown from 10-25 % to at least 85 %; the vote above pass@1",
        pure_rl,
        lambda n: 0.10 <= n["countdown before"] <= 0.25 and n["countdown after"] >= 0.85
        and n["majority vote after"] > n["all tasks after"],
        lambda run: {task: _line(run, "zero", f"pass@1/{task}") for task in REASONING}, "step", "pass@1 of R1-Zero",
    ),
    Claim(
        "Length", "Responses grow by themselves.", "v1 2.2.4", "at least 1.5 times as long",
        growth("mean_length", 1.0), lambda n: n["ratio"] >= 1.5,
        curves("response/mean_length", {"R1-Zero": "zero"}), "step", "tokens a response",
    ),
    Claim(
        "Reflection", "Words such as \"wait\" come by themselves.", "v1 2.2.4; v2 C.2",
        "at least twice as many a response, and not fewer in as many tokens",
        growth("reflection_words", 0.05),
        lambda n: n["ratio"] >= 2 and n["after, in 100 tokens"] >= n["before, in 100 tokens"],
        curves("response/reflection_words", {"R1-Zero": "zero"}), "step", "reflection words a response",
    ),
    Claim(
        "Language", "R1-Zero mixes languages; a reward for one language mends that at a small cost.",
        "v1 2.3.2; v2 B.6",
        "R1-Zero at least a point below R1; 99 % with the reward, at least a point less without; at most 5 points of "
        "pass@1 for it",
        language, _one_language,
        curves("reward/language", {"with the reward": "dev2", "without": "dev2-plain"}), "step",
        "words in the question's language",
    ),
    Claim(
        "Cold start", "A cold start reaches R1-Zero's score in fewer steps, and is readable.", "v1 2.3.1",
        "fewer steps to within 2 points of R1-Zero's last level, by the same rewards; language and format above "
        "R1-Zero's. The cold start itself is made of R1-Zero's outputs, whose steps are not counted",
        cold_start,
        lambda n: n["steps from the cold start"] < n["steps from the base"]
        and n["language from the cold start"] > n["language from the base"]
        and n["format from the cold start"] >= n["format from the base"],
        curves("pass@1", {"R1-Zero": "zero", "from the cold start": "dev2-plain"}), "step",
        "pass@1, all reasoning tasks",
    ),
    Claim(
        "Stages", "General requests rise through the stages to R1; reasoning dips at Dev1 and returns.", "v2 table 3",
        "requests fall at no stage by more than 2 points, and R1 is 5 above R1-Zero; reasoning at least 5 points lower "
        "at Dev1 than at R1-Zero, at R1 within 2 points or above",
        stages, _rises, _by_stage, "model", "pass@1", STAGES,
    ),
    Claim(
        "Distilling", "Teaching a small model the traces beats RL on it at equal compute.", "v1 4.1, table 6",
        "distilled at least 5 points above RL alone, in no more seconds, those of sampling the traces among them",
        distilled,
        lambda n: n["distilled"] >= n["RL alone"] + CLEAR
        and n["seconds of distilling"] + n["seconds of sampling the traces"] <= n["seconds of RL"],
        _by_time, "seconds of training", "pass@1 in training; distilled: of tests",
    ),
    Claim(
        "Reward hacking", "A preference reward for too long is hacked: reward up, truth down.",
        "v2 B.5, figure 6: the reward rises while the score of programs falls",
        "reward at least 5 points higher at the end than at first, quality of test answers at least 5 points lower",
        hacked,
        lambda n: n["reward of the last sixth"] >= n["reward of the first sixth"] + CLEAR
        and n["quality after"] <= n["quality before"] - CLEAR,
        _hacking, "step", "mean of helpful requests",
    ),
    Claim(
        "Thinking", "More tokens go to harder problems, and more tokens solve more.",
        "v2 E.4: under 7,000 tokens on easy problems, over 18,000 on the hardest",
        "the hardest third at least 1.2 times the easiest, in responses that end; each larger budget 5 points more",
        thinking,
        lambda n: n["tokens, hardest third"] >= 1.2 * n["tokens, easiest third"]
        and n["pass@1 within 50 tokens"] + CLEAR <= n["pass@1 within 100 tokens"] <= n["pass@1 within all"] - CLEAR,
        _by_budget, "tokens allowed", "pass@1 on countdown",
    ),
    Claim(
        "GRPO and PPO", "GRPO does as well as PPO with a critic, which needs its lambda tuned.", "v2 A.3, figure 4",
        "PPO with lambda 1 at least 5 points above the base and PPO with lambda 0.95; GRPO at most 2 points under it. "
        "PPO has its KL in the reward, and was seen before on countdown alone (docs/algorithms.md)",
        critic,
        _critic,
        curves("pass@1", {"GRPO": "zero", "PPO, lambda 1": "ppo-1", "PPO, lambda 0.95": "ppo-95"}), "step",
        "pass@1, all reasoning tasks",
    ),
)  # fmt: skip
