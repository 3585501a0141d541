"""Plans of whole recipes: every kind of stage, known facts, and what a user sees."""

from __future__ import annotations

import doctest
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from aha import cli
from aha.config import Recipe, override, validate
from aha.errors import UserError
from aha.pipeline.recipes import RECIPES, recipe
from aha.planning import show
from aha.planning.hardware import GIB, GPUS, Device
from aha.planning.plan import Assumptions, Plan, page_tokens, plan, plan_on, prompt_tokens
from aha.planning.show import shown

# As `hardware.here` measured the machine of benchmarks/RESULTS.md with nothing else running.
EPYC = Device("2 cores of an AMD EPYC", 16 * GIB, 441e9, 207e9, 33e9, gpu=False)


def made(name: str, gpus: str = "8xH100", mean: float | None = None, **assumed: Any) -> Plan:
    return plan_on(recipe(name), gpus, Assumptions(mean=mean, **assumed))


def seconds(found: Plan, stage: int, *names: str) -> float:
    """Expected, of some phases of a stage."""
    return sum(p.expected.seconds for p in found.stages[stage].phases if p.name in names and p.expected)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_plan(name: str) -> None:
    found = made(name, mean=100)
    assert [stage.name for stage in found.stages] == list(recipe(name).stages)
    for stage in found.stages:
        assert stage.phases and stage.fit.size > 0 and stage.parameters >= stage.active > 0
        for phase in stage.phases:
            assert phase.expected is not None and 0 <= phase.expected.seconds <= phase.most.seconds * (1 + 1e-9)
    data = json.loads(json.dumps(found.as_dict()))
    assert data["most"]["gpu_hours"] == pytest.approx(8 * data["most"]["seconds"] / 3600)
    assert data["most"]["dollars"] == pytest.approx(2.5 * data["most"]["gpu_hours"])
    assert all(part["formula"] for stage in data["stages"] for part in stage["memory"])
    assert all(work["most"]["formula"] for stage in data["stages"] for work in stage["work"])


def test_every_kind_of_stage() -> None:
    data = recipe("r1").model_dump(mode="python")
    pretrained = recipe("tiny-pretrain").model_dump(mode="python")["stages"]["base"]
    compared = {"kind": "compare", "questions": 40, "judge": {"model": "dev3"}, "start": "dev3", "max_tokens": 100}
    before = {name: stage for name, stage in data["stages"].items() if name != "helpful"}
    data["stages"] = {
        "made": pretrained, **{n: s for n, s in before.items() if n not in ("r1", "evaluated", "safety")},
        "compared": compared, "helpful": {**data["stages"]["helpful"], "data": "compared"},
        "safety": data["stages"]["safety"], "r1": data["stages"]["r1"],
    }  # fmt: skip
    found = plan(validate(data), 1, EPYC, Assumptions(prompt=30))
    kinds = {stage.kind for stage in found.stages}
    assert kinds == {"pretrain", "rl", "collect", "sft", "compare", "reward-model"}
    by_name = {stage.name: stage for stage in found.stages}
    assert by_name["compared"].sampled == (40 * 2 * 100, None)
    assert "the model that is asked as judge is not counted" in by_name["compared"].notes
    assert by_name["helpful"].trained[0] == 40 * 2 * (8192 - 30)  # 40 pairs, of 100,000 at most
    parts = {part.name for part in by_name["r1"].fit.parts}
    assert {"reference", "reward model, helpful", "reward model, safety", "KV cache"} <= parts
    assert not {"reference", "KV cache"} & {part.name for part in by_name["helpful"].fit.parts}


def test_tokens_of_the_demo() -> None:
    stage = made("demo", mean=85).stages[0]
    assert stage.sampled == (40 * 512 * 320 + 2 * 250 * 16 * 320 + 3 * 64 * 320, (40 * 512 + 8000 + 192) * 85)
    assert stage.trained == (40 * 512 * 320, 40 * 512 * 85)
    assert [p.name for p in stage.phases if "prompts" not in p.name] == [
        "rollouts", "reference", "learn", "evaluations", "interim looks",
    ]  # fmt: skip


