"""A studio that paints nothing but the colour of the garment: what the model looks like from outside, in no time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickchange.media.images import PlacedGarment, fit_garment
from quickchange.media.video import Frame


@dataclass(frozen=True)
class FakeChunk:
    frames: Frame
    obeys: int


def colour_of(garment: Frame | PlacedGarment) -> Frame:
    garment = garment.rgb if isinstance(garment, PlacedGarment) else garment
    return garment[garment.shape[0] // 2, garment.shape[1] // 2]


class FakeSession:
    """Chunks in the garment's colour: of nine frames where a segment starts, of twelve after that."""

    interrupt_at: int | None = None

    def __init__(self, garment: Frame | PlacedGarment, chunks: int | None) -> None:
        self.colour, self.sequence, self.fresh = colour_of(garment), 0, True
        self.chunks = chunks
        self.delay = 0.0

    def wear(self, garment: Frame | PlacedGarment, *, cutout: bool) -> int:
        self.colour, self.fresh = colour_of(garment), True
        self.sequence += 1
        self.delay = 0.02
        return self.sequence

    def __iter__(self) -> Iterator[FakeChunk]:
        made = 0
        while self.chunks is None or made < self.chunks:
            time.sleep(self.delay)
            count, self.fresh, self.delay = (9 if self.fresh else 12), False, 0.0
            made += 1
            if made == self.interrupt_at:
                raise KeyboardInterrupt
            yield FakeChunk(np.full((count, 32, 24, 3), self.colour, np.uint8), self.sequence)


class FakeStudio:
    fps, width, height = 24.0, 24, 32

    def __init__(self, chunks: int | None = None) -> None:
        self.chunks = chunks
        self.opened: dict[str, object] = {}
        self.closed = False

    def place_garment(self, rgb: Frame, alpha: NDArray[np.float32]) -> Frame:
        return fit_garment(rgb, alpha, self.width, self.height)

    @contextmanager
    def open(
        self, *, reference: Frame, garment: Frame | PlacedGarment, prompt: str, seed: int, cutout: bool
    ) -> Iterator[FakeSession]:
        self.opened = {"reference": reference, "prompt": prompt, "seed": seed, "cutout": cutout}
        try:
            yield FakeSession(garment, self.chunks)
        finally:
            self.closed = True
