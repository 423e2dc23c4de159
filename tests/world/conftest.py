from __future__ import annotations

import os

# One software rendering thread, as in the workers; must be set before the first context.
os.environ.setdefault("LP_NUM_THREADS", "1")

import pytest

from quickchange.world import Renderer


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(48, 64, supersampling=1.5)
