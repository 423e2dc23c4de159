"""The measured rewards as a Markdown table, a plot and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from experiments.quality_reward.agreement import Scored
from experiments.quality_reward.degraded import DegradedFrames
from quickchange.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENERATED = "next chunk"  # beginning of the names of families that a model made
SYNTHETIC = "synthetic"
GROUPS = {"true": "true", "codec": "codec", "next chunk, 4 steps": "next chunk, 4 steps",
          "next chunk, 2 steps": "next chunk, 2 steps", "next chunk, 1 steps": "next chunk, 1 step"}  # fmt: skip
COLOURS = {"true": "#222222", "codec": "#2a6f97", "next chunk, 4 steps": "#5b8c5a", "next chunk, 2 steps": "#b08d2c",
           "next chunk, 1 step": "#c0563b", SYNTHETIC: "#bbbbbb"}  # fmt: skip


def table(record: Mapping[str, Any]) -> str:
    """The correlations of all rewards as Markdown, one column per reward."""
    rewards: dict[str, dict[str, Any]] = record["rewards"]
    names = {
        "overall": "all frames",
        "within_clips": "inside each clip, mean of clips",
        "generated": "generated chunks",
        "generated_within_clips": "generated chunks, inside each clip",
    }
    rows = [(title, _cells([found[key] for found in rewards.values()])) for key, title in names.items()]
    first = next(iter(rewards.values()))
    for name, family in first["families"].items():
        if family["follows"]["value"] is not None:
            title = f"{GROUPS.get(name, name)} (mean error {family['error']:.3f})"
            rows.append((title, _cells([found["families"][name]["follows"] for found in rewards.values()])))
    lines = [f"| frames | {' | '.join(rewards)} |", "|---" * (1 + len(rewards)) + "|"]
    return "\n".join([*lines, *(f"| {title} | {row} |" for title, row in rows)])


def _cells(figures: Sequence[Mapping[str, Any]]) -> str:
    shown = ("-" if x["value"] is None else f"{x['value']:.2f} ({x['low']:.2f} to {x['high']:.2f})" for x in figures)
    return " | ".join(shown)


def draw(record: Mapping[str, Any], scored: Mapping[str, Scored], out: Path) -> None:
    """Plot scores over errors, correlations per family, and scores by depth.

    Args:
        record: see ``measure.py``; needs the rewards "quality" and "detail".
        scored: by reward.
        out: PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9.6, 7.6))
    rewards = record["rewards"]
    for axis, name in zip(axes[0], ("quality", "detail"), strict=True):
        _scatter(axis, name, scored[name], rewards[name]["overall"]["value"])
    ends = [0, max(scored["quality"].error.max(), 0.1)]
    axes[0, 0].plot(ends, ends, color="#999999", linewidth=1, linestyle="--")
    axes[0, 1].legend(fontsize=7, markerscale=2)
    _families(axes[1, 0], rewards)
    _depths(axes[1, 1], rewards["quality"]["stream_score_by_chunk"])
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    figure.tight_layout()
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)


def _scatter(axis: Axes, name: str, part: Scored, correlation: float) -> None:
    group = np.array([GROUPS.get(family, SYNTHETIC) for family in part.family])
    for label, colour in reversed(COLOURS.items()):
        at = group == label
        axis.scatter(part.error[at], -part.score[at], s=7, alpha=0.55, color=colour, label=label, linewidths=0)
    axis.set(title=f"{name}: Spearman {correlation:.2f} over all frames")
    axis.set(xlabel="true error", ylabel=f"minus {name} score")
    axis.set_ylim(top=1.05 * float(np.percentile(-part.score, 99.8)))


def _families(axis: Axes, rewards: Mapping[str, Any]) -> None:
    families = [n for n, f in rewards["quality"]["families"].items() if f["follows"]["value"] is not None]
    for shift, name, colour in ((0.17, "quality", "#2a6f97"), (-0.17, "detail", "#c0563b")):
        for place, family in enumerate(families):
            x = rewards[name]["families"][family]["follows"]
            at, label = len(families) - place + shift, "" if place else name
            axis.barh(at, x["value"], 0.32, color=colour, label=label, alpha=0.8)
            axis.plot([x["low"], x["high"]], [at, at], color="#222222", linewidth=1.1)
    axis.set_yticks(range(len(families), 0, -1), [GROUPS.get(f, f) for f in families], fontsize=8)
    axis.set(title="Spearman per family", xlim=(min(0, axis.get_xlim()[0]), 1))
    axis.legend(fontsize=7, loc="lower right")


def _depths(axis: Axes, curve: Sequence[Mapping[str, float]]) -> None:
    depth = np.arange(1, len(curve) + 1)
    axis.plot(depth, [x["value"] for x in curve], marker="o", markersize=3, color="#2a6f97")
    axis.fill_between(depth, [x["low"] for x in curve], [x["high"] for x in curve], color="#2a6f97", alpha=0.2)
    axis.set(title="free streams: mean quality score", xlabel="chunk", ylabel="quality score")


def sheet(known: Sequence[DegradedFrames], scored: Scored, out: Path, rows: int = 6, columns: int = 10) -> None:
    """Write frames from worst to best score, each above its truth; score and true error stand below.

    Args:
        known: families with a truth.
        scored: their frames, in the same order.
        out: picture file.
        rows: of the sheet.
        columns: of the sheet. Frames are evenly spaced in rank.
    """
    frames, truth = (np.concatenate([getattr(family, name) for family in known]) for name in ("frames", "truth"))
    order = scored.score.argsort()
    picks = order[np.linspace(0, len(order) - 1, rows * columns).round().astype(int)]
    height, width = frames.shape[1:3]
    line = 26
    picture = Image.new("RGB", (width * columns, (2 * height + line) * rows), "white")
    write = ImageDraw.Draw(picture)
    for place, i in enumerate(picks):
        x, y = place % columns * width, place // columns * (2 * height + line)
        picture.paste(Image.fromarray(np.concatenate([frames[i], truth[i]])), (x, y))
        name = str(scored.family[i]).removeprefix(GENERATED + ", ")
        write.text((x + 2, y + 2 * height), f"{scored.score[i]:.3f} / {scored.error[i]:.3f}\n{name}", "black")
    with atomic_path(out) as temporary:
        picture.save(temporary)
