"""A run folder of the pipeline as a run leaves it, finished or broken off in any stage, with numbers that rise."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml
from run_folders import HOSTILE, STARTED, evaluation, rl_line, samples, write

from aha.choices import PreferenceChoice
from aha.config import CollectStage, EvaluateStage, Recipe, RewardModelStage, RLStage, SFTStage

RIGHT = {
    "base": 0.12, "zero": 0.51, "dev1": 0.33, "dev2": 0.58, "dev3": 0.62, "r1": 0.66, "distilled": 0.41,
    "small-zero": 0.19,
}  # fmt: skip


RULES = {"accuracy": 1.0, "format": 1.0}
LEAST = {**RULES, "language": 0.95, "repetition": -0.3}
TASKS = ("countdown", "logic", "functions", "requests", "arithmetic")


def whole_recipe() -> Recipe:
    """Every stage of R1, from one base model and a smaller sibling."""
    last = {name: PreferenceChoice(model=name, last_share=0.25) for name in ("helpful", "safety")}
    shown = CollectStage(questions=768, samples=4, least=LEAST, examples=("cold",), ways={"few-shot": 1.0})
    pairs = RewardModelStage(start="dev3", data="rules:requests", held_back=500)
    return Recipe(
        name="r1", about="all stages", task={"countdown": 4.0, "logic": 3.0},
        stages={
            "zero": RLStage(steps=30, rewards=RULES),
            "cold": CollectStage(start="zero", questions=768, samples=4, least=LEAST, written={"requests": 200}),
            "cold-asked": shown,
            "dev1": SFTStage(data=("cold", "cold-asked")),
            "dev2": RLStage(start="dev1", steps=30, rewards={**RULES, "language": 1.0}),
            "traces": CollectStage(start="dev2", questions=2048, samples=4, keep=2, least=LEAST),
            "dev3": SFTStage(data=("traces",)),
            "helpful": pairs,
            "safety": pairs.model_copy(update={"loss": "pointwise"}),
            "r1": RLStage(start="dev3", steps=24, rewards={**RULES, "language": 1.0}, preferences=last),
            "distilled": SFTStage(start="model:tiny-small", data=("traces",)),
            "small-zero": RLStage(start="model:tiny-small", steps=30, rewards=RULES),
            "evaluated": EvaluateStage(models=tuple(RIGHT), tasks=dict.fromkeys(TASKS, 128), samples=4),
        },
    )  # fmt: skip


def short_recipe() -> Recipe:
    """A stage of each kind."""
    whole = whole_recipe()
    changes: dict[str, dict[str, Any]] = {
        "zero": {}, "cold": {}, "dev1": {"data": ("cold",)}, "helpful": {"start": "dev1"},
        "evaluated": {"models": ("base", "zero", "dev1")},
    }  # fmt: skip
    return whole.model_copy(update={"stages": {n: whole.stages[n].model_copy(update=c) for n, c in changes.items()}})


def make_many(
    folder: Path, broken: str = "", state: str = "failed", *, review: bool = False, whole: bool = False
) -> Path:
    """A run of either recipe; the stage `broken` is half made and in `state`, those after it have
    not begun."""
    recipe = whole_recipe() if whole else short_recipe()
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    write(
        folder / "run.json",
        {"aha": "0.1.0", "python": "3.11.7", "torch": "2.9.0", "machine": "laptop", "seed": 0, "device": "cpu"},
    )
    clock = STARTED
    events: list[dict[str, Any]] = [{"time": clock, "event": "start", "recipe": "r1"}]
    ended = False
    for number, name in enumerate(recipe.stages, 1):
        path = folder / "stages" / f"{number:02d}-{name}"
        path.mkdir(parents=True)
        if ended:
            continue
        ended = name == broken
        clock = _stage(path, recipe, name, clock, state if ended else "finished")
        if review and isinstance(recipe.stages[name], CollectStage):
            _review(path)
        if not ended:
            events.append({"time": clock, "event": "stage finished", "stage": name})
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def _stage(path: Path, recipe: Recipe, name: str, clock: float, state: str) -> float:
    """Write one stage; returns when it ended."""
    stage, done = recipe.stages[name], state == "finished"
    rng = random.Random(name)
    lines, result = _made(path, recipe, name, rng, done)
    planned = len(lines)
    shown = lines if done else lines[: max(1, planned // 2)]
    reason = "RunFailed: step 3: the numerics gate found a gap of 0.9, more than 0.1" if state == "failed" else None
    reason = "12 of 40 conversations wait for review" if state == "stopped" else reason
    inputs = {"stage": "ab12", "start": "cd34", "data": {}}
    about = {"name": name, "kind": stage.kind, "state": state, "planned_steps": planned, "inputs": inputs}
    write(path / "stage.json", {**about, "result": result if done else None, "reason": reason, "commit": "a47cdfd"})
    rows = [{"step": i, "time": clock + 7.5 * i, **line} for i, line in enumerate(shown, 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return clock + 7.5 * len(shown) + 2


def _made(
    path: Path, recipe: Recipe, name: str, rng: random.Random, done: bool
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Files beside the metrics; the metrics' lines and the result."""
    stage = recipe.stages[name]
    if isinstance(stage, CollectStage):
        return _collect(path, stage, rng, done)
    if isinstance(stage, RewardModelStage):
        return _reward(path, stage, rng, done)
    if isinstance(stage, EvaluateStage):
        return _evaluate(path, stage, rng, done)
    both = {when: {**evaluation(when == "after"), "task": "mixture"} for when in ("before", "after")}
    shown = samples()
    if not done:
        del both["after"], shown["after"]
    write(path / "evaluation.json", both)
    write(path / "samples.json", shown)
    (path / "model").mkdir()
    if isinstance(stage, SFTStage):
        losses = [0.3 + 1.6 * math.exp(-i / 12) + rng.gauss(0, 0.02) for i in range(48)]
        rates = [1e-3 * min(1, (i + 1) / 5) * (0.55 + 0.45 * math.cos(math.pi * i / 48)) for i in range(48)]
        extra = {"grad_norm": 0.4, "tokens": 9000.0, "tokens_per_s": 17_800.0, "update_refused": 0.0}
        return [{"loss": a, "lr": b, **extra} for a, b in zip(losses, rates, strict=True)], both["before"]
    assert isinstance(stage, RLStage)
    lines = [_plain(rl_line(rng, step, stage.steps)) for step in range(1, stage.steps + 1)]
    for step, line in enumerate(lines):
        if "language" in stage.rewards:
            line["reward/language"] = 0.9 + 0.003 * step
        if stage.preferences and step >= 18:
            line |= {"reward/helpful": 0.5 + 0.02 * (step - 18), "reward/safety": 0.8}
    return lines, {"steps": stage.steps, "train_s": 200.0}


