"""`aha check`, `aha score` and `aha sandbox` as a user meets them: lines, JSON, standard input, exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aha import cli
from aha.rewards.sandbox import available

needs_sandbox = pytest.mark.skipif(available() is not None, reason=str(available()))
ROWS: list[Any] = [
    {"completion": r"so \boxed{\frac{3}{4}}", "answer": "0.75"},
    {"completion": r"so \boxed{3}", "answer": 4},
    {"completion": r"so \boxed{3}", "answer": None},
    {"answer": "3"},
]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `aha ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["aha", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def aha(*arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "aha", *arguments],
        input=content, capture_output=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_score_prints_an_object_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "a.jsonl", ROWS)
    assert call(monkeypatch, "score", path, "--reward", "math", "--json") == 1
    shown = capsys.readouterr()
    found = [json.loads(line) for line in shown.out.splitlines()]
    assert [(line["row"], line["outcome"], line["value"]) for line in found] == [
        (1, "score", 1.0), (2, "score", 0.0), (3, "abstain", None), (4, "failed", None),
    ]  # fmt: skip
    assert all(line["why"] for line in found) and shown.err == ""
    assert call(monkeypatch, "score", jsonl(tmp_path / "b.jsonl", ROWS[:3]), "--json") == 0


def test_score_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "score", jsonl(tmp_path / "a.jsonl", ROWS)) == 1
    shown = capsys.readouterr()
    assert [line.split()[:2] for line in shown.out.splitlines()] == [
        ["1", "1"], ["2", "0"], ["3", "abstain"], ["4", "failed"],
    ]  # fmt: skip
    assert "4 rows: 2 scored, mean 0.5, 1 abstained, 1 failed" in shown.err


def test_score_reads_standard_input_and_junk() -> None:
    junk = [b"", b"\xff\xfe\x00\x1b[2J", b"{", b'{"completion": "\\ud800\\u001b[2J \\\\boxed{\\ud800}", "answer": "3"}']
    done = aha("score", "-", "--json", content=b"\n".join([json.dumps(ROWS[0]).encode(), *junk]))
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [line["outcome"] for line in found] == ["score", "failed", "failed", "failed", "score"]
    assert found[4]["value"] == 0 and done.returncode == 1 and done.stderr == b""
    assert b"\x1b" not in aha("score", "-", content=b"\n".join(junk)).stdout


def test_score_ends_when_nobody_reads() -> None:
    command = [sys.executable, "-m", "aha", "score", "-", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write((json.dumps(ROWS[0]) + "\n").encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["value"] == 1  # before the stream ends
        process.stdout.close()
        process.stdin.write((json.dumps(ROWS[0]) + "\n").encode() * 100)
        process.stdin.close()
        assert process.wait(timeout=60) == 1
        assert b"Traceback" not in process.stderr.read()


@needs_sandbox
def test_score_of_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    add = "```python\ndef f(a, b):\n    return a + b\n```"
    total = "```python\nprint(sum(map(int, input().split())))\n```"
    rows = [
        {"completion": add, "tests": [{"call": "f(1, 2)", "expected": 3}]},
        {"completion": add, "tests": [{"call": "f(1, 2)", "expected": 3.0}]},
        {"completion": total, "tests": [{"stdin": "1 2 3", "stdout": "6"}]},
        {"completion": add, "tests": [{"call": "f(1, g())", "expected": 3}]},
    ]
    assert call(monkeypatch, "score", jsonl(tmp_path / "a.jsonl", rows), "--reward", "code", "--json") == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["outcome"], line["value"]) for line in found] == [
        ("score", 1.0), ("score", 0.0), ("score", 1.0), ("failed", None),
    ]  # fmt: skip


@needs_sandbox
def test_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program, data = tmp_path / "p.py", tmp_path / "in.txt"
    program.write_text("print('got', input())", encoding="utf-8")
    data.write_text("\x1b[2J five\n", encoding="utf-8")
    assert call(monkeypatch, "sandbox", str(program), "--stdin", str(data), "--json") == 0
    ran = json.loads(capsys.readouterr().out)
    assert (ran["status"], ran["exit"], ran["stdout"], ran["stderr"]) == ("ok", 0, "got \x1b[2J five\n", "")
    assert call(monkeypatch, "sandbox", str(program), "--stdin", str(data)) == 0
    shown = capsys.readouterr().out
    assert "ok" in shown and "five" in shown and "\x1b" not in shown
    program.write_text("while True: pass", encoding="utf-8")
    assert call(monkeypatch, "sandbox", str(program), "--timeout", "0.5", "--json") == 1
    assert json.loads(capsys.readouterr().out)["status"] == "timeout"


def test_check_lists_bad_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": "Q1?", "answer": "#### 1"}, {"question": "Q2?", "answer": "two"}, {"question": "\x1b[2J"}]
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert call(monkeypatch, "check", f"gsm8k:{path}") == 1
    shown = capsys.readouterr().out
    assert "1 problems, 2 faults" in shown and f"{path} row 2 has" in shown and f"{path} row 3 has" in shown
    assert call(monkeypatch, "check", f"gsm8k:{path}", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and [fault["row"] for fault in report["tasks"][0]["faults"]] == [2, 3]


@pytest.mark.parametrize("command", ["check", "score", "sandbox"])
def test_help(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, command, "--help") == 0
    assert "Usage" in capsys.readouterr().out
