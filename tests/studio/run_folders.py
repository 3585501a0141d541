"""A run folder as a run leaves it: an R1-Zero stage that learns, and variants that are live, crashed or supervised."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

STARTED = 1_790_000_000.0
HOSTILE = (
    "<think>3*5=15: <script>alert('x')</script> & 15+7=22, [bold]no[/bold] \x1b[31m 等等，再看 </think>"
    "<answer>9</answer>"
)
LONG = (
    "<think> let me try. 4*7=28: 28+9=37,  no, 28-9=19,  no. wait, 4+7=11: 11+9=20,  no, 11*9=99,  no. "
    "hmm, wait, 4+9=13: 13+7=20,  no, 13*7=91,  no. however, 9-4=5: 5*7=35,  yes! let me check, 9-4=5, 5*7=35."
    "</think><answer>(9-4)*7</answer>"
)


def rl_line(rng: random.Random, step: int, planned: int, every: int = 10) -> dict[str, float]:
    """One line of an RL stage's metrics."""
    rise = 1 / (1 + math.exp(-(step / planned - 0.45) * 9))
    wobble = rng.gauss(0, 0.025)
    accuracy, form = 0.14 + 0.5 * rise + wobble, min(0.995, 0.42 + 0.55 * (1 - math.exp(-step / 9)) + wobble / 3)
    length = 46 + 95 * rise + rng.gauss(0, 5)
    line: dict[str, float] = {
        "reward/total": accuracy + form,
        "reward/accuracy": accuracy,
        "reward/format": form,
        "pass@1": accuracy,
        "format": form,
        "response/mean_length": length,
        "response/max_length": min(320, length * 2.6 + rng.gauss(0, 14)),
        "response/truncated": max(0.0, 0.01 + 0.02 * rise + rng.gauss(0, 0.004)),
        "response/reflection_words": max(0.02, 0.35 + 1.7 * rise + rng.gauss(0, 0.1)),
        "response/mixed_language": 0.11 - 0.05 * rise,
        "response/arithmetic_right": 0.95 + 0.04 * rise,
        "loss": rng.gauss(0.002, 0.004),
        "kl": 0.0002 + 0.03 * (step / planned) ** 1.4 * (1 + rng.gauss(0, 0.1)),
        "entropy": 0.62 - 0.33 * rise + rng.gauss(0, 0.01),
        "clip_share": 0.0004,
        "zero_variance_groups": 0.2 + 0.1 * rise,
        "grad_norm": 0.3 + abs(rng.gauss(0, 0.08)),
        "lr": 1e-4,
        "gap/mean": 2.1e-4,
        "gap/max": 0.0081,
        "rollout/tokens_per_s": 15500 - 2600 * rise + rng.gauss(0, 300),
        "learn/tokens_per_s": 21200 + rng.gauss(0, 500),
        "time/rollout_s": 1.5 + 1.6 * rise,
        "time/score_s": 0.05,
        "time/learn_s": 1.0 + 1.2 * rise,
        "time/publish_s": 0.02,
        "time/step_s": 2.61 + 2.8 * rise,
        "memory/rss_gb": 1.12 + 0.002 * step,
    }
    if step % every == 0 and step < planned:
        line["eval/pass@1"] = 0.14 + 0.5 * rise + rng.gauss(0, 0.015)
    return {"step": step, "time": STARTED + 60 + 4.1 * step, **line}


def evaluation(after: bool) -> dict[str, Any]:
    """One side of evaluation.json."""
    values = (
        (0.638, 0.0241, 0.905, 0.78, 0.987, 139.2, 0.031, 2.04, 0.062, 0.991)
        if after
        else (0.143, 0.0098, 0.742, 0.31, 0.421, 46.8, 0.012, 0.36, 0.113, 0.952)
    )
    names = (
        "pass@1",
        "pass@1_stderr",
        "pass@16",
        "cons@16",
        "format",
        "mean_length",
        "truncated",
        "reflection_words",
        "mixed_language",
        "arithmetic_right",
    )
    return {
        "task": "countdown",
        "asked": 64,
        "n": 16,
        "k": 16,
        **dict(zip(names, values, strict=True)),
        "arithmetic_claims": 9100.0,
    }


def sample(question: str, response: str, right: bool, why: str, turned_back: bool = False) -> dict[str, Any]:
    """One entry of samples.json."""
    form = 1.0 if "</think><answer>" in response else 0.0
    return {
        "question": question,
        "response": response,
        "score": {"accuracy": float(right), "format": form},
        "why": {"accuracy": why, "format": ""},
        "length": len(response) // 3,
        "turned_back": turned_back,
    }


