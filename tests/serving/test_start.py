"""How many engines a model gets, and what a request that does not say it is sampled by."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from aha import runtime
from aha.errors import UserError
from aha.serving.service import Settings
from aha.serving.start import MOST_ENGINES, SMALL, Options, engines_for, make_service


def test_small_models_have_an_engine_for_each_thread(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"\0" * 1000)

    def chosen(threads: int, asked: int = 0, device: str = "cpu") -> int:
        return engines_for(str(tmp_path), runtime.Runtime(device, None, threads), asked)  # type: ignore[arg-type]

    assert [chosen(1), chosen(2), chosen(100)] == [1, 2, MOST_ENGINES]
    assert [chosen(4, 1), chosen(1, 3), chosen(8, device="cuda")] == [1, 3, 1]
    with pytest.raises(UserError, match="--engines 2 needs a CPU"):
        chosen(4, 2, "cuda:0")
    with weights.open("r+b") as file:
        file.truncate(SMALL + 1)
    assert [chosen(4), chosen(4, 2)] == [1, 2]
    assert engines_for("tiny", runtime.choose("cpu", "float32", 2)) == 2
    assert engines_for("some/model", runtime.choose("cpu", "float32", 2)) == 1


def test_what_a_request_does_not_say(tiny: Any, tmp_path: Path) -> None:
    """The options have it, else the model's generation config, else R1's settings."""
    folder = Path(shutil.copytree(tiny("qwen3", chat=True), tmp_path / "model"))
    chosen, room = runtime.choose("cpu", "float32", 1), 2**24
    found = make_service(str(folder), chosen, 1, Settings("bytes"), Options(room=room)).defaults
    assert (found.temperature, found.top_p, found.repetition_penalty) == (0.6, 0.95, 1.0)
    (folder / "generation_config.json").write_text('{"temperature": 0.8, "top_k": 7, "eos_token_id": 256}')
    found = make_service(str(folder), chosen, 1, Settings("bytes"), Options(room=room, top_p=0.5)).defaults
    assert (found.temperature, found.top_p, found.top_k) == (0.8, 0.5, 7)
