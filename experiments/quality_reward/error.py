"""The true error of degraded frames: how far the person is from the truth, small motions forgiven."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from experiments.quality_reward.degraded import DegradedFrames
from quickchange.evaluate.types import Frames

WINDOW = 7  # pixels over which errors are local
WRONG = 25.0  # L*a*b* distance that counts as fully wrong


def to_lab(frames_NHWC: Frames) -> Tensor:
    """Convert u8[N, H, W, 3] to CIE L*a*b* (D65), f32[N, 3, H, W]."""
    tall = frames_NHWC.reshape(-1, *frames_NHWC.shape[2:]).astype(np.float32) / 255
    lab = cv2.cvtColor(tall, cv2.COLOR_RGB2LAB).reshape(frames_NHWC.shape)
    return torch.from_numpy(np.ascontiguousarray(lab.transpose(0, 3, 1, 2), np.float32))


def _local(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, WINDOW, 2)


def aligned_error(frames: Frames, truth: Frames, person: NDArray[np.bool_], reach: int = 4) -> NDArray[np.float32]:
    """Error of the person after local motion compensation, f32[N], 0 (equal) to about 1.

    Half of it is 1 - SSIM of lightness. The other half is the L*a*b* distance in units of ``WRONG``, at most 1. Both
    are over 7-pixel windows. Every window takes its best match within ``reach`` pixels. The result is the mean over
    windows on the person.

    Args:
        frames: u8[N, H, W, 3].
        truth: u8[N, H, W, 3].
        person: bool[N, H, W], where the person is in ``truth``.
        reach: pixels, even; 0 compares in place.

    Raises:
        ValueError: ``reach`` is negative.
    """
    a, b = to_lab(frames), to_lab(truth)
    padded = F.pad(a, (reach,) * 4, mode="replicate")
    height, width = a.shape[2:]
    mean_b, square_b = _local(b[:, :1]), _local(b[:, :1].square())
    best: Tensor | None = None
    for dy in range(0, 2 * reach + 1, 2):
        for dx in range(0, 2 * reach + 1, 2):
            x = padded[:, :, dy : dy + height, dx : dx + width]
            mean_a = _local(x[:, :1])
            spread = _local(x[:, :1].square()) - mean_a.square() + square_b - mean_b.square()
            both = _local(x[:, :1] * b[:, :1]) - mean_a * mean_b
            # The usual constants, for L in 0..100.
            ssim = ((2 * mean_a * mean_b + 1) * (2 * both + 9)) / (
                (mean_a.square() + mean_b.square() + 1) * (spread + 9)
            )
            colour = (_local((x - b).square().sum(1, keepdim=True)).sqrt() / WRONG).clamp(max=1)
            cost = (1 - ssim + colour) / 2
            best = cost if best is None else torch.minimum(best, cost)
    if best is None:
        raise ValueError(f"reach is {reach}; expected 0 or more pixels")
    weight = _local(torch.from_numpy(person.astype(np.float32))[:, None])
    return ((best * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)).numpy()


def error_of(degraded: DegradedFrames, batch: int = 64) -> NDArray[np.float32]:
    """``aligned_error`` of every frame of a family, f32[N].

    Raises:
        ValueError: the family has no truth.
    """
    if degraded.truth is None or degraded.person is None:
        raise ValueError(f"family {degraded.family!r} has no truth")
    parts = [slice(i, i + batch) for i in range(0, len(degraded), batch)]
    return np.concatenate([aligned_error(degraded.frames[p], degraded.truth[p], degraded.person[p]) for p in parts])