def test_what_an_algorithm_adds() -> None:
    def phases(*settings: str) -> dict[str, float]:
        changed = override(recipe("demo"), settings)
        return {p.name: p.most.flops for p in plan(changed, 1, GPUS["H100"], Assumptions()).stages[0].phases}

    grpo = phases()
    assert phases("algorithm.options={kl_beta: 0}").keys() == grpo.keys() - {"reference"}
    assert {"critic, values", "critic, learn"} <= phases("algorithm.name=ppo").keys()
    assert phases("algorithm.name=dapo")["rollouts"] == 3 * grpo["rollouts"]
    assert phases("algorithm.options={importance_cap: 2}")["importance weights"] == grpo["reference"]
    assert phases("lora={}")["learn"] < grpo["learn"]


def test_what_fits() -> None:
    small = ["model=Qwen/Qwen2.5-1.5B", "rollouts.max_tokens=1024", "rollouts.slots=256"]
    (stage,) = plan(override(recipe("zero"), small), 1, GPUS["H100"], Assumptions()).stages
    assert stage.fit.fits and stage.least == 1
    (large,) = plan(override(recipe("zero"), [*small, "model=Qwen/Qwen2.5-7B"]), 1, GPUS["H100"], Assumptions()).stages
    assert not large.fit.fits and large.least is not None and large.least > 1
    (adapted,) = plan(
        override(recipe("zero"), [*small, "model=Qwen/Qwen2.5-7B", "lora={}"]), 1, GPUS["H200"], Assumptions()
    ).stages
    assert adapted.fit.fits
    (slots,) = plan(
        override(recipe("zero"), ["model=Qwen/Qwen2.5-1.5B", "rollouts.max_tokens=16384", "template=short"]),
        1, GPUS["H200"], Assumptions(),
    ).stages  # fmt: skip
    assert not slots.fit.fits and 0 < slots.slots < 512
    assert any(f"--set zero.rollouts.slots={slots.slots}" in note for note in slots.notes)


def test_long_rows_need_a_learner_that_recomputes() -> None:
    assert made("zero_qwen_7b").stages[0].least is None
    lean = made("zero_qwen_7b", "64xH100", paged=True, recompute=True).stages[0]
    assert lean.least is not None and lean.least <= 64


def test_the_demo_takes_about_what_it_took() -> None:
    """155 s of training for 40 steps, 102 tokens a response on average (LOG.md, 2026-11-22); a GRPO step of 38 tokens
    1.86 s (benchmarks/RESULTS.md). Within half and twice is what a plan without a measured share can promise."""
    phases = ("rollouts, prompts", "rollouts", "reference", "learn")
    demo = plan(recipe("demo"), 1, EPYC, Assumptions(24, 102), "bfloat16")
    assert 155 / 2 < seconds(demo, 0, *phases) < 155 * 2
    step = plan(override(recipe("demo"), ["steps=1"]), 1, EPYC, Assumptions(24, 38), "bfloat16")
    assert 1.86 / 2 < seconds(step, 0, *phases) < 1.86 * 2


def test_r1_zero_takes_about_what_the_paper_says() -> None:
    """101,000 GPU hours on 512 H800, $202,000 (DeepSeek-R1 v2, table 7), for responses of some 6,000 tokens on average
    (read off figure 3 of v1), on a cluster that recomputes, pages and compresses. That it comes within a tenth is luck:
    docs/planning.md."""
    found = made("r1_deepseek_v3", "512xH800", 6000, paged=True, recompute=True)
    zero = found.stages[0]
    hours = 512 * (zero.seconds(expected=True) or 0) / 3600
    assert 101_000 / 2 < hours < 101_000 * 2
    assert found.machine.device.dollars_an_hour == 2
    learning = 512 * seconds(found, 0, "learn", "reference") / 3600
    assert 5_000 < learning < 15_000


