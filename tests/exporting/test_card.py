"""The model card: what a run folder says is in it, with the run's own numbers, and nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from many_stages import make_many
from run_folders import make_run

from aha.exporting.card import Subject, card
from aha.exporting.facts import Origin, fetched, is_hub_id, license_of, origin_of
from aha.studio.read import Run, read_run

PLAIN = Subject(
    "mine", "Qwen3ForCausalLM", 1_650_000, "bfloat16", 1024, "User: What is 2+2?\nAssistant:<think>",
    thinks=True, opened=True, tags=True, origin=None,
)  # fmt: skip


def front(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(head)
    return found


def origin(run: Run, name: str) -> Origin:
    return origin_of(run, next(stage for stage in run.stages if stage.name == name))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(make_many(tmp_path_factory.mktemp("card") / "r1", whole=True))


def test_what_is_not_known_is_left_out() -> None:
    text = card(replace(PLAIN, thinks=False, opened=False))
    assert front(text) == {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["aha"]}
    assert "## Scores" not in text and "## How it was made" not in text and "None" not in text
    assert "Nothing is known here of how it was trained" in text and "Its licence is not stated here." in text
    assert "reasoning-parser" not in text and "llama-server -m mine.gguf" in text


def test_what_is_known_is_said() -> None:
    text = card(replace(PLAIN, base="org/base", license="apache-2.0"))
    assert front(text) == {
        "license": "apache-2.0", "base_model": "org/base", "library_name": "transformers",
        "pipeline_tag": "text-generation", "tags": ["aha", "reasoning"],
    }  # fmt: skip
    assert "vllm serve mine --reasoning-parser deepseek_r1\n" in text and PLAIN.prompt in text
    assert "licence" not in text and "`Qwen3ForCausalLM`, 1.6 M parameters, weights in bfloat16" in text
    assert "reasoning-parser" not in card(replace(PLAIN, tags=False)), "the parsers look for tokens"


def test_the_stages_on_the_way_and_no_others(many: Run) -> None:
    found = origin(many, "r1")
    names = [made.name for made in found.stages]
    assert names == ["zero", "cold", "cold-asked", "dev1", "dev2", "traces", "dev3", "helpful", "safety", "r1"]
    assert [made.name for made in origin(many, "dev1").stages] == ["zero", "cold", "cold-asked", "dev1"]
    by_name = {made.name: made for made in found.stages}
    assert by_name["zero"].reads == "from base" and by_name["zero"].data == "countdown 4, logic 3"
    assert by_name["zero"].how.startswith("30 steps of 32 questions x 16 samples of at most ")
    assert "rewards accuracy 1, format 1" in by_name["zero"].how
    assert "conversations kept of 768 questions" in by_name["cold"].how
    assert by_name["dev1"].reads == "from base, learns cold, cold-asked" and by_name["dev1"].how.startswith("2 epochs")
    assert (found.base, origin(many, "distilled").base, origin(many, "small-zero").base) == (
        "tiny", "tiny-small", "tiny-small",
    )  # fmt: skip
    text = card(replace(PLAIN, origin=found, embedded="tiny"))
    assert front(text)["tags"] == ["aha", "reasoning", "rl", "sft"]
    assert "| `dev3` | supervised fine-tuning |" in text and "Run with seed 0, aha 0.1.0" in text
    assert "laptop" not in text, "the name of the machine is nobody's business"


def test_scores_are_the_runs_own(many: Run) -> None:
    scores = {score.what: score for score in origin(many, "r1").scores}
    stages = {stage.name: stage.path for stage in many.stages}
    table = json.loads((stages["evaluated"] / "table.json").read_text())
    for task, figures in table["r1"].items():
        score = scores[f"{task}, pass@1"]
        assert (score.value, score.error) == (figures["pass@1"], figures["pass@1_stderr"])
        assert score.other == (table["base"][task]["pass@1"], table["base"][task]["pass@1_stderr"])
        assert score.of == "128 problems x 4 samples"
    rows = json.loads((stages["helpful"] / "held_back.json").read_text())["rows"]
    agreement = scores["reward model `helpful`, agreement with held-back preferences"]
    share = sum(row["right"] for row in rows) / len(rows)
    assert agreement.value == share and agreement.of == "500 preferences"
    assert agreement.error == pytest.approx(math.sqrt(share * (1 - share) / 499))
    own = scores["mixture, pass@1 at the end of `r1`"]
    assert own.value == 0.638 and own.other is not None and own.other[0] == 0.143
    text = card(replace(PLAIN, origin=origin(many, "r1"), embedded="tiny"))
    shown = f"{100 * table['r1']['logic']['pass@1']:.1f} ± {100 * table['r1']['logic']['pass@1_stderr']:.1f} %"
    assert f"| logic, pass@1 | {shown} |" in text and "temperature 0.6, top-p 0.95" in text
    assert "these weights are in" not in text, "the run does not say what it measured in"
    assert "refuses what is harmful was not measured" not in text, "the requests have a mark for that"
    assert "refuses what is harmful was not measured" in card(replace(PLAIN, origin=small(many), embedded="tiny"))


def small(many: Run) -> Origin:
    return replace(origin(many, "r1"), safety=False)


def test_a_run_that_measured_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "demo", steps=2)
    (folder / "stages" / "01-zero" / "evaluation.json").unlink()
    found = origin(read_run(folder), "zero")
    assert found.scores == ()
    text = card(replace(PLAIN, origin=found, dtype="float32"))
    assert "has measured nothing of it" in text and "## Scores" not in text and "rounded" not in text


def test_data_and_bases_of_the_hub_and_of_this_machine(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "demo", steps=2)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    local = tmp_path / "secret-place" / "rows.jsonl"
    tasks = {"gsm8k:openai/gsm8k": 2.0, f"math:{local}": 1.0, "math500:hf://datasets/a/b/file.jsonl": 1.0}
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump({**recipe, "model": "Qwen/Qwen3-0.6B", "task": tasks}, sort_keys=False)
    )
    note_inputs(folder, [str(local)])
    found = origin(read_run(folder), "zero")
    assert found.data == ("openai/gsm8k", "a/b") and found.base == "Qwen/Qwen3-0.6B" and is_hub_id(found.base)
    assert found.stages[0].data == (
        "gsm8k (openai/gsm8k) 2, math (rows.jsonl) 1, math500 (hf://datasets/a/b/file.jsonl) 1"
    )
    text = card(replace(PLAIN, origin=found, base=found.base))
    assert front(text)["datasets"] == ["openai/gsm8k", "a/b"] and "The base is `Qwen/Qwen3-0.6B`." in text
    assert "secret-place" not in text and str(tmp_path) not in text


def note_inputs(folder: Path, files: list[str] | None) -> None:
    """What the stage has noted that it read, or nothing of that."""
    about = folder / "stages" / "01-zero" / "stage.json"
    data = {"data": dict.fromkeys(files, "ab12")} if files is not None else {}
    about.write_text(json.dumps({**json.loads(about.read_text()), "inputs": data}))


@pytest.mark.parametrize(
    ("files", "data", "words"),
    [
        (["data/rows"], ("hf-org/set",), "gsm8k (rows) 1, gsm8k (hf-org/set) 1"),
        (None, (), "gsm8k (rows) 1, gsm8k (set) 1"),
    ],
    ids=["noted", "nothing was noted"],
)
def test_a_folder_that_is_gone_is_no_data_set(
    tmp_path: Path, files: list[str] | None, data: tuple[str, ...], words: str
) -> None:
    """`data/rows` was a folder where the run was made, and looks like an id on the hub."""
    folder = make_run(tmp_path / "demo", steps=2)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    tasks = {"gsm8k:data/rows": 1.0, "gsm8k:hf-org/set": 1.0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "task": tasks}, sort_keys=False))
    note_inputs(folder, files)
    found = origin(read_run(folder), "zero")
    assert found.data == data and found.stages[0].data == words
    assert "data/rows" not in card(replace(PLAIN, origin=found))


def test_scores_in_another_dtype(tmp_path: Path) -> None:
    found = origin(read_run(make_run(tmp_path / "demo", steps=2)), "zero")
    assert found.versions["dtype"] == "bfloat16"
    said = "* They were measured in bfloat16; these weights are in float32."
    assert said in card(replace(PLAIN, origin=found, dtype="float32"))
    assert "these weights are in" not in card(replace(PLAIN, origin=found))


def test_what_breaks_a_table_does_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "demo", steps=2)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "task": "my|task\n# head"}))
    text = card(replace(PLAIN, origin=origin(read_run(folder), "zero")))
    assert "my\\|task # head" in text and "\n# head" not in text


@pytest.mark.parametrize(
    ("card_text", "found"),
    [("---\nlicense: gemma\ntags: [x]\n---\n# A\n", "gemma"), ("# no front\n", ""), ("---\nlicense: [a\n---\n", "")],
)
def test_a_base_models_licence(tmp_path: Path, card_text: str, found: str) -> None:
    (tmp_path / "README.md").write_text(card_text)
    assert license_of(str(tmp_path)) == found
    assert license_of("tiny") == "mit" and license_of("org/name") == "" and license_of("") == ""


def test_hub_ids_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert is_hub_id("Qwen/Qwen3-0.6B") and is_hub_id("a/c")
    for name in ("a/b", "tiny", "/a/c", "a/c/d", "data/rows.jsonl", "./x/y", ""):
        assert not is_hub_id(name)


def test_a_base_on_the_hub_was_fetched_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of two parts that is gone, or that another folder's run named, looks like an id."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert is_hub_id("out/zero") and not fetched("out/zero")
    for name in ("out--zero", "org--base"):
        (tmp_path / "cache" / f"models--{name}" / "snapshots" / "abc").mkdir(parents=True)
    (tmp_path / "cache" / "models--org--base" / "snapshots" / "abc" / "config.json").write_text("{}")
    assert fetched("org/base") and not fetched("out/zero"), "of that nothing was fetched"
    (tmp_path / "org" / "base").mkdir(parents=True)
    assert not fetched("org/base") and not fetched("") and not fetched("tiny")
