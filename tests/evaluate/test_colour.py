"""Measures on painted frames with a known right answer, and the shared protocol."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quickchange.evaluate.colour import colour_error, erode, silhouette, silhouette_jump
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.world.split import held_out

WALL, SKIN = (200, 210, 220), (150, 100, 80)


def person(left: int, shirt: tuple[int, int, int] = (200, 30, 30)) -> NDArray[np.uint8]:
    """A block of a person, 20 px wide, on a wall of 64x48."""
    frame = np.full((64, 48, 3), WALL, np.uint8)
    frame[16:60, left : left + 20] = shirt
    frame[8:16, left + 6 : left + 14] = SKIN
    return frame


def test_silhouette_finds_the_person_whatever_is_worn() -> None:
    red, blue = silhouette(person(14)), silhouette(person(14, (20, 40, 200)))
    truth = (person(14) != WALL).any(2)
    assert (red ^ truth).mean() < 0.05
    assert (red ^ blue).mean() < 0.02


@given(st.integers(0, 12))
def test_silhouette_jump_grows_with_the_shift(shift: int) -> None:
    step = silhouette_jump(person(14), person(14 + shift))
    expected = 2 * shift / (20 + shift)  # of a block 20 wide
    assert step == pytest.approx(expected, abs=0.12)
    assert (step == 0) == (shift == 0)


def test_silhouette_jump_ignores_a_change_of_clothes() -> None:
    assert silhouette_jump(person(14), person(14, (20, 40, 200))) < 0.03


def test_colour_error_tells_clothes_apart() -> None:
    mask = erode((person(14) == (200, 30, 30)).all(2), 2)
    red, dark_red, blue = (person(14, c)[None] for c in ((200, 30, 30), (180, 25, 25), (20, 40, 200)))
    assert colour_error(red, red, mask) == pytest.approx(0, abs=1e-3)
    assert 1 < colour_error(dark_red, red, mask) < 10
    assert colour_error(blue, red, mask) > 40


def test_held_out_seeds_are_held_out_and_one_in_twenty() -> None:
    seeds = held_out_seeds(50)
    assert len(set(seeds)) == 50
    assert all(held_out(seed) for seed in seeds)
    assert 500 < seeds[-1] - seeds[0] < 2000