def samples() -> dict[str, Any]:
    """samples.json, with what a model may well write and a page must not obey."""
    ask = [
        "Using each of 4, 7, 9 once and + - * /, make 35.",
        "Using each of 3, 5, 7 once and + - * /, make 22.",
        "用2、6、8各一次，经过+-*/得到20。",
    ]
    return {
        "before": [
            sample(ask[0], " i guess. so it is 4+7*9", False, "no answer"),
            sample(ask[1], HOSTILE, False, "9 uses [9], given were [3, 5, 7] <b>"),
            sample(ask[2], "<think>目标是20。2*6=12: 12+8=20,  对了！</think>2*6+8", False, "no answer"),
        ],
        "after": [
            sample(ask[0], LONG, True, "(9-4)*7 = 35", True),
            sample(
                ask[1], "<think> we need 22. 3*5=15: 15+7=22,  yes!</think><answer>3*5+7</answer>", True, "3*5+7 = 22"
            ),
            sample(
                ask[2],
                "<think>我来试试。2+6=8: 8*8=64, 不行，8+8=16, 不行。"
                "等等，2*6=12: 12+8=20, 对了！检查，2*6=12, 12+8=20."
                "</think><answer>2*6+8</answer>",
                True,
                "2*6+8 = 20",
                True,
            ),
        ],
    }


def write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def recipe(planned: int) -> dict[str, Any]:
    """recipe.yaml."""
    return {
        "name": "demo",
        "about": "R1-Zero from the embedded base model on a laptop CPU, in minutes",
        "model": "tiny",
        "task": "countdown",
        "template": "short",
        "seed": 0,
        "dtype": "fastest",
        "stages": {
            "zero": {
                "kind": "rl",
                "steps": planned,
                "rewards": {"accuracy": 1.0, "format": 1.0},
                "rollouts": {"questions": 32, "group": 16, "max_tokens": 320},
                "algorithm": {"name": "grpo"},
                "optimiser": {"lr": 1e-4},
            }
        },
    }


def make_run(folder: Path, state: str = "finished", steps: int = 60, planned: int = 60) -> Path:
    """A run with one RL stage, in any state."""
    stage = folder / "stages" / "01-zero"
    stage.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(planned), sort_keys=False), encoding="utf-8")
    write(
        folder / "run.json",
        {
            "aha": "0.1.0",
            "python": "3.11.7",
            "torch": "2.9.0",
            "transformers": "5.1.0",
            "machine": "laptop",
            "cpu": "Intel(R) Core(TM) i5-1135G7 @ 2.40GHz",
            "device": "cpu",
            "dtype": "bfloat16",
            "threads": 2,
            "seed": 0,
            "commit": "5acca79",
            "started": "2026-09-21T14:13:20+00:00",
        },
    )
    reason = "RunFailed: step 31: the numerics gate found a gap of 0.9, more than 0.1" if state == "failed" else None
    write(
        stage / "stage.json",
        {
            "name": "zero",
            "state": state,
            "planned_steps": planned,
            "reason": reason,
            "result": {"steps": steps} if state == "finished" else None,
        },
    )
    rng = random.Random(1)
    lines = [json.dumps(rl_line(rng, step, planned)) for step in range(1, steps + 1)]
    tail = "" if state == "finished" else '{"step": 99, "time": 17900'
    (stage / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines) + tail, encoding="utf-8")
    both = {"before": evaluation(False), "after": evaluation(True)}
    shown = samples()
    if state != "finished":
        del both["after"], shown["after"]
    write(stage / "evaluation.json", both)
    write(stage / "samples.json", shown)
    return folder


def add_supervised(folder: Path, steps: int = 200) -> None:
    """A stage of supervised steps after those that are there."""
    stage = folder / "stages" / "02-distil"
    stage.mkdir(parents=True)
    write(stage / "stage.json", {"name": "distil", "state": "running", "planned_steps": 400})
    rng = random.Random(2)
    lines = [
        {
            "step": s,
            "time": STARTED + s,
            "loss": 0.6 + 2.4 * math.exp(-s / 40) + rng.gauss(0, 0.03),
            "tokens": 10_602.0,
            "tokens_per_s": 17_800 + rng.gauss(0, 200),
            "grad_norm": 0.3,
            "lr": 2e-3,
        }
        for s in range(1, steps + 1)
    ]
    (stage / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
