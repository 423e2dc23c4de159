"""A reading of frames: labels, keypoints, and attributes of the upper garment. Plain numpy; no network in here.

A ``Reading`` comes from the parser network (network.py) or from a rendered clip's ground truth (truth.py), so every
metric can be run on both. The world's garments are continuous. The classes below are coarse names for what is visible
at small sizes. Both difficulties of the world map onto the same lists:

* ``kind``: the cut's own kind.
* ``sleeve``: none (an armhole is cut in), short (less than 0.6 of the arm covered), long.
* ``length``: waist (the hem ends at least 0.02 torso heights above the hip), hip (below that), knee (a dress that
  covers less than 0.6 of the leg), calf.
* ``neck``: the cut's own neckline.
* ``pattern``: the fabric. Denim and knit count as solid, gingham and plaid as checks, chevron, camo and floral as
  motif; blocks (sleeves, or all below the chest, in another colour) are solid where there is no sleeve to see them on.
* ``print``: whether there is a picture on the chest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from quickchange.world.spec import ClipSpec, GarmentSpec

# In the order of the world's ids; tests compare them.
LABELS = ("background", "skin", "hair", "upper", "lower", "skirt", "shoes", "eyes")
KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
             "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
             "left_ankle", "right_ankle")  # fmt: skip
# Index of every keypoint's partner in the mirror image.
MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)

KINDS = ("tee", "long", "tank", "dress")
SLEEVES = ("none", "short", "long")
LENGTHS = ("waist", "hip", "knee", "calf")
NECKS = ("crew", "v", "scoop")
PATTERNS = ("solid", "horizontal", "vertical", "checks", "dots", "blocks", "motif")
PRINTS = ("none", "print")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "sleeve": SLEEVES,
    "length": LENGTHS,
    "neck": NECKS,
    "pattern": PATTERNS,
    "print": PRINTS,
}
# Colours that overlays are drawn in.
_PALETTE = np.array([[40, 40, 40], [240, 180, 140], [150, 80, 20], [60, 160, 250], [60, 200, 90], [230, 90, 200],
                     [250, 220, 40], [255, 255, 255]], np.uint8)  # fmt: skip
LONG_SLEEVE, HIGH_HEM, LONG_SKIRT = 0.6, 0.02, 0.6
_PATTERN_CLASS = {
    **{name: name for name in ("solid", "horizontal", "vertical", "checks", "dots")},
    **{"denim": "solid", "knit": "solid", "gingham": "checks", "plaid": "checks", "colour_block": "blocks"},
    **dict.fromkeys(("chevron", "camo", "floral"), "motif"),
}


@dataclass(frozen=True, eq=False)
class Reading:
    """Labels, keypoints and attributes of T frames of H x W pixels.

    Attributes:
        ids: u8[T, H, W], indices into ``LABELS``.
        confidence: f32[T, H, W] in [0, 1], probability of the chosen label.
        keypoints: f32[T, 17, 3]: x, y in pixels (0 is the left or upper edge of the picture, pixel centres are at half
            numbers) and the probability in [0, 1] that the point is visible. Places of hidden points are guesses.
        attributes: for every name in ``ATTRIBUTES`` f32[T, classes], probabilities of the upper garment.

    Raises:
        ValueError: shapes do not fit together.
    """

    ids: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    attributes: dict[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        t = len(self.ids)
        wanted = {"keypoints": (t, len(KEYPOINTS), 3), "confidence": self.ids.shape}
        wanted |= {name: (t, len(classes)) for name, classes in ATTRIBUTES.items()}
        if self.ids.ndim != 3 or self.attributes.keys() != ATTRIBUTES.keys():
            raise ValueError(
                f"reading has ids {self.ids.shape} and attributes {sorted(self.attributes)}; "
                f"expected [T, H, W] and {sorted(ATTRIBUTES)}"
            )
        found = {"keypoints": self.keypoints, "confidence": self.confidence, **self.attributes}
        for name, shape in wanted.items():
            if found[name].shape != shape:
                raise ValueError(f"reading's {name} has shape {found[name].shape}; expected {shape}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Reading:
        """The reading of some of the frames."""
        attributes = {name: values[part] for name, values in self.attributes.items()}
        return Reading(self.ids[part], self.confidence[part], self.keypoints[part], attributes)

    def mask(self, label: str) -> NDArray[np.bool_]:
        """The mask bool[T, H, W] of the label of that name.

        Raises:
            ValueError: an unknown name.
        """
        return np.asarray(self.ids == LABELS.index(label))

    def summary(self) -> dict[str, str]:
        """The most probable class of every attribute over all frames together."""
        return {name: classes[int(self.attributes[name].mean(0).argmax())] for name, classes in ATTRIBUTES.items()}


def upper_worn(spec: ClipSpec, chosen: GarmentSpec) -> GarmentSpec:
    """The upper garment when the clip's target garment is ``chosen``.

    It is that garment, or the one that stays when the target is a lower garment.

    Args:
        spec: of the clip.
        chosen: its garment_a, garment_b or garment_reference.
    """
    if spec.target != "lower":
        return chosen
    if spec.upper is None:
        raise ValueError(f"spec of seed {spec.seed} has a lower target and no upper garment")
    return spec.upper


def attribute_classes(garment: GarmentSpec) -> dict[str, int]:
    """The class index of every attribute of an upper or one-piece garment; see the module header.

    Raises:
        ValueError: a lower garment or an unknown fabric.
    """
    if garment.kind not in KINDS:
        raise ValueError(f"garment is of kind {garment.kind!r}; expected one of {KINDS}")
    if garment.pattern.name not in _PATTERN_CLASS:
        raise ValueError(f"pattern is {garment.pattern.name!r}; expected one of {sorted(_PATTERN_CLASS)}")
    if garment.slot == "onepiece":
        length = "calf" if garment.leg >= LONG_SKIRT else "knee"
    else:
        length = "waist" if garment.hem >= HIGH_HEM else "hip"
    sleeve = "none" if garment.armhole > 0 else "long" if garment.sleeve >= LONG_SLEEVE else "short"
    pattern = _PATTERN_CLASS[garment.pattern.name]
    if pattern == "blocks" and sleeve == "none" and garment.pattern.accent == "sleeves":
        pattern = "solid"
    names = {
        "kind": garment.kind,
        "sleeve": sleeve,
        "length": length,
        "neck": garment.neck,
        "pattern": pattern,
        "print": "none" if garment.pattern.print_name == "none" else "print",
    }
    return {name: ATTRIBUTES[name].index(value) for name, value in names.items()}


def overlay(frames: NDArray[np.uint8], reading: Reading, scale: int = 3) -> NDArray[np.uint8]:
    """Draw a reading over its frames.

    Labels are tints. Every keypoint that is likely visible is a dot: red on the person's left, green on the right,
    white on the nose.

    Args:
        frames: u8[T, H, W, 3].
        reading: of them.
        scale: of enlargement.
    """
    large = (frames.repeat(scale, 1).repeat(scale, 2) // 2) + _PALETTE[reading.ids].repeat(scale, 1).repeat(
        scale, 2
    ) // 2
    for picture, points in zip(large, reading.keypoints, strict=True):
        for name, (x, y, seen) in zip(KEYPOINTS, points, strict=True):
            if seen >= 0.5:
                row, column = max(0, round(float(y) * scale) - 2), max(0, round(float(x) * scale) - 2)
                colour = (255, 0, 0) if name.startswith("left") else (0, 255, 0) if name.startswith("right") else 255
                picture[row : row + 4, column : column + 4] = colour
    return np.asarray(large, np.uint8)
