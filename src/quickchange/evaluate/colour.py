"""Measurements on frames that need no learned network: colours of a region, and silhouettes.

Frames are uint8 RGB [H, W, 3]; masks are bool [H, W].
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.types import Frame, Mask
from quickchange.world.colour import lab_difference

Lab = tuple[float, float, float]


def to_lab(frame: Frame) -> NDArray[np.float32]:
    """Convert RGB u8[H, W, 3] to CIE L*a*b* (D65), f32[H, W, 3]."""
    return np.asarray(cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def region_colour(frames: NDArray[np.uint8], mask: Mask) -> Lab:
    """Mean L*a*b* of a region bool[H, W] over frames u8[T, H, W, 3]."""
    values = np.mean([to_lab(frame)[mask].mean(0) for frame in frames], 0)
    return float(values[0]), float(values[1]), float(values[2])


def colour_error(frames: NDArray[np.uint8], target: NDArray[np.uint8], mask: Mask) -> float:
    """CIEDE2000 between the mean colours of a region in ``frames`` and in ``target``.

    0 is equal, 2 to 3 just visible, above about 25 another colour.

    Args:
        frames: u8[T, H, W, 3].
        target: u8[T, H, W, 3].
        mask: bool[H, W], the region.
    """
    return lab_difference(region_colour(frames, mask), region_colour(target, mask))


def silhouette(frame: Frame, threshold: float = 14.0) -> Mask:
    """The mask bool[H, W] where a frame differs from its backdrop.

    The measure is the L*a*b* distance to the median of the top corners, above ``threshold``. It fits the plain walls of
    the "easy" world and does not depend on the clothes.
    """
    lab = cv2.GaussianBlur(to_lab(frame), (3, 3), 0)
    corner = max(2, frame.shape[1] // 10)
    wall = np.median(np.concatenate([lab[:corner, :corner], lab[:corner, -corner:]]).reshape(-1, 3), 0)
    return np.asarray(np.linalg.norm(lab - wall, axis=2) > threshold)


def silhouette_jump(before: Frame, after: Frame) -> float:
    """Share of the silhouette that differs between two frames: |A xor B| / |A or B|, in [0, 1]."""
    a, b = silhouette(before), silhouette(after)
    return float((a ^ b).sum() / max(1, (a | b).sum()))


def erode(mask: Mask, pixels: int = 2) -> Mask:
    """Remove a border of ``pixels`` from a mask bool[H, W]."""
    size = 2 * pixels + 1
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0)
