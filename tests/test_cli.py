"""The command line as a user meets it: output, JSON, exit status, and one sentence for what cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aha import cli
from aha.tasks.table import EMBEDDED
from tiny_models import TinyFactory

SMALL = [
    "--set", "steps=2", "--set", "rollouts.questions=2", "--set", "rollouts.group=2", "--set", "rollouts.max_tokens=8",
    "--set", "evaluation.problems=2", "--set", "evaluation.samples=2", "--set", "template=short", "--set", "threads=1",
]  # fmt: skip


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `aha ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["aha", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_help_is_grouped_and_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for word in ("Train", "Measure", "Use", "run", "recipes", "eval", "chat", "check", "report", "doctor"):
        assert word in shown
    assert shown.count("\n") < 40


@pytest.mark.parametrize("command", ["run", "recipes", "eval", "chat", "check", "report", "doctor"])
def test_every_command_has_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_run_then_report(
    tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    arguments = ["run", "zero", "--set", f"model={tiny('qwen3')}", *SMALL, "--out", out]
    assert call(monkeypatch, *arguments, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 2 and "pass@1" in result
    assert (tmp_path / "run" / "report.html").exists() and (tmp_path / "run" / "curves.png").exists()
    assert call(monkeypatch, *arguments) == 0
    assert "finished" in capsys.readouterr().out
    assert call(monkeypatch, "report", out) == 0
    assert "report.html" in capsys.readouterr().out
    assert call(monkeypatch, "run", f"{out}/recipe.yaml", "--dry-run") == 0
    assert "steps" in capsys.readouterr().out


def test_eval_prints_one_object(
    tiny: TinyFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", str(tiny("llama")), "--task", "arithmetic", "-n", "3", "--problems", "4", "--max-tokens", "6"]
    assert call(monkeypatch, *arguments, "--template", "short", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"pass@1", "pass@1_stderr", "pass@k", "cons@k", "format", "mean_length", "n", "asked", "k"} <= set(figures)
    assert (figures["n"], figures["asked"], figures["k"]) == (3, 4, 3)
    assert figures["mean_length"] <= 6


def test_check_proves_the_graders(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "check", "--rows", "20", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and {t["task"] for t in report["tasks"]} == set(EMBEDDED)


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status = call(monkeypatch, "doctor", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert {"python", "torch", "threads", "load", "device", "disk", "sandbox"} <= set(rows)
    assert status == int(any(row["state"] == "fails" for row in rows.values()))


def test_recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "recipes") == 0
    assert "tiny-pretrain" in capsys.readouterr().out


BAD = [
    (["run", "zer"], "did you mean 'zero'"),
    (["run", "zero", "--set", "modle=x"], "did you mean 'model'"),
    (["run", "zero", "--set", "model=./nothing/here", "--dry-run"], "'./nothing/here'"),
    (["run", "nothing.yaml"], "'nothing.yaml' cannot be read"),
    (["eval", "tiny", "--task", "gsm8k:/nowhere.jsonl"], "/nowhere.jsonl"),
    (["eval", "tiny", "--task", "chess"], "'chess'"),
    (["eval", "tiny", "-n", "2", "-k", "3"], "k = 3"),
    (["eval", "tiny", "--device", "tpu"], "unknown device 'tpu'"),
    (["report", "/nowhere"], "/nowhere"),
    (["check", "countdwn"], "did you mean 'countdown'"),
    (["eval"], "Missing argument"),
    (["score", "nothing.jsonl"], "'nothing.jsonl' cannot be read"),
    (["score", "."], "'.' cannot be read"),
    (["score", "-", "--reward", "mth"], "did you mean 'math'"),
    (["score", "-", "--reward", "math", "--unsafe"], "--unsafe means nothing"),
    (["score"], "Missing argument"),
    (["sandbox", "nothing.py"], "nothing.py"),
    (["check", "nothing.jsonl"], "no file 'nothing.jsonl'"),
    (["check", "math500:nothing.jsonl"], "no file 'nothing.jsonl'"),
    (["eval", "tiny", "--bogus"], "--bogus"),
    (["fly"], "fly"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else None)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and "Traceback" not in shown.err
    assert shown.err.strip().count("\n") == 0
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_chat_reads_standard_input(tiny: TinyFactory) -> None:
    command = [sys.executable, "-m", "aha", "chat", str(tiny("qwen3")), "--max-tokens", "5", "--template", "short"]
    done = subprocess.run(
        command,
        input="2+2?\n\nagain\n",
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "cut off" in done.stdout or len(done.stdout.splitlines()) > 1
