"""Shots and cases, which metrics measure, and the description of a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, TypeVarTuple

import numpy as np
from numpy.typing import NDArray

from quickchange.evaluate.colour import to_lab
from quickchange.evaluate.statistics import Pool
from quickchange.evaluate.types import Floats, Frames
from quickchange.parsing.reading import Reading

SAMPLED = 6  # frames looked at by metrics that do not need neighbouring ones
Subject = TypeVar("Subject")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, eq=False)
class Shot:
    """Frames and the reading of them.

    Attributes:
        frames: u8[T, H, W, 3].
        reading: of the parser, or exact.

    Raises:
        ValueError: their sizes differ.
    """

    frames: Frames
    reading: Reading

    def __post_init__(self) -> None:
        if self.frames.shape[:3] != self.reading.ids.shape:
            raise ValueError(f"shot has frames {self.frames.shape} and ids {self.reading.ids.shape}; expected the same")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, part: slice) -> Shot:
        return Shot(self.frames[part], self.reading[part])

    def once(self, find: Callable[[Shot, *Ts], T], *args: *Ts) -> T:
        """Return ``find(self, *args)``, computed only the first time for this function and these arguments.

        Several metrics need the same facts about a shot, above all about the truth.
        """
        key = (find, *args)
        if key not in self._found:
            self._found[key] = find(self, *args)
        found: T = self._found[key]
        return found

    @cached_property
    def _found(self) -> dict[tuple[object, ...], Any]:
        return {}

    @cached_property
    def lab(self) -> Floats:
        """CIE L*a*b*, f32[T,H,W,3]."""
        return np.stack([to_lab(frame) for frame in self.frames])

    @cached_property
    def sampled(self) -> Shot:
        """At most ``SAMPLED`` frames, evenly spread; at most every second one."""
        return self[:: max(2, -(-len(self) // SAMPLED))] if len(self) > 1 else self

    @cached_property
    def person(self) -> NDArray[np.bool_]:
        """bool[T,H,W]: all but the background."""
        return ~self.reading.mask("background")


@dataclass(frozen=True, eq=False)
class Tracks:
    """Keypoint tracks under each of N prompts, from one first frame.

    Attributes:
        prompts: N texts.
        tracks: f32[N, T, 17, 3]: x, y in pixels, visible (0 or 1).
        asked: number of the prompt that was given.
    """

    prompts: tuple[str, ...]
    tracks: Floats
    asked: int


@dataclass(frozen=True, eq=False)
class Case:
    """A stream to measure, beside its ground truth.

    Attributes:
        shown: the stream.
        truth: the same person, garment and prompt as the world draws them. The instrument that read ``shown`` has read
            it
            too, so its errors are in both.
        reference: the picture that the stream started from, one frame.
        classes: the true class of every garment attribute.
        motion: for metrics of prompts, else None.
    """

    shown: Shot
    truth: Shot
    reference: Shot
    classes: dict[str, int]
    motion: Tracks | None = None

    def showing(self, shown: Shot) -> Case:
        """The same case with another stream; truth and reference are shared, with what is known of them."""
        return replace(self, shown=shown)


@dataclass(frozen=True)
class Metric(Generic[Subject]):
    """A figure and what a reader must know of it.

    Attributes:
        name: key in the scorecard.
        formula: in words and symbols.
        span: range of values.
        better: which way is good.
        bad: the fault (faults.py) that it must tell from ground truth.
        measure: from a case to the figure; nan where it says nothing about the case.
        pool: how seeds are combined.
        digits: in tables.
    """

    name: str
    formula: str
    span: str
    better: Literal["higher", "lower", "near 1"]
    bad: str
    measure: Callable[[Subject], float]
    pool: Pool = "mean"
    digits: int = 3

    def worse(self, value: float, than: float) -> bool:
        """Whether ``value`` is worse than the figure ``than``."""
        if self.better == "higher":
            return value < than
        if self.better == "lower":
            return value > than
        return distance_to_one(value) > distance_to_one(than)


def distance_to_one(ratio: float) -> float:
    """|log ratio|: a half is as far from 1 as a double; 0 is infinitely far."""
    return float(abs(np.log(ratio))) if ratio > 0 else float("inf")