def test_measured_lengths() -> None:
    assert 10 < prompt_tokens(recipe("demo")) < 60
    assert prompt_tokens(recipe("zero_qwen_7b")) == 160  # the paper's, of problems that are not here
    stage: Any = recipe("tiny-pretrain").stages["base"]
    assert 30 < page_tokens(stage) < 200
    (base,) = made("tiny-pretrain").stages
    assert base.phases[0].expected is not None and base.phases[0].expected.tokens < base.phases[0].most.tokens / 5


def test_data_that_is_here(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "1?", "completion": "1"}\n' * 12)
    distill = recipe("distill_qwen_7b")
    settings = [f"distilled.data=[{json.dumps(str(file))}]"]
    (here,) = plan(override(distill, settings), 1, GPUS["H100"], Assumptions(mean=100)).stages
    assert here.trained[1] == 12 * 2 * 100 and not [n for n in here.notes if "assumed" in n]
    (absent,) = plan(distill, 1, GPUS["H100"], Assumptions(mean=100)).stages
    assert absent.trained[1] == 800_000 * 2 * 100 and any(
        "800,000 conversations are assumed" in n for n in absent.notes
    )


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aha", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["demo", "r1", "r1_deepseek_v3", "tiny-pretrain"])
def test_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aha.cli.plan.console.width", width)
    assert call(monkeypatch, "plan", name, "--gpus", "512xH800", "--mean-tokens", "200", "--formulas") == 0
    shown_text = capsys.readouterr().out
    assert max(map(len, shown_text.splitlines())) <= width
    assert "…" not in shown_text  # nothing is cut
    for word in ("KV cache", "tokens", "FLOPs", "all stages:", "GPU hours, $", "KV cache = "):
        assert word in shown_text


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "zero", "--set", "model=Qwen/Qwen2.5-7B", "--set", "steps=10", "--gpus", "4xa100-80"]
    assert call(monkeypatch, *arguments, "--price", "1", "--mfu", "0.2", "--json") == 0
    dear = json.loads(capsys.readouterr().out)
    assert call(monkeypatch, *arguments, "--json") == 0
    cheap = json.loads(capsys.readouterr().out)
    assert dear["device"]["dollars_an_hour"] == 1 and dear["most"]["dollars"] == dear["most"]["gpu_hours"]
    learned = [
        next(w["most"]["seconds"] for w in x["stages"][0]["work"] if w["name"] == "learn") for x in (dear, cheap)
    ]
    assert learned[0] == pytest.approx(2 * learned[1])
    assert cheap["expected"]["seconds"] is None  # no mean was given
    for bad, sentence in (
        (["plan", "zero", "--gpus", "8xH1000"], "did you mean 'H100'"),
        (["plan", "zero", "--gpus", "H100", "--set", "model=nobody/nothing"], "'nobody/nothing'"),
        (["plan", "zeero"], "did you mean 'zero'"),
    ):
        assert call(monkeypatch, *bad) == 2
        message = capsys.readouterr().err
        assert sentence in message and message.strip().count("\n") == 0


def test_a_dry_run_shows_memory_and_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "run", "demo", "--set", "threads=1", "--dry-run", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["zero.fits here"] is True and 0.05 < facts["zero.GiB at once"] < 2
    assert facts["zero.seconds at most"] > 1 and facts["seconds at most"] == facts["zero.seconds at most"]
    assert "measured now" in facts["estimate"] and facts["zero.steps"] == 40


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(show).failed == 0 and doctest.testmod(show).attempted == 3


def test_a_model_without_sizes_is_refused() -> None:
    unknown: Recipe = override(recipe("zero"), ["model=nobody/nothing"])
    with pytest.raises(UserError, match="not known here"):
        plan(unknown, 1, GPUS["H100"], Assumptions())


def test_a_run_for_each_seed() -> None:
    several = plan(override(recipe("demo"), ["seeds=[0, 1, 2]"]), 1, GPUS["H100"], Assumptions())
    assert several.runs == 3 and several.seconds() == made("demo", "H100").seconds()
    assert "all stages of each of 3 seeds: at most" in "".join(str(part) for part in shown(several))


def test_the_tables_name_every_phase() -> None:
    found = made("r1", mean=50)
    assert sum(1 for _ in shown(found)) > 5 * len(found.stages)
