"""Whether the worn garment is the requested one: at a glance (kind and colours), and in its pattern."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quickchange.evaluate.scorecard.metrics.base import Case, Metric, Shot
from quickchange.evaluate.scorecard.metrics.regions import (
    LEAST_PIXELS,
    Palette,
    agreement,
    detail,
    inner,
    overlap,
    palette,
    palette_error,
    repetition,
)
from quickchange.evaluate.types import Floats

SAME_COLOUR = 10.0  # CIEDE2000 up to which a glance calls two colours the same; garments of one clip are 25 apart
NOTHING_WORN = 100.0  # the colour error of a frame without a garment: black to white
UNSEEN_REPETITION = 20.0  # length of the list of covariances (squared L*a*b* units) of what is hardly a pattern


def worn_palette(shot: Shot) -> Palette | None:
    """Dominant colours of the upper garment over the sampled frames; None where hardly any is worn."""
    some = shot.sampled
    region = np.stack([inner(mask) for mask in some.reading.mask("upper")])
    return palette(some.lab[region]) if region.sum() >= LEAST_PIXELS else None


def colour_errors(shown: Shot, truth: Shot) -> list[float]:
    """Palette error of the worn garment to the truth's, per sampled frame; empty where the truth has no palette."""
    true = truth.once(worn_palette)
    if true is None:
        return []
    palettes = (worn_palette(shown.sampled[t : t + 1]) for t in range(len(shown.sampled)))
    return [NOTHING_WORN if found is None else palette_error(found, true) for found in palettes]


def can_tell(case: Case, attribute: str) -> bool:
    """Whether the attribute of the truth is read correctly; only then can a stream be measured by it."""
    return int(case.truth.reading.attributes[attribute].mean(0).argmax()) == case.classes[attribute]


def attribute_right(attribute: str) -> Callable[[Case], float]:
    """A measure: share of frames whose attribute is read as the true class; nan where ``can_tell`` is false."""

    def measure(case: Case) -> float:
        if not can_tell(case, attribute):
            return float("nan")
        return float((case.shown.sampled.reading.attributes[attribute].argmax(1) == case.classes[attribute]).mean())

    return measure


def garment_colour(case: Case) -> float:
    """Mean palette error over sampled frames, CIEDE2000; nan where the truth has no palette."""
    errors = case.shown.once(colour_errors, case.truth)
    return float(np.mean(errors)) if errors else float("nan")


def garment_high(case: Case) -> float:
    """Share of sampled frames with the true kind of garment and a palette error of at most ``SAME_COLOUR``."""
    errors = case.shown.once(colour_errors, case.truth)
    if not errors:
        return float("nan")
    kinds = case.shown.sampled.reading.attributes["kind"].argmax(1) == case.classes["kind"]
    right = kinds if can_tell(case, "kind") else np.ones(len(errors), bool)
    return float(np.mean(right & (np.asarray(errors) <= SAME_COLOUR)))


def pattern_features(shot: Shot) -> tuple[Floats, Floats] | None:
    """Mean detail and repetition of the worn region over sampled frames; None where hardly any is worn."""
    some = shot.sampled
    found = [
        (detail(some.lab[t], mask), repetition(some.lab[t], mask))
        for t, mask in enumerate(some.reading.mask("upper"))
        if mask.sum() >= LEAST_PIXELS
    ]
    if not found:
        return None
    return np.mean([f for f, _ in found], 0), np.mean([r for _, r in found], 0)


def garment_low(case: Case) -> float:
    """Similarity of the worn pattern to the truth's, in [0, 1]: mean over amounts of detail and repetition."""
    true = case.truth.once(pattern_features)
    shown = pattern_features(case.shown)
    if true is None:
        return float("nan")
    if shown is None:
        return 0.0
    return (overlap(shown[0], true[0]) + agreement(shown[1], true[1], UNSEEN_REPETITION)) / 2


METRICS: tuple[Metric[Case], ...] = (
    Metric(
        "garment_high",
        f"share of frames whose garment is of the true kind and whose palette error (garment_colour) is at most "
        f"{SAME_COLOUR:g}",
        "0..1",
        "higher",
        "wrong garment",
        garment_high,
    ),
    Metric(
        "garment_colour",
        "CIEDE2000 between the three dominant colours (k-means in L\\*a\\*b\\*) of the worn region and those of the "
        "truth's: each to its nearest, weighted by shares, mean of both directions; "
        f"{NOTHING_WORN:g} where nothing is worn",
        f"0..{NOTHING_WORN:g}",
        "lower",
        "wrong garment",
        garment_colour,
        digits=1,
    ),
    *(
        Metric(
            f"garment_{name}",
            f"share of frames whose {what} is read as the true class; only where the truth is read rightly",
            "0..1",
            "higher",
            "wrong garment",
            attribute_right(name),
        )
        for name, what in (
            ("kind", "kind"),
            ("sleeve", "sleeve length"),
            ("length", "garment length"),
            ("neck", "neckline"),
            ("pattern", "kind of pattern"),
        )
    ),
    Metric(
        "garment_low",
        "mean of two similarities to the truth's worn region: amounts of detail in three bands, three colour channels "
        "and four directions (shared amount / greater amount), and covariance with itself 1 to 20 px aside and below "
        "(cosine, scaled by the greater)",
        "0..1",
        "higher",
        "wrong garment",
        garment_low,
    ),
)
