from __future__ import annotations

import os

# One software rendering thread, as in the workers; must be set before the first context.
os.environ.setdefault("LP_NUM_THREADS", "1")

import pytest

from quickchange.world import Clip, Renderer, render_clip, sample_spec
from world.helpers import first_spec, without_shadows


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    """Compiling the shaders takes longer than drawing with them: one renderer serves all tests that can share it."""
    return Renderer(36, 64, supersampling=1.5)


@pytest.fixture(scope="session")
def pairs(renderer: Renderer) -> dict[str, Clip]:
    """Shadowless clips in both garments: two easy ones and a full one of each slot."""
    specs = {"easy 0": sample_spec(0), "easy 1": sample_spec(1)}
    for slot in ("upper", "lower", "onepiece"):
        specs[f"full {slot}"] = first_spec(lambda spec, slot=slot: spec.target == slot)  # type: ignore[misc]
    return {name: render_clip(renderer, without_shadows(spec), frames=2, fps=4, both=True)
            for name, spec in specs.items()}  # fmt: skip
