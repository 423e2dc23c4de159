"""Plots and pictures of the scorecard and the ablation, as PNG or JPEG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from quickchange.evaluate.scorecard.score import TRUTH
from quickchange.evaluate.types import Frames

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


def attention_plot(record: Mapping[str, Any]) -> bytes:
    """Stacked shares of attention before and after a switch.

    History is lowest, with its interval and with the share that it would have if every token got the same.

    Args:
        record: of ``attention_record``.
    """
    order = ("history", "garment", "reference", "itself")
    colours = dict(zip(order, ("#b08d2c", "#c0563b", "#2a6f97", "#cccccc"), strict=True))
    figure, axis = _new(8.4, 4.0)
    places: list[float] = []
    labels: list[str] = []
    for number, (variant, moments) in enumerate(record.items()):
        for turn, (moment, found) in enumerate(moments.items()):
            place, bottom = number * (len(moments) + 0.8) + turn, 0.0
            for name in order:
                middle = found["share"][name][0]
                axis.bar(place, middle, 0.8, bottom, color=colours[name], label=None if places else name)
                if middle > 0.035:
                    colour, at = "black" if name == "itself" else "white", bottom + middle / 2
                    axis.text(place, at, f"{middle:.0%}", ha="center", va="center", fontsize=8, color=colour)
                bottom += middle
            _, low, high = found["share"]["history"]
            axis.plot([place + 0.3] * 2, [low, high], color="#222222", linewidth=1.4)
            even = found["seen"]["history"] / sum(found["seen"].values())
            label = None if places else "history, if spread\nevenly over all tokens"
            axis.plot([place - 0.48, place - 0.25], [even, even], color="black", linewidth=2, label=label)
            places.append(place)
            labels.append(moment.replace(" ", "\n"))
        axis.text(places[-1] - (len(moments) - 1) / 2, 1.02, variant, ha="center", fontsize=10)
    axis.set_xticks(places, labels, fontsize=8)
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of self-attention")
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], names[::-1], fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _png(figure)


def strips_picture(strips: Sequence[tuple[str, Frames]], titles: Mapping[int, str], columns: int = 10) -> bytes:
    """Draw strips of frames below each other, as JPEG.

    Args:
        strips: (name, strip) pairs. A strip is u8[H, W, 3] with ``columns`` frames side by side; its name stands at the
            left.
        titles: by column, written above it.
        columns: frames in a strip.
    """
    margin, top = 110, 20
    height, width = strips[0][1].shape[:2]
    picture = Image.new("RGB", (margin + width, top + height * len(strips)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for column, title in titles.items():
        draw.text((margin + column * width // columns + 2, top // 2), title, "black", font, "lm")
    for row, (name, strip) in enumerate(strips):
        at = top + row * height
        picture.paste(Image.fromarray(strip), (margin, at))
        draw.text((6, at + height // 2), name.replace("+", "\n+ ").replace("_", "\n"), "black", font, "lm")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def picture_png(picture: Frames) -> bytes:
    """Encode u8[H, W, 3] as PNG."""
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
