"""Motion amplitude on textures that move by a known amount."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from quickchange.evaluate.paper.judges.amplitude import PAPER_HEIGHT, AmplitudeJudge
from quickchange.evaluate.paper.judges.base import NotMeasurableError
from quickchange.evaluate.types import Frames


def moving(step: int, height: int = 64) -> Frames:
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (height, height + 64, 3)).astype(np.float32), (0, 0), 2)
    texture = np.clip((texture - 127) * 6 + 127, 0, 255).astype(np.uint8)
    return np.stack([texture[:, step * t : step * t + height] for t in range(4)])


def score(frames: Frames) -> float:
    return AmplitudeJudge().score(frames, frames[0], frames[0], "")["amplitude"]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_amplitude_is_the_speed_in_pixels_of_the_papers_size(step: int) -> None:
    assert score(moving(step)) == pytest.approx(step * PAPER_HEIGHT / 64, rel=0.15)


def test_stills_have_none_and_one_frame_cannot_be_judged() -> None:
    assert score(moving(0)) == pytest.approx(0, abs=0.1)
    with pytest.raises(NotMeasurableError, match="1 frame"):
        score(moving(1)[:1])
