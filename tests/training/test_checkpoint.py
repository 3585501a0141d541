"""Checkpoints: whole or absent, verified, the newest sound one wins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aha.training import checkpoint


def state(value: float) -> dict[str, object]:
    return {"master": [torch.full((3,), value)], "updates": int(value), "reference": None}


def test_round_trip_and_pruning(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") is None
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state(step))
    found = checkpoint.newest(tmp_path)
    assert found is not None
    step, loaded = found
    assert step == 3 and loaded["updates"] == 3 and torch.equal(loaded["master"][0], torch.full((3,), 3.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000002", "step-000003"]


@pytest.mark.parametrize("damage", ["flip", "cut", "no digest", "empty digest", "wrong step"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    newest = checkpoint.save(tmp_path, 2, state(2))
    data = bytearray((newest / "state.pt").read_bytes())
    match damage:
        case "flip":
            data[len(data) // 2] ^= 1
            (newest / "state.pt").write_bytes(data)
        case "cut":
            (newest / "state.pt").write_bytes(data[:-10])
        case "no digest":
            (newest / "digest.json").unlink()
        case "empty digest":
            (newest / "digest.json").write_text("")
        case "wrong step":
            newest.rename(tmp_path / "step-000009")
    found = checkpoint.newest(tmp_path)
    assert found is not None and found[0] == 1


def test_a_write_that_was_broken_off_is_not_seen(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    aside = tmp_path / ".writing-000002"
    aside.mkdir()
    (aside / "state.pt").write_bytes(b"half")
    found = checkpoint.newest(tmp_path)
    assert found is not None and found[0] == 1
    checkpoint.save(tmp_path, 2, state(2))
    assert not aside.exists()


def test_a_full_disk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    checkpoint.save(tmp_path, 1, state(1))
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RuntimeError):
        checkpoint.save(tmp_path, 2, state(2))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(tmp_path, 2, state(2))
    found = checkpoint.newest(tmp_path)
    assert found is not None and found[0] == 1


def test_the_same_step_may_be_written_again(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(1))
    checkpoint.save(tmp_path, 1, state(5))
    found = checkpoint.newest(tmp_path)
    assert found is not None and found[1]["updates"] == 5
