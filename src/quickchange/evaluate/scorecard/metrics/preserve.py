"""Whether everything but the garment stays as in the reference picture: skin, hair, lower garment, background."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from quickchange.evaluate.scorecard.metrics.base import Case, Metric, Shot
from quickchange.evaluate.scorecard.metrics.regions import LEAST_PIXELS, detail, inner, mean_colour, overlap
from quickchange.evaluate.types import Mask
from quickchange.parsing.reading import Reading
from quickchange.world.colour import lab_difference

REGIONS: dict[str, tuple[str, ...]] = {
    "skin": ("skin", "eyes"),
    "hair": ("hair",),
    "lower": ("lower", "skirt", "shoes"),
    "background": ("background",),
}
COLOUR_SCALE = 10.0  # CIEDE2000 at which a colour counts 1/e
LEAST_SHARE = 0.25  # of the truth's area, below which a region counts as lost
PRESERVED = 0.95  # of the truth's own similarity to the reference


def region_of(reading: Reading, region: str) -> Mask:
    """The mask bool[T, H, W] of a region of ``REGIONS``."""
    return np.logical_or.reduce([reading.mask(label) for label in REGIONS[region]])


def similarity(shot: Shot, reference: Shot, region: str) -> float:
    """How alike a region is in sampled frames and in the reference, in [0, 1]: sqrt(colour * structure)."""
    some = shot.sampled
    own, there = region_of(some.reading, region), region_of(reference.reading, region)[0]
    if region == "background":
        shared = own & there
        apart = np.linalg.norm(some.lab - reference.lab, axis=3)[shared]
        error = float(apart.mean()) if apart.size else float("inf")
    else:
        colour = mean_colour(some, np.stack([inner(mask) for mask in own]))
        true = mean_colour(reference, inner(there)[None])
        error = lab_difference(colour, true) if colour and true else float("inf")
    details = [detail(some.lab[t], mask) for t, mask in enumerate(own) if mask.sum() >= LEAST_PIXELS]
    if not details:
        return 0.0
    structure = overlap(np.mean(details, 0), detail(reference.lab[0], there))
    return float(np.sqrt(np.exp(-error / COLOUR_SCALE) * structure))


def region_kept(region: str) -> Callable[[Case], float]:
    """A measure: similarity of a region to the reference, over the truth's; nan where either hardly has it."""

    def measure(case: Case) -> float:
        areas = region_of(case.truth.reading, region).sum((1, 2))
        if min(float(np.median(areas)), float(region_of(case.reference.reading, region).sum())) < LEAST_PIXELS:
            return float("nan")
        if region_of(case.shown.reading, region).sum((1, 2)).mean() < LEAST_SHARE * areas.mean():
            return 0.0
        true = case.truth.once(similarity, case.reference, region)
        if true <= 0:
            return float("nan")
        own = case.shown.once(similarity, case.reference, region)
        return min(1.0, own / true)

    return measure


def preserve(case: Case) -> float:
    """Mean of ``region_kept`` over the regions that can be measured; nan where none can."""
    values = [region_kept(region)(case) for region in REGIONS]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def background_change(before: Shot, after: Shot) -> float:
    """Mean L*a*b* distance, frame by frame, over pixels that are background in both shots."""
    both = ~before.person & ~after.person
    kernel = np.ones((3, 3), np.uint8)
    clear = np.stack([cv2.erode(mask.astype(np.uint8), kernel) > 0 for mask in both])
    apart = np.linalg.norm(before.lab - after.lab, axis=3)[clear]
    return float(apart.mean()) if apart.size else float("nan")


METRICS: tuple[Metric[Case], ...] = (
    Metric(
        "preserve",
        "mean over the regions below",
        "0..1",
        "higher",
        "other person",
        preserve,
    ),
    *(
        Metric(
            f"preserve_{region}",
            f"sqrt(c * s) of the {region} against the reference picture, over the truth's, at most 1; "
            f"c = exp(-colour difference / {COLOUR_SCALE:g}), s = shared / greater amount of detail",
            "0..1",
            "higher",
            "other person",
            region_kept(region),
        )
        for region in REGIONS
    ),
)
