"""Renders what the scorecard needs of a held-out seed: a clip with a switch, and a start at rest for the prompt."""

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
    """A seed's ground truth: frames ``[:switch_at]`` of the clip wear garment A, the others B."""

    clip: Clip
    switch_at: int

    @property
    def spec(self) -> ClipSpec:
        return self.clip.spec


def render_round(renderer: Renderer, seed: int, difficulty: Difficulty, fps: float, before: int, after: int) -> Round:
    """``before`` frames in garment A, then ``after`` in B, in one motion."""
    spec = sample_spec(seed, difficulty)
    return Round(render_clip(renderer, spec, frames=before + after, fps=fps, switch_at=before), before)


@lru_cache(maxsize=2)
def _renderer(width: int, height: int) -> Renderer:
    return Renderer(width, height)


def renderer_for(width: int, height: int) -> Renderer:
    """A renderer of this size; compiling its shaders takes as long as drawing some clips, so it is kept."""
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
    """The reference, the part in garment A and the part in B with exact readings."""
    a, b = true_readings(round_)
    clip, at = round_.clip, round_.switch_at
    reference = Shot(clip.reference[None], reference_reading(clip))
    return reference, Shot(clip.frames[:at], a), Shot(clip.frames[at:], b)


def case_of(spec: ClipSpec, truth: Shot, reference: Shot, second: bool = False, motion: Tracks | None = None) -> Case:
    """A case whose stream is the truth; ``Case.showing`` puts another there. ``second``: garment B is worn."""
    classes = attribute_classes(upper_worn(spec, spec.garment_b if second else spec.garment_a))
    return Case(truth, truth, reference, classes, motion)


def switch_case(spec: ClipSpec, before: Shot, after: Shot, old: Shot, new: Shot, first_chunk: int) -> SwitchCase:
    height, width = before.frames.shape[1:3]
    return SwitchCase(before, after, old, new, first_chunk, body_height(spec, width, height))


@dataclass(frozen=True, eq=False)
class AtRest:
    """A start from which every motion of the world is possible, and the prompt to give there.

    Attributes:
        options: the clip under every prompt. asked: number of the one to give. words: its text.
        reference, garment: u8[H,W,3].
    """

    options: list[ClipSpec]
    asked: int
    words: str
    reference: Frames
    garment: Frames

    def tracks(self, frames: int, fps: float) -> Tracks:
        """Where every prompt would take the keypoints."""
        size = self.reference.shape[1], self.reference.shape[0]
        return possible_tracks(self.options, self.asked, frames, fps, size)


def render_at_rest(renderer: Renderer, spec: ClipSpec, turn: int, fps: float) -> AtRest:
    """The seed's person at rest; prompts are given in turn, so that many seeds ask for all of them."""
    options = possible_motions(spec)
    asked = turn % len(options)
    clip = render_clip(renderer, options[asked], frames=1, fps=fps)
    return AtRest(options, asked, clip.prompt.dynamic, clip.reference, clip.garment)


def motion_clip(renderer: Renderer, spec: ClipSpec, frames: int, fps: float) -> tuple[Shot, Clip]:
    """Any spec's clip in garment A with its exact reading."""
    clip = render_clip(renderer, spec, frames=frames, fps=fps)
    return exact_shots(Round(clip, frames))[1], clip
