"""COCO-17 keypoints: names and order, places, left and right, and what is visible."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from quickchange.world import Clip, Label, Renderer, render_clip, sample_spec
from quickchange.world.keypoints import HIDDEN, NAMES, OUTSIDE, VISIBLE

COCO = ["nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle"]  # fmt: skip


def standing(renderer: Renderer, yaw: float, framing: Any) -> Clip:
    """A person who stands still, turned by `yaw` radians towards the right of the picture."""
    spec = sample_spec(2)
    spec = dataclasses.replace(
        spec, motion=dataclasses.replace(spec.motion, name="sway", sway=0.0, yaw=yaw, start=0.0),
        camera=dataclasses.replace(spec.camera, framing=framing, azimuth=0.0),
    )  # fmt: skip
    return render_clip(renderer, spec, frames=1)


def points(clip: Clip) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, clip.keypoints[0], strict=True))


def test_names_and_order_are_those_of_coco() -> None:
    assert list(NAMES) == COCO


def test_facing_the_camera(renderer: Renderer) -> None:
    clip = standing(renderer, 0.0, "full")
    found = points(clip)
    assert clip.keypoints.shape == (1, 17, 3)
    for name in COCO[:3] + COCO[5:]:
        assert found[name][2] == VISIBLE, name
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert found[f"left_{part}"][0] > found[f"right_{part}"][0], part
    heights = [found[f"left_{part}"][1] for part in ("eye", "shoulder", "elbow", "hip", "knee", "ankle")]
    assert heights == sorted(heights)
    assert found["left_eye"][1] < found["nose"][1] < found["left_shoulder"][1]


def test_turned_away_the_face_is_hidden(renderer: Renderer) -> None:
    found = points(standing(renderer, np.pi, "full"))
    assert [found[name][2] for name in ("nose", "left_eye", "right_eye")] == [HIDDEN] * 3
    assert found["left_shoulder"][0] < found["right_shoulder"][0]
    assert found["left_shoulder"][2] == VISIBLE


@pytest.mark.parametrize(("yaw", "near", "far"), [(np.pi / 2, "right", "left"), (-np.pi / 2, "left", "right")])
def test_from_the_side_the_body_hides_its_far_half(renderer: Renderer, yaw: float, near: str, far: str) -> None:
    found = points(standing(renderer, yaw, "full"))
    for part in ("shoulder", "elbow", "knee"):
        assert found[f"{near}_{part}"][2] == VISIBLE, part
    assert found[f"{far}_shoulder"][2] == found[f"{far}_ear"][2] == HIDDEN


def test_outside_the_picture(renderer: Renderer) -> None:
    found = points(standing(renderer, 0.0, "bust"))
    assert {found[f"{side}_{part}"][2] for side in ("left", "right") for part in ("knee", "ankle")} == {OUTSIDE}
    assert found["nose"][2] == VISIBLE


def test_visible_points_lie_on_the_person(pairs: dict[str, Clip]) -> None:
    for clip in pairs.values():
        height, width = clip.ids.shape[1:]
        for frame, ids in zip(clip.keypoints, clip.ids, strict=True):
            assert set(frame[:, 2]) <= {OUTSIDE, HIDDEN, VISIBLE}
            for x, y, visibility in frame:
                assert (0 <= x < width and 0 <= y < height) == (visibility != OUTSIDE)
                assert visibility != VISIBLE or ids[int(y), int(x)] != Label.BACKGROUND
