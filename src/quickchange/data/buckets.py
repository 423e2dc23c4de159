"""Aspect-ratio buckets: the few frame sizes that clips of any shape are cropped to. Pure logic, sizes in pixels."""

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
    """All sizes of about the area of ``width`` x ``height``, itself included, narrowest first.

    Args:
        width: of the size to start from, a multiple of ``step``.
        height: likewise.
        step: what width and height must be multiples of: pixels per token, (horizontal, vertical).
        widest: greatest ratio of the longer to the shorter side, >= 1; the start size is exempt.

    Returns:
        Sizes whose area is that of the start or up to 10 % less, so that none needs more memory than it.

    Raises:
        ValueError: the start size is no multiple of ``step``; ``widest`` below 1.
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
    """Share of a picture that is lost when it is scaled to cover ``bucket`` and cropped, in [0, 1)."""
    scale = max(bucket.width / source.width, bucket.height / source.height)
    return 1 - bucket.width * bucket.height / (source.width * source.height * scale**2)


def choose_bucket(source: Size, buckets: Sequence[Size]) -> Size:
    """The bucket that crops least; of equals the largest, then the first."""
    return min(buckets, key=lambda size: (round(cropped(source, size), 9), -size.width * size.height))
