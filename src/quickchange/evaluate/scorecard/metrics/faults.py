"""Streams with a known fault, to show that metrics see it. Their readings are the true ones, changed in step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.scorecard.metrics.base import Case, Shot
from quickchange.evaluate.scorecard.metrics.switch import SwitchCase
from quickchange.evaluate.types import Frames
from quickchange.parsing.reading import Reading

JITTER = 3  # pixels, of a picture 96 wide
BLUR = 2.0  # pixels, of a picture 96 wide


@dataclass(frozen=True, eq=False)
class Scene:
    """A case whose stream is the truth itself, and true shots that differ from it in one thing.

    Attributes:
        case: the truth.
        other_garment: in another garment.
        other_person: another person; may be shorter.
        other_motion: another motion.
    """

    case: Case
    other_garment: Shot
    other_person: Shot
    other_motion: Shot


def _order(shot: Shot, order: NDArray[np.int_]) -> Shot:
    reading = shot.reading
    attributes = {name: values[order] for name, values in reading.attributes.items()}
    moved = Reading(reading.ids[order], reading.confidence[order], reading.keypoints[order], attributes)
    return Shot(shot.frames[order], moved)


def _repaint(shot: Shot, paint: Callable[[Frames], Frames]) -> Shot:
    return Shot(np.stack([paint(frame) for frame in shot.frames]), shot.reading)


def shuffled(shot: Shot) -> Shot:
    """Frames in random order."""
    return _order(shot, np.random.default_rng(0).permutation(len(shot)))


def frozen(shot: Shot) -> Shot:
    """The first frame, repeated."""
    return _order(shot, np.zeros(len(shot), int))


def noise(shot: Shot) -> Shot:
    """Random pixels."""
    rng = np.random.default_rng(0)
    return _repaint(shot, lambda frame: rng.integers(0, 256, frame.shape, np.uint8))


def blurred(shot: Shot) -> Shot:
    """Every frame blurred by ``BLUR``."""
    sigma = BLUR * shot.frames.shape[2] / 96
    return _repaint(shot, lambda frame: np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8))


def jittered(shot: Shot) -> Shot:
    """Every frame moved by its own few pixels."""
    reach = max(1, round(JITTER * shot.frames.shape[2] / 96))
    shifts = np.random.default_rng(0).integers(-reach, reach + 1, (len(shot), 2))
    reading = shot.reading

    def moved(stack: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.stack([np.roll(frame, shift, (1, 0)) for frame, shift in zip(stack, shifts, strict=True)])

    keypoints = reading.keypoints.copy()
    keypoints[..., :2] += shifts[:, None]
    return Shot(
        np.asarray(moved(shot.frames), np.uint8),
        replace(reading, ids=np.asarray(moved(reading.ids), np.uint8), keypoints=keypoints),
    )


BAD: dict[str, Callable[[Scene], Shot]] = {
    "wrong garment": lambda scene: scene.other_garment,
    "other person": lambda scene: scene.other_person,
    "other motion": lambda scene: scene.other_motion,
    "frozen": lambda scene: frozen(scene.case.truth),
    "shuffled": lambda scene: shuffled(scene.case.truth),
    "jittered": lambda scene: jittered(scene.case.truth),
    "blurred": lambda scene: blurred(scene.case.truth),
    "noise": lambda scene: noise(scene.case.truth),
}


def _flickering(shot: Shot) -> Shot:
    gains = 1 + 0.15 * (np.arange(len(shot)) % 2)
    frames = np.clip(shot.frames / gains[:, None, None, None], 0, 255).astype(np.uint8)
    return Shot(frames, shot.reading)


def no_switch(case: SwitchCase) -> SwitchCase:
    """The old garment continues, in the motion that the truth has after the switch."""
    return replace(case, after=case.old[-len(case.after) :])


def cut_back(case: SwitchCase) -> SwitchCase:
    """The new garment in the pose at the start of the stream; ``new`` must be the whole truth in it."""
    return replace(case, after=case.new[: len(case.after)])


def shuffled_before(case: SwitchCase) -> SwitchCase:
    """Frames before the switch in random order."""
    return replace(case, before=shuffled(case.before))


def other_scene(case: SwitchCase) -> SwitchCase:
    """Everything after the switch is a little darker."""
    return replace(case, after=_repaint(case.after, lambda frame: np.asarray(frame * 0.9, np.uint8)))


def flickering(case: SwitchCase) -> SwitchCase:
    """Every second frame after the switch is darker."""
    return replace(case, after=_flickering(case.after))


BAD_SWITCHES: dict[str, Callable[[SwitchCase], SwitchCase]] = {
    "no switch": no_switch,
    "cut back": cut_back,
    "shuffled": shuffled_before,
    "other scene": other_scene,
    "flickering": flickering,
}
