"""What every benchmark here shares: which seeds are judged, how a switch is streamed, how sure a figure is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quickchange.engine.studio import Studio
from quickchange.world import Clip
from quickchange.world.split import held_out

CHUNKS_BEFORE, CHUNKS_AFTER = 3, 2
FIRST_SEED = 100_000

Frames = NDArray[np.uint8]
Pool = Literal["mean", "median"]


def held_out_seeds(count: int, first: int = FIRST_SEED) -> list[int]:
    """The first ``count`` held-out seeds from ``first`` on."""
    return list(islice((seed for seed in range(first, first + 1000 * count) if held_out(seed)), count))


def segment_length(studio: Studio, chunks: int) -> int:
    """Frames that the first ``chunks`` chunks of a segment have: their first latent is one frame, the others four."""
    return 1 + studio.components.codec.temporal * (studio.components.stream.chunk * chunks - 1)


def stream_switch(
    studio: Studio, clip: Clip, variant: str, before: int = CHUNKS_BEFORE, after: int = CHUNKS_AFTER
) -> tuple[Frames, Frames]:
    """Frames u8[T,H,W,3] of ``before`` chunks in the clip's garment A and of ``after`` chunks since a live switch to B.

    Both parts are as long as chunks of a new segment: variants that open none would have some frames more.

    Raises:
        ValueError: the clip was rendered without garment B.
    """
    if clip.garment_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered without its second garment; use both=True or switch_at")
    seed = clip.spec.seed
    with studio.open(clip.reference, clip.garment, clip.prompt.dynamic, seed, variant=variant, cutout=False) as session:
        first = [chunk.frames for chunk in islice(session, before)]
        session.wear(clip.garment_b, cutout=False)
        second = [chunk.frames for chunk in islice(session, after)]
    return np.concatenate(first), np.concatenate(second)[: segment_length(studio, after)]


def interval(values: Sequence[float], pool: Pool = "median", draws: int = 2000) -> tuple[float, float, float]:
    """Median (or mean) of the values and the bootstrap 95 % interval of it; values that are not finite do not count.

    Three times nan where none is left.
    """
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if not len(data):
        return float("nan"), float("nan"), float("nan")
    gather = np.median if pool == "median" else np.mean
    picks = np.random.default_rng(0).integers(0, len(data), (draws, len(data)))
    low, high = np.percentile(gather(data[picks], 1), [2.5, 97.5])
    return float(gather(data)), float(low), float(high)
