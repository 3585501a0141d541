"""Fixtures: `tiny`, a factory of tiny random models on disk, made once a session; `arch`, each architecture in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tiny_models import ARCHITECTURES, TinyFactory, make

settings.register_profile("any machine", deadline=None)  # tests assert behaviour, not time
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyFactory:
    """`tiny("qwen3", chat=True, tie_word_embeddings=False)` is the folder of such a model; changes go to its config."""
    made: dict[str, Path] = {}

    def factory(architecture: str, *, seed: int = 0, chat: bool = False, **changes: Any) -> Path:
        key = repr((architecture, seed, chat, sorted(changes.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp(architecture)
            make(folder, architecture, seed, chat, changes)
            made[key] = folder
        return made[key]

    return factory


@pytest.fixture(params=sorted(ARCHITECTURES))
def arch(request: pytest.FixtureRequest, tiny: TinyFactory) -> Path:
    """The folder of a tiny model of each architecture in turn."""
    return tiny(request.param)
