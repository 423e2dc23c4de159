"""COCO-17 keypoints of a posed body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickchange.world.assets import Floats
from quickchange.world.body import Body
from quickchange.world.camera import View
from quickchange.world.spec import Label

NAMES = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
         "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
         "right_ankle")  # fmt: skip
OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2
# Capsules that may hide a point: two keypoints and a radius in decimetres. The torso is one more capsule, between the
# middle of the shoulders and the middle of the hips.
LIMBS = ((5, 7, 0.45), (6, 8, 0.45), (7, 9, 0.4), (8, 10, 0.4), (11, 13, 0.7), (12, 14, 0.7), (13, 15, 0.45),
         (14, 16, 0.45))  # fmt: skip
TORSO_RADIUS = 1.1
HAND = 0.3  # length of a hand, relative to its forearm


class Keypoints:
    """The keypoints of a body: rest-pose points, each bound to one bone."""

    def __init__(self, body: Body) -> None:
        self.body = body
        bone, joints, heads = body.assets.bone, body.joints, body.heads
        eye = joints["l-eye"]
        face = body.vertices[np.unique(body.assets.faces["body"])]
        near = face[(np.abs(face[:, 1] - (eye[1] - 0.45)) < 0.3) & (np.abs(face[:, 0]) < 0.3)]
        head = face[np.abs(face[:, 1] - eye[1] + 0.15) < 0.25]
        ear = head[(np.abs(head[:, 0]) < 1.2) & (head[:, 2] < eye[2] - 0.3)]
        ear = ear[np.argmax(ear[:, 0])]
        points = [(near[np.argmax(near[:, 2])], "head"), (eye, "head"), (joints["r-eye"], "head"), (ear, "head"),
                  (ear * np.array([-1, 1, 1]), "head")]  # fmt: skip
        for joint, bones in (("shoulder", "upperarm01"), ("elbow", "lowerarm01"), ("hand", "wrist"),
                             ("upper-leg", "upperleg01"), ("knee", "lowerleg01"), ("ankle", "foot")):  # fmt: skip
            points += [(joints[f"{side}-{joint}"], f"{bones}.{side.upper()}") for side in "lr"]
        self.rest: Floats = np.stack([np.asarray(point, np.float32) for point, _ in points])
        self.bones = np.array([bone(name) for _, name in points])
        self.head_bone, self.head = bone("head"), heads[bone("head")]

    def project(self, matrices: Floats, view: View, ids: NDArray[np.uint8]) -> Floats:
        """Project the keypoints of a posed body into a picture.

        A face point is hidden when the head turns it away, or when something else than the head covers it. Body joints
        lie inside the body: they count as visible unless the label there is background or hair. A limb or the torso
        hides the points behind it.

        Args:
            matrices: f32[bones,3,4], skinning matrices.
            view: the camera.
            ids: u8[H,W], labels of the picture.

        Returns:
            f32[17,3]: x and y in pixels, visibility (0 outside the picture, 1 hidden, 2 visible).
        """
        rows, columns = ids.shape
        posed = np.einsum("kij,kj->ki", matrices[self.bones][:, :, :3], self.rest) + matrices[self.bones][:, :, 3]
        clip = np.concatenate([posed, np.ones((len(posed), 1))], 1) @ view.matrix.T.astype(np.float64)
        xy = clip[:, :2] / clip[:, 3:]
        x, y = (xy[:, 0] + 1) / 2 * columns, (1 - xy[:, 1]) / 2 * rows
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        label = ids[np.clip(y, 0, rows - 1).astype(int), np.clip(x, 0, columns - 1).astype(int)]
        head_turn = matrices[self.head_bone][:, :3]
        to_eye = view.eye - posed
        outwards = np.array([[0, 0, 1], [0.35, 0, 1], [-0.35, 0, 1], [1, 0, 0.25], [-1, 0, 0.25]]) @ head_turn.T
        shown = ~np.isin(label, (Label.BACKGROUND, Label.HAIR))
        shown[:5] = (np.einsum("ki,ki->k", outwards, to_eye[:5]) > 0) & np.isin(
            label[:5], (Label.SKIN, Label.EYES, Label.HAIR)
        )
        shown &= ~_covered(posed, np.asarray(view.eye, np.float64))
        visibility = np.where(inside, np.where(shown, VISIBLE, HIDDEN), OUTSIDE)
        return np.stack([x, y, visibility], 1).astype(np.float32)


def _covered(points: NDArray[np.float64], eye: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask bool[17] of the points f64[17,3] that have a limb or the torso between them and the eye."""
    first, second, radius = (np.array(column) for column in zip(*LIMBS, strict=True))
    start, end = points[first], points[second].copy()
    end[2:4] += HAND * (end[2:4] - start[2:4])
    start = np.concatenate([start, points[5:7].mean(0)[None]])
    end = np.concatenate([end, points[11:13].mean(0)[None]])
    radius = np.append(radius, TORSO_RADIUS)
    # Closest approach of two lines: the ray from a point towards the eye (rows) and a capsule's axis (columns).
    distance = np.linalg.norm(eye - points, axis=1, keepdims=True)
    ray = ((eye - points) / distance)[:, None]
    axis, apart = (end - start)[None], start[None] - points[:, None]
    along, length = (ray * axis).sum(-1), (axis * axis).sum(-1)
    towards, ahead = (apart * axis).sum(-1), (apart * ray).sum(-1)
    place = np.clip((along * ahead - towards) / np.maximum(length - along**2, 1e-9), 0, 1)
    nearest = apart + place[..., None] * axis
    depth = (nearest * ray).sum(-1)
    gap = np.linalg.norm(nearest - depth[..., None] * ray, axis=-1)
    covering = (gap < radius) & (depth > radius + 0.1)
    own = np.zeros_like(covering)
    own[first, np.arange(len(first))] = own[second, np.arange(len(first))] = True
    return np.asarray((covering & ~own).any(1))
