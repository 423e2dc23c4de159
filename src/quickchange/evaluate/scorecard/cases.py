"""Render ground truth of a held-out seed: a clip with a switch, and a start at rest for the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quickchange.evaluate.scorecard.metrics.base import Case, Shot, Tracks
from quickchange.evaluate.scorecard.metrics.prompt import possible_motions, possible_tracks
from quickchange.evaluate.scorecard.metrics.switch import SwitchCase, body_height
from quickchange.evaluate.types import Frames
from quickchange.parsing.reading import Reading, attribute_classes, upper_worn
from quickchange.parsing.truth import one_hot, reference_reading
from quickchange.world import Clip, ClipSpec, Renderer, render_clip, sample_spec
from quickchange.world.keypoints import VISIBLE
from quickchange.world.spec import Difficulty


@dataclass(frozen=True, eq=False)
class Round:
    """A seed's ground truth.

    Attributes:
        clip: its first ``switch_at`` frames wear garment A, the others B.
        switch_at: number of the first frame in B.
    """

    clip: Clip
    switch_at: int

    @property
    def spec(self) -> ClipSpec:
        """The clip's spec."""
        return self.clip.spec


def render_round(renderer: Renderer, seed: int, difficulty: Difficulty, fps: float, before: int, after: int) -> Round:
    """Render ``before`` frames in garment A, then ``after`` in B, in one motion."""
    spec = sample_spec(seed, difficulty)
    return Round(render_clip(renderer, spec, frames=before + after, fps=fps, switch_at=before), before)


@lru_cache(maxsize=2)
def _renderer(width: int, height: int) -> Renderer:
    return Renderer(width, height)


def renderer_for(width: int, height: int) -> Renderer:
    """The renderer of a size. It is kept, because compiling its shaders takes as long as drawing several clips."""
    return _renderer(width, height)


def true_readings(round_: Round) -> tuple[Reading, Reading]:
    """Exact readings of the part in garment A and of the part in garment B."""
    clip, at = round_.clip, round_.switch_at
    keypoints = clip.keypoints.copy()
    keypoints[..., 2] = keypoints[..., 2] == VISIBLE
    found = []
    for part, garment in ((slice(None, at), clip.spec.garment_a), (slice(at, None), clip.spec.garment_b)):
        ids = clip.ids[part]
        attributes = one_hot(upper_worn(clip.spec, garment), len(ids))
        found.append(Reading(ids, np.ones(ids.shape, np.float32), keypoints[part], attributes))
    return found[0], found[1]


def exact_shots(round_: Round) -> tuple[Shot, Shot, Shot]:
    """The reference, the part in garment A and the part in B, with exact readings."""
    a, b = true_readings(round_)
    clip, at = round_.clip, round_.switch_at
    reference = Shot(clip.reference[None], reference_reading(clip))
    return reference, Shot(clip.frames[:at], a), Shot(clip.frames[at:], b)


def case_of(spec: ClipSpec, truth: Shot, reference: Shot, second: bool = False, motion: Tracks | None = None) -> Case:
    """A case whose stream is the truth itself; ``Case.showing`` puts another stream there.

    Args:
        spec: of the clip.
        truth: its frames.
        reference: one frame.
        second: garment B is worn.
        motion: for metrics of prompts.
    """
    classes = attribute_classes(upper_worn(spec, spec.garment_b if second else spec.garment_a))
    return Case(truth, truth, reference, classes, motion)


def switch_case(spec: ClipSpec, before: Shot, after: Shot, old: Shot, new: Shot, first_chunk: int) -> SwitchCase:
    """A switch with its truth.

    Args:
        spec: of the clip.
        before: the stream before the switch.
        after: the stream after it.
        old: truth in the old garment.
        new: truth in the new garment.
        first_chunk: frames of the first chunk after the switch.
    """
    height, width = before.frames.shape[1:3]
    return SwitchCase(before, after, old, new, first_chunk, body_height(spec, width, height))


@dataclass(frozen=True, eq=False)
class AtRest:
    """A start from which every motion of the world is possible, and the prompt to give there.

    Attributes:
        options: the clip under every prompt.
        asked: number of the prompt to give.
        words: its text.
        reference: u8[H, W, 3].
        garment: u8[H, W, 3].
    """

    options: list[ClipSpec]
    asked: int
    words: str
    reference: Frames
    garment: Frames

    def tracks(self, frames: int, fps: float) -> Tracks:
        """Keypoint tracks under every prompt."""
        size = self.reference.shape[1], self.reference.shape[0]
        return possible_tracks(self.options, self.asked, frames, fps, size)


def render_at_rest(renderer: Renderer, spec: ClipSpec, turn: int, fps: float) -> AtRest:
    """Render the seed's person at rest; ``turn`` chooses the prompt, so that many seeds cover all of them."""
    options = possible_motions(spec)
    asked = turn % len(options)
    clip = render_clip(renderer, options[asked], frames=1, fps=fps)
    return AtRest(options, asked, clip.prompt.dynamic, clip.reference, clip.garment)


def motion_clip(renderer: Renderer, spec: ClipSpec, frames: int, fps: float) -> tuple[Shot, Clip]:
    """Render any spec's clip in garment A, with its exact reading."""
    clip = render_clip(renderer, spec, frames=frames, fps=fps)
    return exact_shots(Round(clip, frames))[1], clip
