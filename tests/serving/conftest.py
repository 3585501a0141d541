"""Fixtures: `serve`, which serves a model at a free port in this process; `tiny_server`, the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from serving_models import Serve, Served, serve_model


@pytest.fixture(scope="session")
def tiny_server() -> Iterator[Served]:
    served = serve_model()
    yield served
    served.stop()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A factory of servers that end with the test."""
    running: list[Served] = []

    def factory(*given: Any, **settings: Any) -> Served:
        running.append(serve_model(*given, **settings))
        return running[-1]

    yield factory
    for served in running:
        served.stop()
