"""Whether the person does what the prompt says: keypoints against their tracks under every prompt of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from quickchange.evaluate.scorecard.metrics.base import Case, Metric, Tracks
from quickchange.evaluate.types import Floats
from quickchange.world.body import Body
from quickchange.world.camera import clip_view
from quickchange.world.keypoints import VISIBLE, Keypoints
from quickchange.world.motion import MOTIONS, controls, describe
from quickchange.world.sampling import EASY_MOTIONS, FULL_MOTIONS
from quickchange.world.skeleton import Skeleton
from quickchange.world.spec import ClipSpec, Label

SIDES: tuple[Literal[-1, 1], ...] = (1, -1)
BODY = slice(0, 13)  # all but knees and ankles, which few framings show
SHOULDERS = slice(5, 7)
SURE = 0.5
FAR = 1.0  # shoulder widths, the greatest distance that counts
UNSEEN = 0.5  # the distance of a point that is seen in one and not in the other


def possible_motions(spec: ClipSpec) -> list[ClipSpec]:
    """The clip under every prompt of its difficulty. Each motion starts at rest."""
    names = [name for name, _ in (EASY_MOTIONS if spec.difficulty == "easy" else FULL_MOTIONS)]
    by_words: dict[str, ClipSpec] = {}
    for name in names:
        for side in SIDES:
            motion = replace(spec.motion, name=name, side=side, start=0.0)
            by_words.setdefault(describe(motion), replace(spec, motion=motion))
    return list(by_words.values())


def possible_tracks(options: Sequence[ClipSpec], asked: int, frames: int, fps: float, size: tuple[int, int]) -> Tracks:
    """Keypoint tracks of ``options`` without drawing anything.

    Args:
        options: clips of one person.
        asked: number of the option that the stream was prompted with.
        frames: length.
        fps: frames per second.
        size: (width, height) in pixels.
    """
    body = Body(options[0].person)
    skeleton, points = Skeleton(body), Keypoints(body)
    anywhere = np.full(size[::-1], Label.SKIN, np.uint8)

    def track(spec: ClipSpec) -> Floats:
        reach = MOTIONS[spec.motion.name].reach
        found = []
        for index in range(frames):
            matrices, _ = skeleton.pose(controls(body, spec.motion, index / fps))
            view = clip_view(body, spec.camera, reach, size[0] / size[1], index / fps)
            found.append(points.project(matrices, view, anywhere))
        return np.stack(found)

    tracks = np.stack([track(option) for option in options])
    tracks[..., 2] = tracks[..., 2] == VISIBLE
    return Tracks(tuple(describe(option.motion) for option in options), tracks, asked)


def distances(shown_T173: Floats, tracks_NT173: Floats) -> Floats:
    """Mean distance of keypoints to each option's, f32[N], in widths of the shoulders at the start, at most ``FAR``.

    A point seen in one and not in the other counts ``UNSEEN``, one seen in neither 0. The first frame is where all
    start from and does not count.
    """
    frames = min(len(shown_T173), tracks_NT173.shape[1])
    shown, tracks = shown_T173[1:frames, BODY], tracks_NT173[:, 1:frames, BODY]
    width = np.linalg.norm(np.subtract(*np.moveaxis(tracks_NT173[:, 0, SHOULDERS, :2], 1, 0)), axis=-1)
    apart = np.linalg.norm(shown[None, ..., :2] - tracks[..., :2], axis=-1) / np.maximum(width, 1)[:, None, None]
    seen, expected = shown[None, ..., 2] > SURE, tracks[..., 2] > SURE
    counted = np.where(seen & expected, np.minimum(apart, FAR), np.where(seen ^ expected, UNSEEN, 0.0))
    return np.asarray(counted.mean((1, 2)), np.float32)


def _ranks(case: Case) -> tuple[float, Floats] | None:
    if case.motion is None:
        return None
    apart = distances(case.shown.reading.keypoints, case.motion.tracks)
    return float(apart[case.motion.asked]), np.delete(apart, case.motion.asked)


def prompt(case: Case) -> float:
    """Share of the other prompts whose tracks are farther from the stream than the asked prompt's; ties count half."""
    found = _ranks(case)
    if found is None:
        return float("nan")
    own, others = found
    return float(((own < others) + 0.5 * (own == others)).mean())


def prompt_first(case: Case) -> float:
    """Whether the asked prompt's track is the nearest, 0 or 1."""
    found = _ranks(case)
    return float("nan") if found is None else float(found[0] < found[1].min())


METRICS: tuple[Metric[Case], ...] = (
    Metric(
        "prompt",
        "share of the world's other prompts whose keypoints, from the same first frame, are farther from the stream's "
        "than the asked prompt's; by chance 0.5",
        "0..1",
        "higher",
        "other motion",
        prompt,
    ),
    Metric(
        "prompt_first",
        "whether no other prompt's keypoints are nearer than the asked prompt's; by chance one in the number of "
        "prompts (11 easy, 16 full)",
        "0 or 1",
        "higher",
        "other motion",
        prompt_first,
    ),
)
