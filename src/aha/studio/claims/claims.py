"""The claims of the paper: what is measured for each, and what has to hold; fixed before the runs, for every seed.

    for claim in CLAIMS:
        numbers = claim.measure(seed)
        claim.holds(numbers)

Source: DeepSeek-R1, arXiv 2501.12948; the sections stand at each claim.
"""

from __future__ import annotations

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


def growth(figure: str) -> Callable[[Seed], Numbers]:
    """A figure of the responses before and after R1-Zero's training, which does not reward it."""

    def measure(run: Seed) -> Numbers:
        before, after = run.before("zero", figure), run.after("zero", figure)
        if not before:
            raise Missing(f"a {figure} of the base model above 0, to compare with,")
        return {"before": before, "after": after, "ratio": after / before}

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
    """Steps until R1-Zero's last level, from the base and from the cold start; and how the two read."""
    level = mean(run.curve("zero", "pass@1")[1][-3:])
    return {
        "R1-Zero's level": level,
        "steps from the base": _steps_to(run, "zero", level),
        "steps from the cold start": _steps_to(run, "dev2", level),
        "R1-Zero's language": run.reasoning("zero", "language"),
        "Dev2's language": run.reasoning("dev2", "language"),
        "R1-Zero's format": run.reasoning("zero", "format"),
        "Dev2's format": run.reasoning("dev2", "format"),
    }


def _steps_to(run: Seed, stage: str, level: float) -> float:
    steps, values = run.curve(stage, "pass@1")
    return float(next((step for step, value in zip(steps, values, strict=True) if value >= level), float("inf")))


def stages(run: Seed) -> Numbers:
    """Reasoning and general requests through the stages."""
    return {
        **{f"reasoning, {model}": run.reasoning(model) for model in STAGES},
        **{f"requests, {model}": run.share(model, GENERAL, "pass@1") for model in STAGES},
    }


STAGES = ("zero", "dev1", "dev2", "dev3", "r1")


def distilled(run: Seed) -> Numbers:
    """The small model taught, and by RL alone; seconds of training and of sampling the traces."""
    return {
        "distilled": run.reasoning("distilled"),
        "RL alone": run.reasoning("small-zero"),
        "seconds of distilling": run.seconds("distilled"),
        "seconds of RL": run.seconds("small-zero"),
    }


