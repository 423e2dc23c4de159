"""Motion amplitude: mean magnitude of optical flow between neighbouring frames.

The paper gives neither flow method nor unit, so its figures are not comparable with these. Here: dense flow by
Farnebäck's method (OpenCV), in pixels per frame of a picture 1280 pixels high, the paper's size.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from quickchange.evaluate.paper.judges.base import Judge, Metric, NotMeasurableError
from quickchange.evaluate.types import Frames

PAPER_HEIGHT = 1280


class AmplitudeJudge(Judge):
    """Mean optical flow, see the module header. Needs no weights."""

    name = "amplitude"
    metrics = (
        Metric(
            name="amplitude",
            column="Amp.",
            low=0.0,
            high=None,
            higher_is_better=None,
            source="G. Farnebäck, Two-frame motion estimation based on polynomial expansion, 2003; OpenCV",
        ),
    )

    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """See ``Judge.score``."""
        if len(frames) < 2:
            raise NotMeasurableError(f"amplitude: {len(frames)} frame; expected at least 2")
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        steps = []
        for before, after in pairwise(grey):
            flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 4, 15, 3, 5, 1.1, 0)
            steps.append(np.linalg.norm(flow, axis=2).mean())
        return {"amplitude": float(np.mean(steps)) * PAPER_HEIGHT / frames.shape[1]}
