"""The part of the protocol that all benchmarks share: which seeds they use and how they stream a switch."""

from __future__ import annotations

from itertools import islice

import numpy as np

from quickchange.engine.studio import Studio
from quickchange.evaluate.types import Frames
from quickchange.media.images import PlacedGarment
from quickchange.world import Clip
from quickchange.world.split import held_out

CHUNKS_BEFORE, CHUNKS_AFTER = 3, 2
FIRST_SEED = 100_000


def held_out_seeds(count: int, first: int = FIRST_SEED) -> list[int]:
    """The first ``count`` held-out seeds, from ``first`` on."""
    return list(islice((seed for seed in range(first, first + 1000 * count) if held_out(seed)), count))


def segment_length(studio: Studio, chunks: int) -> int:
    """Number of frames in the first ``chunks`` chunks of a segment: the first latent is one frame, the others four."""
    return 1 + studio.components.codec.temporal * (studio.components.stream.chunk * chunks - 1)


def stream_switch(
    studio: Studio, clip: Clip, variant: str, before: int = CHUNKS_BEFORE, after: int = CHUNKS_AFTER
) -> tuple[Frames, Frames]:
    """Stream ``before`` chunks in the clip's garment A and ``after`` chunks since a live switch to B.

    Returns:
        Frames u8[T, H, W, 3] of both parts. Both are as long as chunks of a new segment, because variants that open
        none would have some frames more.

    Raises:
        ValueError: the clip was rendered without garment B.
    """
    if clip.garment_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered without its second garment; use both=True or switch_at")
    seed = clip.spec.seed
    with studio.open(
        clip.reference, PlacedGarment(clip.garment), clip.prompt.dynamic, seed, variant=variant
    ) as session:
        first = [chunk.frames for chunk in islice(session, before)]
        session.wear(PlacedGarment(clip.garment_b))
        second = [chunk.frames for chunk in islice(session, after)]
    return np.concatenate(first), np.concatenate(second)[: segment_length(studio, after)]
