from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from quickchange.world import ClipSpec, sample_spec


def without_shadows(spec: ClipSpec) -> ClipSpec:
    return dataclasses.replace(spec, light=dataclasses.replace(spec.light, shadow=0.0))


def first_spec(fits: Callable[[ClipSpec], bool]) -> ClipSpec:
    """The first spec of the full world that `fits`."""
    return next(spec for spec in (sample_spec(seed, "full") for seed in range(1000)) if fits(spec))


def dilate(mask: np.ndarray, pixels: int) -> np.ndarray:
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = np.logical_or.reduce([padded[1 + dy : 1 + dy + mask.shape[0], 1 + dx : 1 + dx + mask.shape[1]]
                                     for dy in (-1, 0, 1) for dx in (-1, 0, 1)])  # fmt: skip
    return mask
