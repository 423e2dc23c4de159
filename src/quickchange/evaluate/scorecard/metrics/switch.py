"""A switch of clothes: whether and how soon the clothes change, and whether anything else jumps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.colour import Lab
from quickchange.evaluate.scorecard.metrics.base import Metric, Shot
from quickchange.evaluate.scorecard.metrics.garment import NOTHING_WORN, SAME_COLOUR
from quickchange.evaluate.scorecard.metrics.preserve import background_change
from quickchange.evaluate.scorecard.metrics.regions import LEAST_PIXELS, VISIBLE_DETAIL, as_lab, inner
from quickchange.world.body import Body
from quickchange.world.camera import window
from quickchange.world.colour import lab_difference
from quickchange.world.motion import MOTIONS
from quickchange.world.spec import ClipSpec

SURE = 0.5
LEAST_POINTS = 4
UPPER_BODY = slice(0, 13)
CHANGED = 0.9  # of the way from the old colour to the new one


@dataclass(frozen=True, eq=False)
class SwitchCase:
    """A stream around a switch, with its truth.

    Attributes:
        before: frames before the switch.
        after: frames after it.
        old: truth in the old garment on this person.
        new: truth in the new garment.
        first_chunk: frames of the first chunk after the switch.
        body_height: the person's height in pixels.
    """

    before: Shot
    after: Shot
    old: Shot
    new: Shot
    first_chunk: int
    body_height: float


def body_height(spec: ClipSpec, width: int, height: int) -> float:
    """Height in pixels of the standing person, even where the framing cuts the legs off."""
    body = Body(spec.person)
    seen = window(body, spec.camera.framing, width / height, MOTIONS[spec.motion.name].reach)
    return height * body.height / (seen.height / spec.camera.zoom)


def worn_colour(shot: Shot) -> Lab | None:
    """Mean L*a*b* of the upper garment over all frames; None where hardly any is worn."""
    pixels = shot.lab[np.stack([inner(mask) for mask in shot.reading.mask("upper")])]
    return as_lab(pixels.mean(0)) if len(pixels) >= LEAST_PIXELS else None


def success(case: SwitchCase) -> float:
    """Whether the first chunk wears the new colour (nearer than the old one, within ``SAME_COLOUR``), 0 or 1."""
    found, old, new = worn_colour(case.after[: case.first_chunk]), worn_colour(case.old), worn_colour(case.new)
    if old is None or new is None:
        return float("nan")
    if found is None:
        return 0.0
    error = lab_difference(found, new)
    return float(error < lab_difference(found, old) and error <= SAME_COLOUR)


def colour_error_after(case: SwitchCase) -> float:
    """CIEDE2000 between the worn colour of the first chunk after the switch and the true new one."""
    found, new = worn_colour(case.after[: case.first_chunk]), worn_colour(case.new)
    if new is None:
        return float("nan")
    return NOTHING_WORN if found is None else lab_difference(found, new)


def progress(case: SwitchCase) -> NDArray[np.float64] | None:
    """How far the worn colour has come from the stream's old colour to the true new one, f64[T] after the switch.

    None where there is no way to go: no garment was worn, or the colours are alike already.
    """
    start, new = worn_colour(case.before[-case.first_chunk :]), worn_colour(case.new)
    if start is None or new is None:
        return None
    way = np.subtract(new, start)
    if np.linalg.norm(way) < VISIBLE_DETAIL:
        return None
    found = [worn_colour(case.after[t : t + 1]) for t in range(len(case.after))]
    return np.array([0.0 if c is None else float(np.subtract(c, start) @ way / (way @ way)) for c in found])


def frames_to_change(case: SwitchCase) -> float:
    """Number of the first frame after the switch with ``progress`` of ``CHANGED`` or more, from 1."""
    found = progress(case)
    if found is None:
        return float("nan")
    reached = np.flatnonzero(found >= CHANGED)
    return float(reached[0] + 1 if len(reached) else len(found) + 1)


def point_step(before: Shot, after: Shot) -> float:
    """Mean distance in pixels between surely seen keypoints of the last and the first frame; nan where too few are."""
    a, b = before.reading.keypoints[-1, UPPER_BODY], after.reading.keypoints[0, UPPER_BODY]
    both = (a[:, 2] > SURE) & (b[:, 2] > SURE)
    if both.sum() < LEAST_POINTS:
        return float("nan")
    return float(np.linalg.norm(a[both, :2] - b[both, :2], axis=1).mean())


def pose_jump(case: SwitchCase) -> float:
    """Mean distance of keypoints across the switch, in body heights."""
    return point_step(case.before, case.after) / case.body_height


def pose_step(case: SwitchCase) -> float:
    """Median over neighbouring frames before the switch of the mean distance of keypoints, in body heights."""
    steps = [point_step(case.before[t : t + 1], case.before[t + 1 : t + 2]) for t in range(len(case.before) - 1)]
    return float(np.nanmedian(steps)) / case.body_height if np.isfinite(steps).any() else float("nan")


def pose_ratio(case: SwitchCase) -> float:
    """``pose_jump`` over ``pose_step``; around 1 where the switch is not visible in the pose."""
    return pose_jump(case) / max(pose_step(case), 1e-6)


def background_jump(case: SwitchCase) -> float:
    """Mean L*a*b* distance of the background across the switch."""
    return background_change(case.before[-1:], case.after[:1])


def flicker(case: SwitchCase) -> float:
    """Mean L*a*b* step of the worn colour between neighbouring frames after the switch."""
    colours = [worn_colour(case.after[t : t + 1]) for t in range(len(case.after))]
    seen = [c for c in colours if c is not None]
    steps = [float(np.linalg.norm(np.subtract(a, b))) for a, b in pairwise(seen)]
    return float(np.mean(steps)) if steps else float("nan")


METRICS: tuple[Metric[SwitchCase], ...] = (
    Metric(
        "success",
        f"whether the mean worn colour of the first chunk after the switch is nearer to the true new one than to the "
        f"old one, and at most {SAME_COLOUR:g} CIEDE2000 from it",
        "0 or 1",
        "higher",
        "no switch",
        success,
    ),
    Metric(
        "colour_error",
        f"CIEDE2000 between the mean worn colour of the first chunk after the switch and the true new one; "
        f"{NOTHING_WORN:g} where nothing is worn",
        f"0..{NOTHING_WORN:g}",
        "lower",
        "no switch",
        colour_error_after,
        pool="median",
        digits=1,
    ),
    Metric(
        "frames_to_change",
        f"first frame after the switch whose worn colour has gone {CHANGED:.0%} of the way from the stream's old "
        "colour to the true new one (L\\*a\\*b\\*); the frames watched + 1 if none has",
        "1..",
        "lower",
        "no switch",
        frames_to_change,
        pool="median",
        digits=1,
    ),
    Metric(
        "pose_jump",
        "mean distance between keypoints (head to hips, surely seen) of the last frame before the switch and the first "
        "after it, in body heights",
        "0..",
        "lower",
        "cut back",
        pose_jump,
        pool="median",
        digits=4,
    ),
    Metric(
        "pose_step",
        "the same between neighbouring frames before the switch, median; what pose_jump is to be held against",
        "0..",
        "lower",
        "shuffled",
        pose_step,
        pool="median",
        digits=4,
    ),
    Metric("pose_ratio", "pose_jump / pose_step", "0..", "lower", "cut back", pose_ratio, pool="median", digits=2),
    Metric(
        "background_jump",
        "mean L\\*a\\*b\\* distance across the switch over pixels that are background on both sides",
        "0..",
        "lower",
        "other scene",
        background_jump,
        pool="median",
        digits=2,
    ),
    Metric(
        "flicker",
        "mean L\\*a\\*b\\* step of the worn colour between neighbouring frames after the switch",
        "0..",
        "lower",
        "flickering",
        flicker,
        pool="median",
        digits=2,
    ),
)