def _plain(line: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in ("step", "time")}


def _collect(
    path: Path, stage: CollectStage, rng: random.Random, done: bool
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    lines = []
    for _ in range(-(-stage.questions // 64)):
        kept = rng.randint(20, 40)
        wrong = rng.randint(40, 64 * stage.samples - kept - 60)
        dropped = {"accuracy": wrong, "language": 12, "format": 9, "repetition": 3, "contaminated": 1}
        rest = {"enough": 64 * stage.samples - kept - sum(dropped.values())}
        counts = {f"dropped/{name}": float(n) for name, n in {**dropped, **rest}.items()}
        lines.append({"asked": 64.0, "kept": float(kept), "questions_kept": float(kept), **counts, "time/step_s": 7.0})
    rows = [
        _conversation(f"c-{i}", task, f"Question {i} of {task}?", answer)
        for i, (task, answer) in enumerate(
            [("countdown", HOSTILE), ("countdown", "<think> a </think><answer>3*4</answer>"),
             ("logic", "<think> wait, Jo </think><answer>B</answer>"), ("requests", "你好")]
        )
    ]  # fmt: skip
    (path / "parts").mkdir()
    for number, line in enumerate(lines, 1):
        write(path / "parts" / f"part-{number:05d}.json", {"values": line, "rows": rows})
    kept = int(sum(line["kept"] for line in lines))
    table = {
        "countdown": {"samples": kept - 9, "turns": 1.0, "tokens": 118.4},
        "logic": {"samples": 9, "turns": 1.0, "tokens": 61.0},
        "requests": {"samples": 200, "turns": 1.25, "tokens": None},
        "total": {"samples": kept + 200, "turns": 1.1, "tokens": 116.9},
    }
    if done:
        (path / "data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        write(path / "table.json", table)
    return lines, {"conversations": kept + 200, "asked": stage.questions, "questions_kept": 0.5, "table": table}


def _conversation(name: str, task: str, question: str, response: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"id": name, "task": task, "language": "en", "messages": messages, "response": response, "tokens": 57}


def _review(path: Path) -> None:
    decisions = ["accept"] * 20 + ["edit"] * 5 + ["reject"] * 3 + [""] * 12
    rows = [{**_conversation(f"c-{i}", "countdown", "q", "a"), "decision": d} for i, d in enumerate(decisions)]
    (path / "review.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _reward(
    path: Path, stage: RewardModelStage, rng: random.Random, done: bool
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    lines = []
    for i in range(62):
        fall = math.exp(-i / 15)
        agreement = min(1.0, 0.96 - 0.45 * fall + rng.gauss(0, 0.03))
        extra = {"grad_norm": 0.5, "lr": 5e-4, "update_refused": 0.0, "time/step_s": 0.3}
        lines.append({"loss": 0.1 + 0.6 * fall + rng.gauss(0, 0.01), "agreement": agreement, **extra})
    kinds = ("better is longer", "better is shorter", "as long as the other")
    if stage.loss == "pointwise":
        kinds = ("safe", "unsafe")
    rows = [{"kind": rng.choice(kinds), "margin": rng.gauss(2.2, 1.4)} for _ in range(stage.held_back)]
    rows = [{**row, "right": row["margin"] > 0} for row in rows]
    agreement = sum(row["right"] for row in rows) / len(rows)
    if done:
        write(path / "held_back.json", {"rows": rows})
        write(path / "evaluation.json", {"after": {"agreement": agreement, "asked": len(rows)}})
        (path / "model").mkdir()
    return lines, {"steps": 62, "agreement": agreement, "asked": len(rows)}


def _evaluate(
    path: Path, stage: EvaluateStage, rng: random.Random, done: bool
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    lines = []
    (path / "parts").mkdir()
    for model in stage.models:
        for place, task in enumerate(stage.tasks):
            right = min(0.99, max(0.0, RIGHT[model] * (1.3 - 0.18 * place) + rng.gauss(0, 0.02)))
            figures: dict[str, Any] = {
                "task": task, "asked": 128, "n": 4, "k": 4, "pass@1": right,
                "pass@1_stderr": math.sqrt(right * (1 - right) / 200), "pass@k": min(1.0, right * 1.4), "cons@k": right,
                "format": 0.7 + 0.3 * RIGHT[model], "mean_length": 40 + 100 * RIGHT[model], "truncated": 0.01,
                "reflection_words": 1.0, "language": 0.9 + 0.1 * RIGHT[model],
            }  # fmt: skip
            if task == "requests":
                figures |= {"mark/quality": 0.4 + 0.5 * RIGHT[model], "mark/refuses the harmful": 0.9}
            table.setdefault(model, {})[task] = figures
            values = {f"{model}/{task}/{n}": v for n, v in figures.items() if isinstance(v, float)}
            lines.append(values)
            if done or len(lines) <= len(stage.models) * len(stage.tasks) // 2:
                write(path / "parts" / f"part-{len(lines):05d}.json", {"values": values, "figures": figures})
    if done:
        write(path / "table.json", table)
        (path / "table.md").write_text("| |\n")
    return lines, {model: {task: f["pass@1"] for task, f in row.items()} for model, row in table.items()}
