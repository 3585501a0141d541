"""`aha doctor --cluster` as a user calls it, in one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aha import cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aha", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "x"
    status = call(monkeypatch, "doctor", "--cluster", "--out", str(out), "--device", "cpu", "--json")
    found = json.loads(capsys.readouterr().out)
    assert status == int(not found["ok"]) and found["processes"] == 1
    assert found["checks"]["network"]["value"] == "one process: nothing is sent"
    assert not (tmp_path / "runs").exists()
    call(monkeypatch, "doctor", "--cluster", "--out", str(out), "--device", "cpu")
    table = capsys.readouterr().out
    assert "run folder" in table and "one host" in table and "{" not in table


def test_what_fails_is_told_by_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert call(monkeypatch, "doctor", "--cluster", "--out", str(tmp_path / "file" / "run"), "--json") == 1
    row = json.loads(capsys.readouterr().out)["checks"]["run folder"]
    assert row["state"] == "fails" and row["remedy"] == "choose a folder that can be written with --out"


@pytest.mark.parametrize("option", [("--out", "x"), ("--device", "cpu")])
def test_options_that_say_nothing_alone(
    option: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "doctor", *option) == 2
    assert f"{option[0]} is for --cluster" in capsys.readouterr().err
