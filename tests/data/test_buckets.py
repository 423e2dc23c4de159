"""Aspect buckets: their properties, and the choice among them against a slow search over crops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickchange.data.buckets import Size, choose_bucket, cropped, make_buckets

STEPS = st.sampled_from([8, 16, 32])
CELLS = st.integers(1, 40)


@given(CELLS, CELLS, STEPS, STEPS, st.floats(1, 4))
def test_buckets_fit_the_model_and_its_memory(columns: int, rows: int, dx: int, dy: int, widest: float) -> None:
    start = Size(columns * dx, rows * dy)
    area = start.width * start.height
    buckets = make_buckets(*start, (dx, dy), widest)
    assert start in buckets
    assert len(set(buckets)) == len(buckets)
    for size in buckets:
        assert size.width % dx == size.height % dy == 0
        assert 0.9 * area <= size.width * size.height <= area
        assert size == start or max(size) <= widest * min(size)
    ratios = [size.width / size.height for size in buckets]
    assert ratios == sorted(ratios)


def test_no_fitting_size_is_missing() -> None:
    expected = {
        Size(16 * w, 16 * h)
        for w in range(1, 99)
        for h in range(1, 99)
        if 44 <= w * h <= 48 and max(w, h) <= 2 * min(w, h) and (w * (h + 1) > 48)
    }
    assert set(make_buckets(96, 128, (16, 16))) == expected
    assert Size(128, 96) in expected


@given(st.integers(16, 4000), st.integers(16, 4000), st.integers(1, 20))
def test_the_choice_loses_least(width: int, height: int, scale: int) -> None:
    buckets = make_buckets(704, 1280, (32, 32))
    source = Size(width, height)
    best = choose_bucket(source, buckets)

    def kept(size: Size) -> float:
        """Area of the largest part of the source that has the bucket's shape."""
        by_width = width * width * size.height / size.width
        by_height = height * height * size.width / size.height
        return min(by_width, by_height) / (width * height)

    assert kept(best) >= max(map(kept, buckets)) - 1e-6
    assert cropped(source, best) == pytest.approx(1 - kept(best), abs=1e-9)
    assert choose_bucket(Size(scale * width, scale * height), buckets) == best


@given(st.sampled_from(make_buckets(96, 128, (8, 8))), st.integers(1, 9))
def test_a_clip_of_a_buckets_shape_loses_nothing(size: Size, scale: int) -> None:
    source = Size(size.width * scale, size.height * scale)
    chosen = choose_bucket(source, make_buckets(96, 128, (8, 8)))
    assert chosen.width * size.height == chosen.height * size.width
    assert cropped(source, chosen) == pytest.approx(0)


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32x32"):
        make_buckets(720, 1280, (32, 32))
    with pytest.raises(ValueError, match="at least 1"):
        make_buckets(704, 1280, (32, 32), 0.5)
