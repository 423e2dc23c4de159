"""Aspect-ratio buckets: the few frame sizes to which clips of any shape are cropped.

Pure logic; sizes are in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Size(NamedTuple):
    """A frame size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def make_buckets(width: int, height: int, step: tuple[int, int], widest: float = 2.0) -> tuple[Size, ...]:
    """Find all sizes of about the area of ``width`` x ``height``.

    Args:
        width: of the given size, a multiple of ``step[0]``.
        height: of the given size, a multiple of ``step[1]``.
        step: pixels per token, (horizontal, vertical); all widths and heights are multiples of it.
        widest: greatest ratio of the longer to the shorter side, >= 1; it does not bind the given size.

    Returns:
        Sizes whose area is that of the given size or up to 10 % less, so that none needs more memory. The given size is
        among them. The narrowest comes first.

    Raises:
        ValueError: the given size is no multiple of ``step``, or ``widest`` is below 1.
    """
    if min(width, height, *step) < 1 or width % step[0] or height % step[1]:
        raise ValueError(f"size is {width}x{height}; expected positive multiples of {step[0]}x{step[1]}")
    if widest < 1:
        raise ValueError(f"widest is {widest}; expected a ratio of at least 1")
    area, found = width * height, {Size(width, height)}
    for w in range(step[0], area // step[1] + 1, step[0]):
        size = Size(w, area // w // step[1] * step[1])
        if size.height and size.width * size.height >= 0.9 * area and max(size) <= widest * min(size):
            found.add(size)
    return tuple(sorted(found, key=lambda size: (size.width / size.height, size)))


def cropped(source: Size, bucket: Size) -> float:
    """Share of a picture that cropping removes after it was scaled to cover ``bucket``, in [0, 1)."""
    scale = max(bucket.width / source.width, bucket.height / source.height)
    return 1 - bucket.width * bucket.height / (source.width * source.height * scale**2)


def choose_bucket(source: Size, buckets: Sequence[Size]) -> Size:
    """Choose the bucket that crops least; among equals the largest, then the first."""
    return min(buckets, key=lambda size: (round(cropped(source, size), 9), -size.width * size.height))
