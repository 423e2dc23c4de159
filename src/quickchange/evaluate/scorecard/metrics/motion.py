"""How much and how evenly the person moves, and how sharp the picture is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.scorecard.metrics.base import Case, Metric, Shot
from quickchange.evaluate.scorecard.metrics.regions import LEAST_PIXELS
from quickchange.evaluate.types import Floats


def grey(shot: Shot) -> list[NDArray[np.uint8]]:
    """The frames in grey, u8[H, W] each."""
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in shot.frames]


def flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """Optical flow from the first picture to the second, f32[H, W, 2] in pixels (dense inverse search, OpenCV)."""
    search: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    return np.asarray(search.calc(first, second, None), np.float32)


def amplitude(shot: Shot) -> float:
    """Mean length of the optical flow inside the person per frame, as a share of the picture's height."""
    pictures = grey(shot)
    lengths = [
        float(np.linalg.norm(flow(pictures[t], pictures[t + 1]), axis=2)[shot.person[t]].mean())
        for t in range(len(pictures) - 1)
        if shot.person[t].sum() >= LEAST_PIXELS
    ]
    return float(np.mean(lengths)) / shot.frames.shape[1] if lengths else float("nan")


def over_truth(shown: float, true: float) -> float:
    """``shown / true``; nan where the truth has none, 0 where the stream has lost the person."""
    if not true > 0:
        return float("nan")
    return shown / true if np.isfinite(shown) else 0.0


def amplitude_ratio(case: Case) -> float:
    """``amplitude`` over the truth's; nan for fewer than two frames."""
    if len(case.shown) < 2:
        return float("nan")
    true = case.truth.once(amplitude)
    return over_truth(amplitude(case.shown), true)


def smoothness(case: Case) -> float:
    """1 - error of every frame against the one interpolated from its neighbours, over the contrast; 0 or more."""
    shown = case.shown
    pictures = grey(shown)
    rows, columns = np.mgrid[: shown.frames.shape[1], : shown.frames.shape[2]].astype(np.float32)
    errors = []
    for t in range(1, len(pictures) - 1):
        moved = flow(pictures[t - 1], pictures[t + 1]) / 2
        x, y = moved[..., 0], moved[..., 1]
        before = cv2.remap(shown.frames[t - 1], columns - x, rows - y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        after = cv2.remap(shown.frames[t + 1], columns + x, rows + y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        middle = (before.astype(np.float32) + after) / 2
        frame = shown.frames[t].astype(np.float32)
        contrast = float(np.abs(frame - frame.mean((0, 1))).mean())
        errors.append(float(np.abs(frame - middle).mean()) / max(contrast, 1e-3))
    return max(0.0, 1 - float(np.mean(errors))) if errors else float("nan")


def edge_strength(shot: Shot) -> float:
    """Mean absolute Laplacian of lightness inside the person, its outline included, over sampled frames."""
    some = shot.sampled
    found = []
    for t in range(len(some)):
        mask = cv2.dilate(some.person[t].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if mask.sum() >= LEAST_PIXELS:
            light = np.ascontiguousarray(some.lab[t, ..., 0])
            found.append(float(np.abs(cv2.Laplacian(light, cv2.CV_32F))[mask].mean()))
    return float(np.mean(found)) if found else float("nan")


def sharpness(case: Case) -> float:
    """``edge_strength`` over the truth's."""
    true = case.truth.once(edge_strength)
    return over_truth(edge_strength(case.shown), true)


METRICS: tuple[Metric[Case], ...] = (
    Metric(
        "amplitude_ratio",
        "mean optical flow inside the person, over the truth's for the same prompt; 0 where the person is lost",
        "0..",
        "near 1",
        "frozen",
        amplitude_ratio,
        pool="median",
    ),
    Metric(
        "smoothness",
        "1 - mean error of every frame against the one half way between its neighbours (both moved along half the "
        "optical flow between them), over the picture's mean deviation from its own mean",
        "0..1",
        "higher",
        "jittered",
        smoothness,
    ),
    Metric(
        "sharpness",
        "mean absolute Laplacian of lightness inside the person, over the truth's; 0 where the person is lost",
        "0..",
        "near 1",
        "blurred",
        sharpness,
        pool="median",
    ),
)
