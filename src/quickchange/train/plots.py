"""Pictures that training leaves behind: loss curves and sample sheets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from quickchange.files import atomic_path


def draw_curves(metrics: Path, out: Path) -> None:
    """Every logged scalar over steps, raw and smoothed, one panel each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    if not rows:
        return
    names = sorted({key for row in rows for key in row} - {"step"})
    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3.2), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        points = [(row["step"], row[name]) for row in rows if name in row]
        steps, values = np.array(points).T
        width = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(width) / width, "valid")
        axis.plot(steps, values, alpha=0.25, linewidth=0.6)
        axis.plot(steps[len(steps) - len(smooth) :], smooth, linewidth=1.4)
        axis.set(title=name, xlabel="step")
        if name == "loss" and smooth.min() > 0:
            axis.set_yscale("log")
    figure.tight_layout()
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)


def to_uint8(frames_CTHW: Tensor) -> NDArray[np.uint8]:
    """Frames in [-1, 1] -> uint8 [T, H, W, 3]."""
    return ((frames_CTHW.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()


def save_sheet(rows: Sequence[Sequence[NDArray[np.uint8]]], out: Path, scale: int = 2) -> None:
    """Images [H, W, 3] as a grid, enlarged by ``scale``."""
    grid = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
    picture = Image.fromarray(grid).resize((grid.shape[1] * scale, grid.shape[0] * scale), Image.Resampling.BICUBIC)
    with atomic_path(out) as temporary:
        picture.save(temporary)
