"""A stub of an OpenAI-compatible server, and a folder of weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quickchange.evaluate.paper.judges.base import WEIGHTS_VARIABLE
from stub_server import StubServer


@pytest.fixture
def server() -> Iterator[StubServer]:
    stub = StubServer()
    yield stub
    stub.close()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))
    return folder
