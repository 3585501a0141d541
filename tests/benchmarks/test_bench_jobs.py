"""What is measured: the models, rows, operations and jobs of each benchmark, and one quick run without peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

import gpu
import grpo_step
import learn
import rollout
import scale
from aha.engines.native.engine import NativeEngine
from aha.models.loading import load, resolve
from aha.types import Prompt, Sampling
from peers import flops, install, parity, questions, rows
from peers.continuous import sizes
from peers.models import SHAPES, random_model
from peers.start import BENCHMARKS
from results import parser


def arguments(*words: str, **more: Any) -> Any:
    parsed = parser("x").parse_args(list(words))
    defaults = {
        "models": ["0.1m"], "questions": 2, "group": 2, "max_tokens": 8, "micro_batch_tokens": 256, "trl_rows": 64,
        "batches": (1, 16, 64), "contexts": (256,), "vocabularies": (1024,), "rows": 4, "axes": list(scale.AXES),
        "dry_run": True,
    }  # fmt: skip
    for name, value in {**defaults, **more}.items():
        setattr(parsed, name, value)
    return parsed


def test_random_models_end_by_chance_as_often_as_they_are_told(tmp_path: Path) -> None:
    loaded = load(random_model(tmp_path / "m", "0.1m", mean_length=20))
    engine = NativeEngine(loaded.model, loaded.eos_ids)
    (group,) = engine.generate([Prompt(tuple(range(9, 30)), 256, 1)], Sampling(400))
    lengths = [len(c.ids) for c in group]
    assert 15 < sum(lengths) / len(lengths) < 26
    assert len(set(lengths)) > 30


def test_random_models_without_a_mean_length_never_end(tmp_path: Path) -> None:
    loaded = load(random_model(tmp_path / "m", "0.1m"))
    engine = NativeEngine(loaded.model, loaded.eos_ids)
    (group,) = engine.generate([Prompt((9, 9, 9), 64, 1)], Sampling(40))
    assert {len(c.ids) for c in group} == {40}


def test_the_sizes_of_the_shapes_are_those_of_their_names() -> None:
    for name, millions in (("2m", 1.8), ("25m", 24.8)):
        s = SHAPES[name]
        attention = 2 * s.hidden * s.head_width * (s.heads + s.key_heads)
        count = s.layers * (attention + 3 * s.hidden * s.mlp) + 2 * s.hidden * s.vocabulary
        assert count / 1e6 == pytest.approx(millions, rel=0.02)


def test_training_operations_by_hand() -> None:
    config = LlamaConfig(
        vocab_size=10, hidden_size=4, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    body = 4 * 4 + 2 * 4 * 2 + 4 * 4 + 3 * 4 * 6  # q, k and v, o, three of the MLP
    wanted = 6 * (body * (5 + 3) + 1 * 4 * (5**2 + 3**2) + 40 * (2 + 1))
    assert flops.training_flops(model, [(3, 2), (2, 1)]) == wanted
    read = 2 * (body + 2 * 4 + 4 + 40 + 2 * 1 * 2 * 7 * 3)  # weights with norms and head, without the embedding; cache
    assert flops.decode_bytes(model, rows=3, positions=7, bytes_a_number=2) == read


def test_the_machine_rates_are_plausible() -> None:
    assert 1e8 < flops.matmul_flops(torch.float32, "cpu") < 1e14
    assert 1e7 < flops.bandwidth("cpu", size=1 << 24) < 1e13


def test_rows_are_the_same_everywhere_and_as_long_as_asked() -> None:
    made = rows.rows([(3, 2), (2, 4)], 50)
    assert made == rows.rows([(3, 2), (2, 4)], 50)
    assert [(len(r.prompt), len(r.completion), r.advantage) for r in made] == [(3, 2, 1.0), (2, 4, -1.0)]
    assert all(5 <= token < 50 for r in made for token in r.prompt + r.completion)


def test_mixes_hold_as_many_tokens_in_whole_micro_batches() -> None:
    for name, lengths in learn.mixes(8192).items():
        assert 8192 <= rows.tokens(lengths) < 8192 + 16 * 2040, name
        assert len(lengths) % 16 == 0
    spread = {name: {c for _, c in lengths} for name, lengths in learn.mixes(8192).items()}
    assert len(spread["equal lengths"]) == 1 and max(spread["long tail"]) > max(spread["natural lengths"])


def test_half_of_all_completions_score_by_parity() -> None:
    coins = [parity.coin([i, 7 * i, 3]) for i in range(400)]
    assert set(coins) == {0.0, 1.0}
    assert 140 < sum(coins) < 260


def test_graders_of_the_peers_are_ours() -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny"))
    gold = questions.countdown().gold(questions.countdown().problem("train", 0))
    text = f"<think> a </think> <answer> {gold} </answer>"
    ids, eos = tokenizer.encode(text, add_special_tokens=False), frozenset({tokenizer.eos_token_id})
    assert questions.grade(tokenizer, 0, [*ids, *eos], eos, "rules") == 2.0
    assert questions.grade(tokenizer, 0, ids, eos, "rules") == 1.0  # no end token: not well formed
    assert questions.grade(tokenizer, 0, ids, eos, "parity") == parity.coin(ids)
    assert len(questions.texts(tokenizer, 3)) == 3


def test_continuous_batching_is_sized_for_its_rows_on_a_cpu_alone() -> None:
    assert sizes("cuda", 512, 300) == {}
    sized = sizes("cpu", 512, 300)
    assert sized["num_blocks"] * sized["page_size"] >= 512 * 300
    assert sized["max_batch_tokens"] == 512


def test_jobs_are_complete_and_plain(tmp_path: Path) -> None:
    jobs = [
        grpo_step.job(arguments("--quick"), tmp_path),
        rollout.job("0.1m", arguments(), tmp_path),
        rollout.job("tiny", arguments("--quick"), tmp_path),
        learn.speed_job(arguments("--quick"), tmp_path),
        scale.job(arguments("--quick"), tmp_path),
        *(part[3] for part in gpu.parts(arguments("--quick"), tmp_path)),
    ]
    for made in jobs:
        json.dumps(made)
        names = [point["name"] for point in made["points"]]
        assert names and len(set(names)) == len(names)
        assert made["repeats"] >= 1 and made["budget_s"] > 0


def test_a_batch_of_rows_is_groups_of_sixteen() -> None:
    for count, prompts, group in ((1, 1, 1), (16, 1, 16), (512, 32, 16)):
        point = rollout.batch_point("tiny", count, 8)
        assert (len(point["prompts"]), point["n"]) == (prompts, group)
    point = rollout.context_point("2m", 256)
    assert {len(p) for p in point["prompts"]} == {256 - point["max_tokens"]}


def test_installation_keeps_the_build_of_pytorch_and_takes_out_what_breaks_vllm() -> None:
    made = install.commands("vllm", Path("x"), "torch==2.13.0")
    assert all("torch==2.13.0" in command for command in made if "install" in command)
    assert any("uninstall" in command and "torchvision" in command for command in made)
    assert not any("uninstall" in command for command in install.commands("trl", Path("x"), "torch==2.13.0"))


def test_a_quick_run_without_peers_prints_one_object() -> None:
    words = ["--quick", "--json", "--no-peers", "--threads", "1", "--dtypes", "float32"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "grpo_step.py"), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["benchmark"], said["ratios"], said["missing"], said["quick"]) == ("grpo_step", {}, {}, True)
    (figures,) = said["ours"].values()
    assert figures["step_s"] > 0 and figures["mean_length"] > 1 and figures["threads"] == 1


def run_quick(script: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--json", "--no-peers", "--threads", "1", *words],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["missing"] == {} and said["ours"]
    return said


@pytest.mark.slow
def test_quick_runs_of_the_other_benchmarks() -> None:
    rolled = run_quick("rollout.py", "--quick", "--models", "0.1m")
    assert all(figures["tokens_per_s"] > 0 for figures in rolled["ours"].values())
    learned = run_quick("learn.py", "--quick", "--models", "0.1m")
    assert {"matmul_share", "above_bytes"} <= {key for figures in learned["ours"].values() for key in figures}
    scaled = run_quick("scale.py", "--quick")
    assert scaled["ours"]["group 2, threads 1"]["growth"] > 0
    dry = run_quick("gpu.py", "--dry-run")
    assert any("bandwidth_share" in figures for figures in dry["ours"].values())
