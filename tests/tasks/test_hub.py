"""Data sets on a hub, with a stand-in for the libraries: configurations, splits, single files, what cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aha.errors import UserError
from aha.tasks.hub import hub_file, hub_splits
from aha.tasks.rows import read_splits
from aha.tasks.table import make_task

CONFIGS = {
    "algebra": [{"problem": "Q1?", "solution": r"\boxed{1}"}],
    "geometry": [{"problem": "Q2?", "solution": r"\boxed{2}"}],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A data set of two configurations and no default; what was asked of the library."""
    calls: list[Any] = []

    def load_dataset(name: str, config: str | None) -> Any:
        calls.append(config)
        if name != "EleutherAI/hendrycks_math":
            raise FileNotFoundError(f"{name} doesn't exist")
        if config is None:
            raise ValueError("Config name is missing.\nPlease pick one among the available configs: [...]")
        if config not in CONFIGS:
            raise ValueError(f"BuilderConfig {config!r} not found. Available: {list(CONFIGS)}")
        return {
            "train": CONFIGS[config],
            "test": [{**row, "problem": "Test " + row["problem"]} for row in CONFIGS[config]],
        }

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.get_dataset_config_names = lambda name: list(CONFIGS)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_without_a_default_all_configurations_are_read(asked: list[Any]) -> None:
    found = hub_splits("EleutherAI/hendrycks_math")
    assert asked == [None, "algebra", "geometry"]
    assert [name for name, _ in found["train"]] == ["algebra", "geometry"] and set(found) == {"train", "test"}
    assert hub_splits("EleutherAI/hendrycks_math", "*") == found
    assert [name for name, _ in hub_splits("EleutherAI/hendrycks_math", "geometry")["test"]] == ["geometry"]
    task = make_task("math:EleutherAI/hendrycks_math")
    assert (task.size("train"), task.size("test")) == (2, 2)
    assert make_task("math:EleutherAI/hendrycks_math", options={"config": "algebra"}).size("test") == 1
    rows = read_splits("EleutherAI/hendrycks_math")["test"]
    assert [(row.file, row.number, row.config) for row in rows] == [
        ("EleutherAI/hendrycks_math[test]", 1, "algebra"), ("EleutherAI/hendrycks_math[test]", 2, "geometry"),
    ]  # fmt: skip


def test_what_cannot_be_loaded_is_one_sentence(asked: list[Any]) -> None:
    with pytest.raises(UserError, match=r"'EleutherAI/hendrycks_math' cannot be loaded .*'number_theory' not found"):
        hub_splits("EleutherAI/hendrycks_math", "number_theory")
    with pytest.raises(UserError, match="'no/such' cannot be loaded"):
        hub_splits("no/such")


def test_single_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test5.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    (tmp_path / "more.jsonl").write_text('{"a": 2}\n', encoding="utf-8")
    asked: list[Any] = []

    def download(repo: str, path: str, repo_type: str) -> str:
        asked.append((repo, path, repo_type))
        if path.startswith("no/"):
            raise OSError("404\nnot there")
        return str(tmp_path / path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    rows = read_splits(f"hf://datasets/own/data/test5.jsonl,{tmp_path / 'more.jsonl'}")[""]
    assert [row.data for row in rows] == [{"a": 1}, {"a": 2}] and asked == [("own/data", "test5.jsonl", "dataset")]
    assert hub_file("hf://datasets/own/data/test5.jsonl") == tmp_path / "test5.jsonl"
    with pytest.raises(UserError, match=r"cannot be fetched \(404\); give a file"):
        hub_file("hf://datasets/own/data/no/such.jsonl")
    with pytest.raises(UserError, match="names no file"):
        hub_file("hf://datasets/own/data")
