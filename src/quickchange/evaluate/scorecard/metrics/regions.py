"""Statistics of regions of frames: colour palettes, and amounts of detail by direction and size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.colour import Lab, erode
from quickchange.evaluate.scorecard.metrics.base import Shot
from quickchange.evaluate.types import Floats, Mask
from quickchange.world.colour import lab_difference

COLOURS = 3
LEAST_PIXELS = 30
VISIBLE_DETAIL = 0.5  # root mean square in L*a*b* units below which detail is hardly seen
SCALES = (0.7, 1.4, 2.8)  # standard deviations in pixels of a picture 96 wide
Palette = list[tuple[float, Lab]]


def inner(mask: Mask) -> Mask:
    """Remove a mask's edge pixels, which mix with their neighbours; keep them where little else is left."""
    small = erode(mask, 1)
    return small if small.sum() >= LEAST_PIXELS else mask


def palette(lab_N3: Floats, rounds: int = 8) -> Palette:
    """Shares and L*a*b* colours of the ``COLOURS`` clusters of k-means that are not empty.

    Starts from places along the main axis of variation, so that equal pixels give equal palettes.
    """
    centred = lab_N3 - lab_N3.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = centred @ axis
    places = np.quantile(along, [0.1, 0.5, 0.9])
    centres = np.stack([lab_N3[np.abs(along - place).argmin()] for place in places])
    owner = np.zeros(len(lab_N3), int)
    for _ in range(rounds):
        owner = ((lab_N3[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack(
            [lab_N3[owner == k].mean(0) if (owner == k).any() else centres[k] for k in range(len(centres))]
        )
    shares = np.bincount(owner, minlength=len(centres)) / len(owner)
    return [(float(s), as_lab(c)) for s, c in zip(shares, centres, strict=True) if s > 0]


def palette_error(first: Palette, second: Palette) -> float:
    """CIEDE2000 from every colour to the nearest of the other palette, weighted by shares; mean of both directions."""
    between = np.array([[lab_difference(a, b) for _, b in second] for _, a in first])
    there = float(np.dot([s for s, _ in first], between.min(1)))
    back = float(np.dot([s for s, _ in second], between.min(0)))
    return (there + back) / 2


def mean_colour(shot: Shot, mask_THW: Mask) -> Lab | None:
    """Median L*a*b* over a region of all frames; None where it has fewer than ``LEAST_PIXELS`` pixels."""
    pixels = shot.lab[mask_THW]
    return as_lab(np.median(pixels, 0)) if len(pixels) >= LEAST_PIXELS else None


def as_lab(values: NDArray[np.floating]) -> Lab:
    """Three numbers as an L*a*b* colour."""
    return float(values[0]), float(values[1]), float(values[2])


def detail(lab_HWC: Floats, mask: Mask) -> Floats:
    """Root mean squares in a region: of each channel in bands of three sizes, and of their slopes in four directions.

    Returns:
        f32[3 * (C + 4)] in L*a*b* units. The region's border does not count: smoothing looks at pixels inside only.
    """
    size = lab_HWC.shape[1] / 96
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if len(rows):
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        lab_HWC, mask = lab_HWC[part], mask[part]
    weight = mask.astype(np.float32)
    inside = inner(mask)
    count = max(1, int(inside.sum()))

    def smooth(sigma: float) -> Floats:
        cover = cv2.GaussianBlur(weight, (0, 0), sigma * size)
        return np.asarray(
            cv2.GaussianBlur(lab_HWC * weight[..., None], (0, 0), sigma * size) / np.maximum(cover, 1e-3)[..., None]
        )

    features: list[float] = []
    finer = smooth(SCALES[0] / 2)
    for sigma in SCALES:
        coarser = smooth(2 * sigma)
        band = finer - coarser
        features += [float(np.sqrt((band[..., c][inside] ** 2).sum() / count)) for c in range(band.shape[2])]
        across, down = (cv2.Scharr(band, cv2.CV_32F, *order) / 32 for order in ((1, 0), (0, 1)))
        slopes = (across, down, (across + down) / np.sqrt(2), (across - down) / np.sqrt(2))
        features += [float(np.sqrt((slope[inside] ** 2).sum() / count)) for slope in slopes]
        finer = smooth(sigma)
    return np.asarray(features, np.float32)


def overlap(first: Floats, second: Floats) -> float:
    """Ruzicka similarity of two lists of amounts, in [0, 1]: the shared amount over the greater amount.

    Amounts too small to be seen count as equal.
    """
    f, s = first + VISIBLE_DETAIL, second + VISIBLE_DETAIL
    return float(np.minimum(f, s).sum() / np.maximum(f, s).sum())


def repetition(lab_HWC: Floats, mask: Mask, lags: int = 20) -> Floats:
    """Covariance of a region's colours with themselves ``1 .. lags`` pixels to the side and below.

    Args:
        lab_HWC: f32[H, W, C].
        mask: bool[H, W], the region.
        lags: in pixels of a picture 96 wide.

    Returns:
        f32[2 * lags] in squared L*a*b* units.
    """
    inside = mask.astype(np.float32)
    rest = (lab_HWC - lab_HWC[mask].mean(0)) * inside[..., None]
    step = lab_HWC.shape[1] / 96
    features = []
    for axis in (0, 1):
        for lag in range(1, lags + 1):
            shift = max(1, round(lag * step))
            here = [slice(None)] * 2
            there = [slice(None)] * 2
            here[axis], there[axis] = slice(None, -shift), slice(shift, None)
            pairs = float((inside[tuple(here)] * inside[tuple(there)]).sum())
            product = float((rest[tuple(here)] * rest[tuple(there)]).sum())
            features.append(product / pairs if pairs >= LEAST_PIXELS else 0.0)
    return np.asarray(features, np.float32)


def agreement(first: Floats, second: Floats, unseen: float) -> float:
    """Cosine-like similarity in [0, 1] that is 1 for equal lists only; lists shorter than ``unseen`` are equal."""
    longest = max(float(first @ first), float(second @ second))
    return max(0.0, (float(first @ second) + unseen**2) / (longest + unseen**2))
