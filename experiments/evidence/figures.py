"""Figures that compare ways of training with exact ground truth alone; no learned network, so any picture size works.

A measured clip begins at the clip's reference, so every pixel of its first frame has a known truth. Later frames may
move otherwise than the truth. They are compared by colours of regions and by amounts. Colour errors are CIEDE2000 (2 to
3 just visible, above 25 another colour).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.colour import erode, region_colour
from quickchange.evaluate.statistics import bootstrap_crossed
from quickchange.evaluate.types import Frames, Mask
from quickchange.world import Clip, Label
from quickchange.world.colour import lab_difference

SMALLEST_REGION = 12  # pixels
CLIP_FIGURES = ("garment", "worn", "pattern", "kept", "change")
STREAM_FIGURES = ("garment", "backdrop", "grain", "detail", "change")
Row = dict[str, float]
Columns = dict[str, list[float]]
Summary = dict[str, dict[str, dict[str, float]]]


def garment_region(clip: Clip, part: slice) -> Mask:
    """The region bool[H, W] where truth (in every frame of ``part``) and reference wear a top, without its border."""
    worn = (clip.ids[part] == Label.UPPER).all(0) & (clip.reference_ids == Label.UPPER)
    return erode(np.asarray(worn), 1)


def still_region(clip: Clip, part: slice) -> Mask:
    """The region bool[H, W] where the truth shows the backdrop in every frame of ``part``, without its border."""
    return erode(np.asarray((clip.ids[part] == Label.BACKGROUND).all(0)), 1)


def psnr(a: Frames, b: Frames, mask: Mask) -> float:
    """Peak signal-to-noise ratio of pictures u8 [H, W, 3] over a region, dB."""
    error = np.square(a[mask].astype(np.float64) - b[mask]).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def detail(frames: Frames) -> float:
    """Mean absolute difference of neighbouring pixels, in grey levels of 0 to 255."""
    grey = frames.astype(np.float32).mean(3)
    return float((np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=2)).mean()) / 2)


def change(frames: Frames) -> float:
    """Mean absolute difference of neighbouring frames, in grey levels."""
    return float(np.abs(np.diff(frames.astype(np.float32).mean(3), axis=0)).mean())


def clip_figures(clip: Clip, made: Frames) -> Row | None:
    """How well a made clip shows what its conditions ask for.

    * ``garment``: colour error of the worn region to the true garment, over all frames. Lower is better.
    * ``worn``: 1 where that colour is nearer to the target than to the reference's own garment.
    * ``pattern``: PSNR of the garment's region in the first frame, dB. Higher is better.
    * ``kept``: PSNR of everything that is not garment in the first frame, dB. Higher is better.
    * ``change``: difference between neighbouring frames in units of the truth's; flicker counts; best near 1.

    Args:
        clip: its truth.
        made: u8[T, H, W, 3].

    Returns:
        None where the garment is hardly visible.
    """
    part = slice(0, len(made))
    region = garment_region(clip, part)
    if region.sum() < SMALLEST_REGION:
        return None
    target, own = region_colour(clip.frames[part], region), region_colour(clip.reference[None], region)
    shown = region_colour(made, region)
    garment = lab_difference(shown, target)
    first = (clip.ids[0] == Label.UPPER) & (clip.reference_ids == Label.UPPER)
    rest = (clip.ids[0] != Label.UPPER) & (clip.reference_ids != Label.UPPER)
    return {
        "garment": garment,
        "worn": float(garment < lab_difference(shown, own)),
        "pattern": psnr(made[0], clip.frames[0], np.asarray(first)),
        "kept": psnr(made[0], clip.frames[0], np.asarray(rest)),
        "change": change(made) / max(change(clip.frames[part]), 1e-3),
    }


def stream_figures(clip: Clip, made: Frames, ends: Sequence[int]) -> list[Row] | None:
    """How well a stream holds up, chunk by chunk.

    * ``garment``: as in ``clip_figures``.
    * ``backdrop``: colour error of the region that shows only wall in the truth.
    * ``grain``: mean distance of that region's pixels from its own mean colour beyond the truth's, L*a*b*; dirt.
    * ``detail``: sharpness in units of the truth's; best near 1.
    * ``change``: as in ``clip_figures``.

    Args:
        clip: its truth.
        made: u8[T, H, W, 3].
        ends: the frame before which each chunk ends.

    Returns:
        One row per chunk; None as in ``clip_figures``.
    """
    whole = slice(0, ends[-1])
    region, wall = garment_region(clip, whole), still_region(clip, whole)
    if min(region.sum(), wall.sum()) < SMALLEST_REGION:
        return None
    rows, start = [], 0
    for end in ends:
        part = slice(start, end)
        shown, truth = made[part], clip.frames[part]
        rows.append(
            {
                "garment": lab_difference(region_colour(shown, region), region_colour(truth, region)),
                "backdrop": lab_difference(region_colour(shown, wall), region_colour(truth, wall)),
                "grain": _spread(shown, wall) - _spread(truth, wall),
                "detail": detail(shown) / max(detail(truth), 1e-3),
                "change": change(shown) / max(change(truth), 1e-3),
            }
        )
        start = end
    return rows


def _spread(frames: Frames, mask: Mask) -> float:
    values = frames[:, mask].astype(np.float32)
    return float(np.abs(values - values.mean(1, keepdims=True)).mean() / 2.55)


def columns_of(rows: Sequence[Mapping[str, float] | None]) -> dict[str, NDArray[np.float64]]:
    """Rows per held-out seed as columns, nan for seeds without figures.

    Raises:
        ValueError: no seed has figures.
    """
    names = next((list(row) for row in rows if row is not None), None)
    if names is None:
        raise ValueError("no held-out seed shows enough of the garment; measure more seeds")
    return {name: np.array([np.nan if row is None else row[name] for row in rows]) for name in names}


def summarise(runs: Mapping[str, Sequence[Columns]]) -> Summary:
    """Mean, interval (``low``, ``high``) and number of training seeds ``n`` of every run and figure.

    Args:
        runs: by name, for every training seed its figures over held-out seeds.
    """
    found: Summary = {}
    for name, seeds in runs.items():
        found[name] = {}
        for figure in seeds[0]:
            mean, low, high = (round(x, 4) for x in bootstrap_crossed([seed[figure] for seed in seeds]))
            found[name][figure] = {"mean": mean, "low": low, "high": high, "n": len(seeds)}
    return found


def as_markdown(summary: Summary, chunks: Sequence[int]) -> str:
    """A table of the clips that teachers make, then one per figure of streams.

    Streams are runs that have figures named ``chunk-N.figure``.

    Args:
        summary: of ``summarise``.
        chunks: numbers N that are shown.
    """
    streams = {name: run for name, run in summary.items() if f"chunk-{chunks[0]}.{STREAM_FIGURES[0]}" in run}
    teachers = {name: run for name, run in summary.items() if name not in streams}
    parts = [_table("Clips of teachers", teachers, CLIP_FIGURES, CLIP_FIGURES)] if teachers else []
    for figure in STREAM_FIGURES if streams else ():
        columns = [f"chunk-{number}.{figure}" for number in chunks]
        parts.append(_table(f"Streams: {figure}", streams, columns, [f"chunk {number}" for number in chunks]))
    return "\n".join(parts)


def _table(title: str, runs: Summary, columns: Sequence[str], labels: Sequence[str]) -> str:
    lines = [title, "", f"| run | training seeds | {' | '.join(labels)} |", "|" + "---|" * (len(labels) + 2)]
    for name, run in runs.items():
        cells = [f"{run[c]['mean']:.3g} ({run[c]['low']:.3g} to {run[c]['high']:.3g})" for c in columns]
        lines.append(f"| {name} | {run[columns[0]]['n']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
