"""The scorecard's plots, as PNG bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from quickchange.bench.metrics.base import Frames
from quickchange.bench.score import TRUTH

TO_ONE = ("garment_high", "garment_low", "preserve", "identity", "amplitude_ratio", "smoothness", "sharpness", "prompt",
          "ssim")  # fmt: skip
COLOURS = ("#2a6f97", "#c0563b", "#5b8c5a", "#8d6a9f", "#b08d2c", "#555555", "#1b998b", "#d1495b")


def quality_plot(card: dict[str, Any]) -> bytes:
    """Every figure whose best value is 1, with its interval, beside that best."""
    names = [name for name in TO_ONE if card[name] is not None]
    figure, axis = _new(7.2, 0.36 * len(names) + 0.9)
    for place, name in enumerate(reversed(names)):
        low, high = card["intervals"][name]
        axis.plot([low, high], [place, place], color=COLOURS[0], linewidth=4, alpha=0.35, solid_capstyle="round")
        axis.plot([card[name]], [place], "o", color=COLOURS[0])
    axis.axvline(1, color="#999999", linewidth=1, linestyle="--")
    axis.set_yticks(range(len(names)), list(reversed(names)))
    axis.set_xlim(left=min(0.0, axis.get_xlim()[0]))
    axis.set_xlabel("figure and 95 % interval; ground truth is 1 (prompt by chance: 0.5)")
    return _png(figure)


def switch_plot(card: dict[str, Any]) -> bytes:
    """Success, colours and jumps of the switch variants side by side."""
    variants = sorted(card["switch"], key=lambda name: name == TRUTH)
    shown = {"success": "success", "frames_to_change": "frames to change", "pose_jump": "pose jump (body heights)",
             "background_jump": "background jump (L*a*b*)"}  # fmt: skip
    figure, axes = _new(9.6, 2.9, len(shown))
    for axis, (name, title) in zip(axes, shown.items(), strict=True):
        for place, variant in enumerate(variants):
            value = card["switch"][variant][name]
            if value is None:
                continue
            low, high = card["intervals"]["switch"][variant][name]
            axis.bar(place, value, color="#bbbbbb" if variant == TRUTH else COLOURS[place % len(COLOURS)], width=0.7)
            axis.plot([place, place], [low, high], color="#222222", linewidth=1.2)
        axis.set_xticks(range(len(variants)), variants, rotation=40, ha="right", fontsize=8)
        axis.set_title(title, fontsize=9)
    return _png(figure)


def drift_plot(card: dict[str, Any]) -> bytes:
    """Every drifting metric over the windows of the long streams."""
    curve = card["drift_curve"]
    figure, axis = _new(7.2, 3.2)
    for number, (name, values) in enumerate((k, v) for k, v in curve.items() if k != "starts"):
        data = [np.nan if value is None else value for value in values]
        axis.plot(curve["starts"], data, marker="o", markersize=3, label=name, color=COLOURS[number % len(COLOURS)])
    axis.set_xlabel("first frame of the window")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return _png(figure)


def picture_png(picture: Frames) -> bytes:
    """u8[H,W,3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _new(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, panels, figsize=(width, height))
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    return figure, axes


def _png(figure: Any) -> bytes:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()
