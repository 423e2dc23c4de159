"""The paper's switch ablation on exact ground truth: what each way of rescheduling does to clothes and pose.

Protocol (version 1). For every held-out seed of the "easy" world a clip is rendered in garment A and, with the same
motion, in garment B. A session starts from the clip's reference in A, streams ``CHUNKS_BEFORE`` chunks, switches to B,
streams ``CHUNKS_AFTER`` more. Measured:

* colour errors (CIEDE2000) of the worn region against A and B in ground truth, in the nine frames before the
  switch and the nine after it; the region is where both garments are worn in every ground-truth frame, eroded;
* pose jump: ``pose_step`` across the switch, beside the median step inside chunks of the same stream, and beside the
  jump that the change of clothes alone makes in ground truth.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from quickchange.bench.measure import Mask, colour_error, erode, pose_step
from quickchange.bench.protocol import (
    CHUNKS_BEFORE,
    Frames,
    held_out_seeds,
    interval,
    segment_length,
    stream_switch,
)
from quickchange.files import atomic_path, write_json_atomic, write_text_atomic
from quickchange.studio import Studio
from quickchange.world import Clip, Label, Renderer, render_clip, sample_spec

log = logging.getLogger(__name__)
PROTOCOL = 1
VARIANTS = ("refresh", "refresh+withdraw", "full", "recache")
SMALLEST_REGION = 60  # pixels


@dataclass(frozen=True)
class SwitchResult:
    """One seed, one variant. Colours are CIEDE2000, steps are shares of the silhouette; see the module header."""

    seed: int
    variant: str
    before_to_a: float
    before_to_b: float
    after_to_a: float
    after_to_b: float
    pose_jump: float
    pose_step: float
    true_jump: float


def render_pairs(studio: Studio, seeds: Sequence[int]) -> Iterator[Clip]:
    """Clips at the studio's size, each in both garments."""
    renderer = Renderer(studio.width, studio.height)
    length = segment_length(studio, CHUNKS_BEFORE)
    for seed in seeds:
        yield render_clip(renderer, sample_spec(seed, "easy"), frames=length, fps=studio.fps, both=True)


def in_b(clip: Clip) -> tuple[Frames, Frames, Frames]:
    """Frames, ids and product shot of the clip in garment B; ValueError unless it was rendered in both."""
    if clip.frames_b is None or clip.ids_b is None or clip.garment_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered in one garment; render it with both=True")
    return clip.frames_b, clip.ids_b, clip.garment_b


def worn_region(clip: Clip) -> Mask:
    """Where both garments are worn in every frame, eroded."""
    both = (clip.ids == Label.UPPER) & (in_b(clip)[1] == Label.UPPER)
    return erode(np.asarray(both.all(0)))


def measure(clip: Clip, variant: str, before: Frames, after: Frames, region: Mask) -> SwitchResult:
    """Scores one switch."""
    frames_b, _, _ = in_b(clip)
    chunk = 9  # frames of a segment's first chunk of three latents
    steps = [pose_step(a, b) for a, b in pairwise(before)]
    middle = len(clip.frames) // 2
    return SwitchResult(
        seed=clip.spec.seed,
        variant=variant,
        before_to_a=colour_error(before[-chunk:], clip.frames, region),
        before_to_b=colour_error(before[-chunk:], frames_b, region),
        after_to_a=colour_error(after[:chunk], clip.frames, region),
        after_to_b=colour_error(after[:chunk], frames_b, region),
        pose_jump=pose_step(before[-1], after[0]),
        pose_step=float(np.median(steps)),
        true_jump=pose_step(clip.frames[middle], frames_b[middle + 1]),
    )


def ablate(studio: Studio, out: Path, seeds: int = 32, variants: Sequence[str] = VARIANTS, pictured: int = 4) -> str:
    """Runs the protocol; writes ``ablation.json``, ``ablation.md`` and ``ablation.png`` into ``out``.

    Returns:
        The table as Markdown.
    """
    out.mkdir(parents=True, exist_ok=True)
    results: list[SwitchResult] = []
    rows: list[Frames] = []
    numbers = held_out_seeds(seeds)
    for clip in tqdm(render_pairs(studio, numbers), total=len(numbers), desc="ablate", unit="seed"):
        region = worn_region(clip)
        if region.sum() < SMALLEST_REGION:
            log.info("seed %d: worn region of %d pixels is too small to measure, skipped", clip.spec.seed, region.sum())
            continue
        shown = len({result.seed for result in results}) < pictured
        for variant in variants:
            before, after = stream_switch(studio, clip, variant)
            results.append(measure(clip, variant, before, after, region))
            if shown:
                rows.append(_row(clip, before, after))
    table = summary(results, variants)
    record = {"protocol": PROTOCOL, "seeds": numbers, "results": [asdict(r) for r in results]}
    write_json_atomic(out / "ablation.json", record)
    write_text_atomic(out / "ablation.md", table)
    if rows:
        _save(np.concatenate(rows), out / "ablation.png")
    return table


def summary(results: Sequence[SwitchResult], variants: Sequence[str]) -> str:
    """Medians with 95 % intervals, one line per variant."""
    if not results:
        raise ValueError("no seed could be measured; use more seeds")
    columns = ("before_to_a", "before_to_b", "after_to_a", "after_to_b", "pose_jump", "pose_step", "true_jump")
    head = "| variant | n | changed | " + " | ".join(c.replace("_", " ") for c in columns) + " |\n"
    lines = [head, "|" + "---|" * (len(columns) + 3) + "\n"]
    for variant in variants:
        own = [r for r in results if r.variant == variant]
        changed = np.mean([r.after_to_b < r.after_to_a for r in own])
        cells = []
        for column in columns:
            middle, low, high = interval([getattr(r, column) for r in own])
            digits = 3 if "pose" in column or "jump" in column else 1
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})")
        lines.append(f"| {variant} | {len(own)} | {changed:.0%} | " + " | ".join(cells) + " |\n")
    return "".join(lines)


def _row(clip: Clip, before: Frames, after: Frames) -> Frames:
    picks_before = before[[0, len(before) // 2, -1]]
    picks_after = after[[0, 4, len(after) // 2, -1]]
    return np.concatenate([clip.reference, clip.garment, *picks_before, in_b(clip)[2], *picks_after], 1)


def _save(picture: Frames, path: Path) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
