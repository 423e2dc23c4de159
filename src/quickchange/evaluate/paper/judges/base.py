"""What a judge is: a measure of a generated video that needs its own weights or service (docs/method.md section 8).

A judge never downloads anything. Weights lie below ``$QUICKCHANGE_WEIGHTS``; where they do not, opening the judge
raises ``WeightsNotFoundError``, which says what is missing, where it is published and where to put it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from quickchange.errors import InputError
from quickchange.evaluate.types import Frames

WEIGHTS_VARIABLE = "QUICKCHANGE_WEIGHTS"


class WeightsNotFoundError(InputError):
    """Weights of a judge are not where they should be; the message says where to get them."""


class NotMeasurableError(InputError):
    """A judge cannot say anything of this one video (no face in the reference, for instance)."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number a judge gives.

    Attributes:
        name: key in results. low, high: range (None: open). higher_is_better: None where it should match the truth.
        column: the paper's name for it. source: where the measure comes from.
    """

    name: str
    column: str
    low: float
    high: float | None
    higher_is_better: bool | None
    source: str


class Judge(ABC):
    """Scores videos. ``name`` is how it is asked for; ``metrics`` are what ``score`` returns.

    Args:
        device: torch device, where the judge computes with torch.

    Raises:
        InputError: weights are missing or unusable, or no endpoint is set.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    @abstractmethod
    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """Scores one video.

        Args:
            frames: uint8 RGB [T, H, W, 3]. reference, garment: uint8 RGB [h, w, 3], the images the video was made from.
            prompt: the text it was made from.

        Returns:
            One finite number per name in ``metrics``.

        Raises:
            NotMeasurableError: this video cannot be judged. InputError: a service failed.
        """


def weights_path(judge: str, relative: str, origin: str) -> Path:
    """``$QUICKCHANGE_WEIGHTS/relative``.

    Raises:
        WeightsNotFoundError: it does not exist, or the variable is not set; ``origin`` says where it is published.
    """
    root = os.environ.get(WEIGHTS_VARIABLE)
    path = Path(root or f"${WEIGHTS_VARIABLE}") / relative
    if not root or not path.exists():
        unset = "" if root else f" (${WEIGHTS_VARIABLE} is not set)"
        raise WeightsNotFoundError(
            f"{judge}: weights not found at {path}{unset}, get them from {origin} and put them in "
            f"${WEIGHTS_VARIABLE}/{relative}"
        )
    return path


def spread_out(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` frame numbers, evenly spaced, first and last included."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})