def hacked(run: Seed) -> Numbers:
    """A preference reward alone, for many steps: the reward, and the truth that it stands for."""
    _, reward = run.curve("overdone", "reward/helpful")
    _, truth = run.curve("overdone", "reward/accuracy")
    return {
        "reward at first": reward[2] if len(reward) > 2 else reward[0],
        "reward at last": reward[-1],
        "truth at its best": max(truth),
        "truth at last": truth[-1],
        "quality before": run.before("overdone", "mark/quality"),
        "quality after": run.after("overdone", "mark/quality"),
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
    return {
        "reward of the model": _line(run, "overdone", "reward/helpful"),
        "truth, by the rules": _line(run, "overdone", "reward/accuracy"),
    }


def _line(run: Seed, stage: str, metric: str) -> Line:
    steps, values = run.curve(stage, metric)
    return [float(step) for step in steps], values


def _by_budget(run: Seed) -> Lines:
    samples = run.sampled("r1", HARD)
    longest = max(sample.tokens for sample in samples)
    budgets = list(range(10, longest + 10, 10))
    return {"R1": ([float(b) for b in budgets], [right_within(samples, b) for b in budgets])}


def _rises(n: Mapping[str, float]) -> bool:
    dips = n["reasoning, dev1"] < n["reasoning, zero"]
    returns = n["reasoning, r1"] >= n["reasoning, zero"] - 0.02
    general = n["requests, r1"] >= max(n[f"requests, {model}"] for model in STAGES) - 0.01
    return dips and returns and general and n["requests, r1"] > n["requests, zero"]


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
        growth("mean_length"), lambda n: n["ratio"] >= 1.5,
        curves("response/mean_length", {"R1-Zero": "zero"}), "step", "tokens a response",
    ),
    Claim(
        "Reflection", "Words such as \"wait\" come by themselves.", "v1 2.2.4; v2 C.2",
        "at least twice as many a response",
        growth("reflection_words"), lambda n: n["ratio"] >= 2,
        curves("response/reflection_words", {"R1-Zero": "zero"}), "step", "reflection words a response",
    ),
    Claim(
        "Language", "R1-Zero mixes languages; a reward for one language mends that at a small cost.",
        "v1 2.3.2; v2 B.6",
        "R1-Zero below R1; 99 % with the reward, less without; at most 5 points of pass@1 for it",
        language,
        lambda n: n["R1-Zero's language"] < n["R1's language"] and n["language with the reward"] >= 0.99
        and n["language without"] < n["language with the reward"]
        and n["pass@1 without"] - n["pass@1 with the reward"] <= 0.05,
        curves("reward/language", {"with the reward": "dev2", "without": "dev2-plain"}), "step",
        "words in the question's language",
    ),
    Claim(
        "Cold start", "A cold start reaches R1-Zero's score in fewer steps, and is readable.", "v1 2.3.1",
        "fewer steps to R1-Zero's last level; language and format above R1-Zero's",
        cold_start,
        lambda n: n["steps from the cold start"] < n["steps from the base"]
        and n["Dev2's language"] > n["R1-Zero's language"] and n["Dev2's format"] >= n["R1-Zero's format"],
        curves("pass@1", {"R1-Zero": "zero", "from the cold start": "dev2"}), "step", "pass@1, all reasoning tasks",
    ),
    Claim(
        "Stages", "General requests rise through the stages to R1; reasoning dips at Dev1 and returns.", "v2 table 3",
        "requests best at R1 (within a point); reasoning lower at Dev1 than at R1-Zero, at R1 within 2 points or above",
        stages, _rises, _by_stage, "model", "pass@1", STAGES,
    ),
    Claim(
        "Distilling", "Teaching a small model the traces beats RL on it at equal compute.", "v1 4.1, table 6",
        "distilled above RL alone, in no more seconds of training (the traces were made for R1 anyway)",
        distilled,
        lambda n: n["distilled"] > n["RL alone"] and n["seconds of distilling"] <= n["seconds of RL"],
        _by_time, "seconds of training", "pass@1 in training; distilled: of tests",
    ),
    Claim(
        "Reward hacking", "A preference reward for too long is hacked: reward up, truth down.",
        "v2 B.5, figure 6: the reward rises while the score of programs falls",
        "reward higher at the end, truth at least 5 points under its best",
        hacked,
        lambda n: n["reward at last"] > n["reward at first"] and n["truth at last"] <= n["truth at its best"] - 0.05,
        _hacking, "step", "mean of all responses",
    ),
    Claim(
        "Thinking", "More tokens go to harder problems, and more tokens solve more.",
        "v2 E.4: under 7,000 tokens on easy problems, over 18,000 on the hardest",
        "the hardest third at least 1.2 times the easiest; each larger budget right more often",
        thinking,
        lambda n: n["tokens, hardest third"] >= 1.2 * n["tokens, easiest third"]
        and n["pass@1 within 50 tokens"] < n["pass@1 within 100 tokens"] < n["pass@1 within all"],
        _by_budget, "tokens allowed", "pass@1 on countdown",
    ),
    Claim(
        "GRPO and PPO", "GRPO does as well as PPO with a critic, which needs its lambda tuned.", "v2 A.3, figure 4",
        "GRPO above PPO with lambda 0.95, and at most 2 points under PPO with lambda 1",
        critic,
        lambda n: n["GRPO"] > n["PPO, lambda 0.95"] and n["GRPO"] >= n["PPO, lambda 1"] - 0.02,
        curves("pass@1", {"GRPO": "zero", "PPO, lambda 1": "ppo-1", "PPO, lambda 0.95": "ppo-95"}), "step",
        "pass@1, all reasoning tasks",
    ),
)  # fmt: skip
