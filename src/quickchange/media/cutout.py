"""The cut-out of a garment from its background, by classical vision.

It needs no download, and takes about a second on one CPU core.

On an even, light background the mask is a flood fill from the border. On any other (clothes on beds, floors, doors)
GrabCut runs from several seeds, and a vote of colours refines each result. The mask with the best score is used: it
separates colours well and its outline follows strong edges. Masks are computed at reduced size. A guided filter
sharpens them at full size.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

RGB = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]

MAX_SIDE = 2048  # greatest side of the result, px; canvases are smaller
WORK_SIDE = 224  # greatest side for GrabCut, px; its time grows faster than the number of pixels
FLOOD_SIDE = 512  # greatest side for the flood fill, px
LEAST, MOST = 0.03, 0.97  # shares of the picture that a garment may cover
PALETTE = 32  # number of colours in votes and histograms
SURE_BG, MAYBE_BG, MAYBE_FG = cv2.GC_BGD, cv2.GC_PR_BGD, cv2.GC_PR_FGD


def cut_out(rgb: RGB) -> tuple[RGB, Floats]:
    """Cut a garment out of its photo.

    Photos above 2048 px a side are reduced first. If no garment of 3 to 97 % of the picture is found, the function logs
    a warning and takes the whole picture as the garment.

    Args:
        rgb: uint8 [H, W, 3].

    Returns:
        Colours, uint8 [h, w, 3], and alpha, float32 [h, w] in 0..1. Where alpha is between 0 and 1, the colours are
        those of the garment alone, without the background.
    """
    rgb = _shrink(rgb, MAX_SIDE)
    flooded = _flood(_shrink(rgb, FLOOD_SIDE))
    mask = flooded if flooded is not None and _plausible(flooded) else _segment(_shrink(rgb, WORK_SIDE))
    if mask is None or not _plausible(mask):
        share = 0.0 if mask is None else float(mask.mean())
        logger.warning("background not recognised (garment share %.0f %%): the whole picture is used", 100 * share)
        return rgb, np.ones(rgb.shape[:2], np.float32)
    alpha = _sharpen(mask, rgb)
    return _own_colours(rgb, alpha), alpha


def _shrink(rgb: RGB, side: int) -> RGB:
    scale = side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _plausible(mask: Mask) -> bool:
    return LEAST <= float(mask.mean()) <= MOST


def _disk(diameter: int) -> Any:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))


def _gradient(image: Floats) -> Floats:
    """Length of the colour gradient, float32 [H, W], per pixel."""
    slopes = [cv2.Sobel(image, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))]
    return np.asarray(np.sqrt(sum((slope**2).sum(2) for slope in slopes)), np.float32)


# -- even, light background ------------------------------------------------------------------------------------------


def _flood(rgb: RGB) -> Mask | None:
    """Mask by a flood fill from the border, or None unless the border has one light, greyish colour."""
    lab = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
    height, width = lab.shape[:2]
    ring = _edge_distance(height, width) < 0.03
    colour = np.median(lab[ring], 0)
    distance = np.linalg.norm(lab - colour, axis=2)
    if colour[0] < 75 or np.hypot(*colour[1:]) > 12 or (distance[ring] > 6).mean() > 0.1:
        return None
    near = distance < np.clip(2 + 2 * np.median(distance[ring]), 2.5, 6)
    # the garment's soft shadow: the same tint, darker, and without an edge
    drop = colour[0] - lab[..., 0]
    shadow = (drop > 0) & (drop < 25) & (np.linalg.norm(lab[..., 1:] - colour[1:], axis=2) < 4) & (_gradient(lab) < 1)
    passable = (near | shadow).astype(np.uint8)
    _, labels = cv2.connectedComponents(passable, connectivity=4)
    outside = np.isin(labels, np.unique(labels[ring & near])) & (passable == 1)
    return _tidy((~outside).astype(np.uint8))


# -- anything else ---------------------------------------------------------------------------------------------------


def _edge_distance(height: int, width: int) -> Floats:
    """Distance to the nearest picture edge as a fraction of the shorter side."""
    y, x = np.mgrid[:height, :width]
    edge = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return (edge / min(height, width)).astype(np.float32)


def _centre_distance(height: int, width: int) -> Floats:
    """Distance from the centre: 0 there, 1 at the middle of every picture edge, more in the corners."""
    y, x = np.mgrid[:height, :width]
    return np.hypot((x + 0.5) * 2 / width - 1, (y + 0.5) * 2 / height - 1).astype(np.float32)


@dataclass(frozen=True)
class _View:
    """Measurements of one photo, per pixel: colour, palette entry, edge strength, distances to edge and centre."""

    lab: RGB
    palette: NDArray[np.int32]
    strength: Floats
    edge: Floats
    centre: Floats

    @staticmethod
    def of(rgb: RGB) -> _View:
        height, width = rgb.shape[:2]
        lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)
        smooth = np.asarray(cv2.cvtColor(cv2.bilateralFilter(rgb, 5, 25, 3), cv2.COLOR_RGB2LAB), np.float32)
        cv2.setRNGSeed(0)  # seeds OpenCV's generator: the same photo must give the same garment
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
        colours = min(PALETTE, height * width)
        _, labels, _ = cv2.kmeans(smooth.reshape(-1, 3), colours, None, stop, 1, cv2.KMEANS_PP_CENTERS)
        strength = _gradient(cv2.GaussianBlur(lab.astype(np.float32), (0, 0), 1))
        strength = cv2.dilate(np.minimum(strength / max(float(np.percentile(strength, 95)), 1e-6), 1), _disk(3))
        return _View(
            lab,
            np.asarray(labels, np.int32).reshape(height, width),
            np.asarray(strength, np.float32),
            _edge_distance(height, width),
            _centre_distance(height, width),
        )

    def count(self, weight: NDArray[Any]) -> NDArray[np.float64]:
        """Sum of ``weight`` per palette entry."""
        sums = np.bincount(self.palette.ravel(), weight.ravel().astype(np.float64), PALETTE)
        return sums.astype(np.float64)


def _segment(rgb: RGB) -> Mask | None:
    """The best of several GrabCut masks, or None if none is plausible."""
    view = _View.of(rgb)
    ring = view.edge < 0.03
    middle, border = view.count(np.exp(-((view.centre / 0.45) ** 2))), view.count(view.edge < 0.06)
    middle, border = middle / middle.sum(), border / border.sum()
    central = (middle / (middle + border + 1e-9))[view.palette] > 0.5
    best: tuple[float, Mask | None] = (-np.inf, None)
    for maybe in (np.ones_like(ring), view.centre < 0.75, central & (view.centre < 1.05)):
        seeds = np.where(maybe, MAYBE_FG, MAYBE_BG).astype(np.uint8)
        seeds[ring] = SURE_BG
        for _ in range(3):
            mask = _tidy(_grab(view.lab, seeds))
            if not _plausible(mask):
                break
            best = max(best, (_score(mask, view), mask), key=lambda scored: scored[0])
            seeds = _vote(mask, view, ring)
    return best[1]


def _grab(lab: RGB, seeds: Mask) -> Mask:
    inside = seeds == MAYBE_FG
    if not inside.any() or inside.all():
        return inside.astype(np.uint8)
    labels, models = seeds.copy(), [np.zeros((1, 65)) for _ in range(2)]
    cv2.setRNGSeed(0)
    cv2.grabCut(lab, labels, None, models[0], models[1], 3, cv2.GC_INIT_WITH_MASK)
    return np.asarray(labels & 1, np.uint8)


def _vote(mask: Mask, view: _View, ring: NDArray[np.bool_]) -> Mask:
    """New seeds: every colour goes to the side that holds most of it.

    This removes background that the mask encloses, for instance between legs. It also lets a garment extend into the
    border ring where it clearly continues there.
    """
    inside, outside = view.count(mask), view.count(1 - mask)
    share = (inside / (inside + outside + 1e-9))[view.palette]
    near = cv2.dilate(mask, _disk(2 * round(0.05 * min(mask.shape)) + 1)) == 1
    seeds = np.where(share > 0.5, MAYBE_FG, MAYBE_BG).astype(np.uint8)
    seeds[ring & ~((share > 0.8) & near)] = SURE_BG
    return seeds


def _score(mask: Mask, view: _View) -> float:
    """Score of a mask: higher for colours that the background lacks, strong edges, a short outline, a central place.

    The weights were set by eye on photos of clothes on beds, floors and doors.
    """
    inside, outside = view.count(mask), view.count(1 - mask)
    overlap = float(np.sqrt(inside / inside.sum() * outside / outside.sum()).sum())
    outline = (cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _disk(3)) == 1) & (view.edge > 0.01)
    strength = float(view.strength[outline].mean()) if outline.any() else 0.0
    length = float(outline.sum() / np.sqrt(mask.sum()))
    weight = np.exp(-((view.centre / 0.5) ** 2))
    central = float((weight * mask).sum() / weight.sum())
    corners = float(mask[view.centre > 1.1].mean())
    missed = 1.0 if central < 0.35 else 0.0
    return -0.8 * overlap + 1.5 * strength - 0.01 * length + 0.3 * central - 0.3 * corners - missed


# -- from mask to alpha ----------------------------------------------------------------------------------------------


def _tidy(mask: Mask) -> Mask:
    """Remove specks, long thin parts and side pieces. Fill cracks, small holes and prints, but no gap between limbs."""
    unit = max(mask.shape) / 256
    brush, thick = (_disk(2 * round(radius * unit) + 1) for radius in (1.5, 3))
    mask = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_OPEN, brush), cv2.MORPH_CLOSE, brush)
    core = cv2.dilate(cv2.morphologyEx(mask, cv2.MORPH_OPEN, thick), _disk(2 * round(5 * unit) + 1))
    mask = mask & core
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.asarray(mask, np.uint8)
    centre = _centre_distance(*mask.shape)
    weights = [stats[i, cv2.CC_STAT_AREA] * np.exp(-2 * centre[labels == i].min() ** 2) for i in range(1, count)]
    kept = [i + 1 for i, weight in enumerate(weights) if weight > 0.25 * max(weights)]
    mask = np.isin(labels, kept).astype(np.uint8)
    left, _, width, _ = cv2.boundingRect(mask)
    holes, labels, stats, middles = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    for i in range(1, holes):
        x, y, w, h, area = stats[i]
        open_to_border = x == 0 or y == 0 or x + w == mask.shape[1] or y + h == mask.shape[0]
        print_like = abs(middles[i][0] - left - width / 2) < width / 6
        if not open_to_border and (area < 0.02 * mask.sum() or print_like):
            mask[labels == i] = 1
    return mask


def _sharpen(mask: Mask, rgb: RGB) -> Floats:
    """Enlarge a mask to full size, with its outline on the photo's edges (guided filter, He et al. 2010)."""
    height, width = rgb.shape[:2]
    scale = max(height, width) / max(mask.shape)
    coarse = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1)
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    window = (2 * max(2, round(2 * scale)) + 1,) * 2
    mean_g, mean_m = cv2.blur(guide, window), cv2.blur(coarse, window)
    slope = (cv2.blur(guide * coarse, window) - mean_g * mean_m) / (cv2.blur(guide * guide, window) - mean_g**2 + 1e-3)
    offset = mean_m - slope * mean_g
    alpha = cv2.blur(slope, window) * guide + cv2.blur(offset, window)
    # The guided mask is soft over a whole window. We narrow the soft band and move it a little inside: a rim of
    # background is worse than a slightly trimmed garment.
    return np.asarray(np.clip((alpha - 0.5) * 2.5 + 0.3, 0, 1), np.float32)


def _own_colours(rgb: RGB, alpha: Floats) -> RGB:
    """Estimate the garment's colours where alpha is between 0 and 1 (blur fusion, Forte 2021, one round)."""
    window = (2 * max(3, round(0.01 * max(alpha.shape))) + 1,) * 2
    image, cover = rgb.astype(np.float32), alpha[..., None]
    inner = cv2.blur(image * cover, window) / (cv2.blur(alpha, window)[..., None] + 1e-4)
    outer = cv2.blur(image * (1 - cover), window) / (cv2.blur(1 - alpha, window)[..., None] + 1e-4)
    own = inner + cover * (image - cover * inner - (1 - cover) * outer)
    edge = (cover > 0) & (cover < 1)
    return np.where(edge, own, image).round().clip(0, 255).astype(np.uint8)
