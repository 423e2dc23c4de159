"""The interface of a judge: a model or service that measures a generated video (docs/method.md section 8).

A judge never downloads anything. Weights lie below ``$QUICKCHANGE_WEIGHTS``. Where they are missing, opening the judge
raises ``WeightsNotFoundError``, whose message says what is missing, where it is published and where to put it.
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
    """Weights of a judge are missing; the message says where to get them."""


class NotMeasurableError(InputError):
    """A judge cannot measure this one video (no face in the reference, for instance)."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number that a judge gives.

    Attributes:
        name: key in results.
        column: the paper's name for it.
        low: lowest value.
        high: highest value; None: open.
        higher_is_better: None where it should match the truth.
        source: where the measure comes from.
    """

    name: str
    column: str
    low: float
    high: float | None
    higher_is_better: bool | None
    source: str


class Judge(ABC):
    """A scorer of videos. ``name`` selects it; ``metrics`` are the numbers that ``score`` returns.

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
        """Score one video.

        Args:
            frames: u8[T, H, W, 3], RGB.
            reference: u8[h, w, 3], RGB, the person that the video was made from.
            garment: u8[h, w, 3], RGB, the garment that the video was made from.
            prompt: the text that the video was made from.

        Returns:
            One finite number per name in ``metrics``.

        Raises:
            NotMeasurableError: this video cannot be measured.
            InputError: a service failed.
        """


def weights_path(judge: str, relative: str, origin: str) -> Path:
    """The path ``$QUICKCHANGE_WEIGHTS/relative``.

    Args:
        judge: name, for the message.
        relative: path below the folder of weights.
        origin: where the weights are published, for the message.

    Raises:
        WeightsNotFoundError: the path does not exist, or the variable is not set.
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
