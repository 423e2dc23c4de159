"""Ground truth of rendered clips as readings, so that metrics can be run on either."""

from __future__ import annotations

import numpy as np

from quickchange.parsing.reading import ATTRIBUTES, Reading, attribute_classes, upper_worn
from quickchange.world import Clip, GarmentSpec
from quickchange.world.keypoints import VISIBLE


def one_hot(garment: GarmentSpec, frames: int) -> dict[str, np.ndarray]:
    """Attributes of a garment as probabilities f32[frames, classes] of 0 and 1, by name."""
    classes = attribute_classes(garment)
    return {name: np.eye(len(names), dtype=np.float32)[[classes[name]] * frames] for name, names in ATTRIBUTES.items()}


def reading_of(clip: Clip, second: bool = False) -> Reading:
    """The true reading of a clip's frames; of those in garment B with ``second``.

    Confidence is 1 everywhere; keypoints have confidence 1 where visible and 0 elsewhere.

    Raises:
        ValueError: ``second`` and the clip was rendered in one garment.
    """
    ids, garment = clip.ids, clip.spec.garment_a
    if second:
        if clip.ids_b is None:
            raise ValueError(f"seed {clip.spec.seed} was rendered in one garment; render it with both=True")
        ids, garment = clip.ids_b, clip.spec.garment_b
    keypoints = clip.keypoints.copy()
    keypoints[..., 2] = clip.keypoints[..., 2] == VISIBLE
    return Reading(
        ids=ids,
        confidence=np.ones(ids.shape, np.float32),
        keypoints=keypoints,
        attributes=one_hot(upper_worn(clip.spec, garment), len(ids)),
    )


def reference_reading(clip: Clip) -> Reading:
    """The true reading of the clip's reference picture, as one frame."""
    keypoints = clip.keypoints[:1].copy()  # the first frame in other clothes
    keypoints[..., 2] = keypoints[..., 2] == VISIBLE
    ids = clip.reference_ids[None]
    garment = upper_worn(clip.spec, clip.spec.garment_reference)
    return Reading(ids, np.ones(ids.shape, np.float32), keypoints, one_hot(garment, 1))
