"""Rendered ground truth with exact readings, and pictures made by hand."""

from __future__ import annotations

import os

# One software rendering thread; must be set before the first context.
os.environ.setdefault("LP_NUM_THREADS", "1")

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from quickchange.evaluate.scorecard.calibrate import Finding, Sample, Settings, calibrate, samples
from quickchange.evaluate.scorecard.metrics import Shot
from quickchange.parsing.reading import ATTRIBUTES, LABELS, Reading
from quickchange.world import Renderer

Draw = Callable[..., Shot]


@pytest.fixture(scope="package")
def settings() -> Settings:
    return Settings(seeds=2, before=9, after=9, first_chunk=5, fps=12)


@pytest.fixture(scope="package")
def truths(settings: Settings) -> list[Sample]:
    return list(samples(Renderer(96, 128), settings, quiet=True))


@pytest.fixture(scope="package")
def findings(truths: list[Sample]) -> dict[str, Finding]:
    return {finding.metric.name: finding for finding in calibrate(truths)}


@pytest.fixture(scope="package")
def draw() -> Draw:
    def shot(frames: NDArray[np.generic], keypoints: NDArray[np.generic] | None = None, **labels: slice) -> Shot:
        """Frames [T,H,W,3] whose columns ``labels`` (slices by label) are labelled so, the others background."""
        ids = np.zeros(frames.shape[:3], np.uint8)
        for label, columns in labels.items():
            ids[:, :, columns] = LABELS.index(label)
        points = np.zeros((len(frames), 17, 3), np.float32) if keypoints is None else np.asarray(keypoints, np.float32)
        attributes = {
            name: np.eye(len(classes), dtype=np.float32)[[0] * len(frames)] for name, classes in ATTRIBUTES.items()
        }
        reading = Reading(ids, np.ones(ids.shape, np.float32), points, attributes)
        return Shot(frames.astype(np.uint8), reading)

    return shot
