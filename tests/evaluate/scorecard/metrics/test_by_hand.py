"""Figures against slow, obvious computations on pictures made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from quickchange.evaluate.colour import to_lab
from quickchange.evaluate.scorecard.metrics import Case, Shot, SwitchCase, Tracks
from quickchange.evaluate.scorecard.metrics.base import distance_to_one
from quickchange.evaluate.scorecard.metrics.garment import NOTHING_WORN, garment_colour, garment_high, garment_low
from quickchange.evaluate.scorecard.metrics.identity import identity
from quickchange.evaluate.scorecard.metrics.motion import amplitude, amplitude_ratio, sharpness, smoothness
from quickchange.evaluate.scorecard.metrics.paired import psnr
from quickchange.evaluate.scorecard.metrics.preserve import preserve
from quickchange.evaluate.scorecard.metrics.prompt import FAR, UNSEEN, distances, prompt, prompt_first
from quickchange.evaluate.scorecard.metrics.regions import agreement, overlap, repetition
from quickchange.evaluate.scorecard.metrics.switch import (
    background_jump,
    colour_error_after,
    flicker,
    frames_to_change,
    pose_jump,
    pose_ratio,
    pose_step,
    success,
)
from quickchange.parsing.reading import attribute_classes
from quickchange.world import sample_spec
from quickchange.world.colour import lab_difference

Draw = Callable[..., Shot]
HEIGHT, WIDTH, FRAMES = 48, 96, 6
WORN = slice(20, 76)
RED, GREEN, GREY = (200, 40, 40), (40, 180, 60), (128, 128, 128)
CLASSES = dict.fromkeys(attribute_classes(sample_spec(0).garment_a), 0)


def plain(colour: tuple[int, int, int], frames: int = FRAMES) -> NDArray[np.uint8]:
    return np.full((frames, HEIGHT, WIDTH, 3), colour, np.uint8)


def lab_of(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    a, b, c = to_lab(np.full((1, 1, 3), colour, np.uint8))[0, 0]
    return float(a), float(b), float(c)


def texture(seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise u8[HEIGHT,WIDTH,3] that has the same edges at both sides."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(np.tile(noise, (3, 3, 1)), (0, 0), 2.5)[HEIGHT:-HEIGHT, WIDTH:-WIDTH]
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def moving(step: int, frames: int = FRAMES) -> NDArray[np.uint8]:
    """The texture, going ``step`` pixels to the right in every frame."""
    return np.stack([np.roll(texture(), step * t, 1) for t in range(frames)])


def case_of(shown: Shot, truth: Shot) -> Case:
    return Case(shown, truth, truth[:1], CLASSES)


def switch_of(before: Shot, after: Shot, new: Shot | None = None, first_chunk: int = 2) -> SwitchCase:
    return SwitchCase(before, after, before, new or after, first_chunk, body_height=100.0)


def test_the_colour_error_of_plain_garments_is_the_difference_of_their_colours(draw: Draw) -> None:
    case = case_of(draw(plain(RED), upper=WORN), draw(plain(GREEN), upper=WORN))
    assert garment_colour(case) == pytest.approx(lab_difference(lab_of(RED), lab_of(GREEN)), abs=1e-2)
    assert garment_high(case) == 0
    assert garment_high(case.showing(case.truth)) == 1
    assert garment_colour(case.showing(case.truth)) == pytest.approx(0, abs=1e-2)


def test_a_missing_colour_counts_by_its_share(draw: Draw) -> None:
    frames = plain(RED)
    frames[:, :, 20:34] = GREEN
    case = case_of(draw(plain(RED), upper=WORN), draw(frames, upper=WORN))
    # What is worn is in the palette; of the truth's, the green share has no better match than red. The mask's edge
    # pixels do not count.
    share = 13 / 54
    expected = share * lab_difference(lab_of(RED), lab_of(GREEN)) / 2
    assert garment_colour(case) == pytest.approx(expected, abs=1e-2)


def test_repetition_is_the_covariance_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    lab, mask = rng.normal(size=(14, 96, 3)).astype(np.float32), rng.random((14, 96)) < 0.8
    found = repetition(lab, mask, lags=3)
    mean = np.mean([lab[y, x] for y in range(14) for x in range(96) if mask[y, x]], 0)
    slow = []
    for down, across in ((1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 3)):
        products = [
            float((lab[y, x] - mean) @ (lab[y + down, x + across] - mean))
            for y in range(14 - down)
            for x in range(96 - across)
            if mask[y, x] and mask[y + down, x + across]
        ]
        slow.append(np.mean(products))
    np.testing.assert_allclose(found, slow, atol=1e-4)


def test_overlap_and_agreement_by_hand() -> None:
    first, second = np.array([1.5, 0.5], np.float32), np.array([0.5, 2.5], np.float32)
    assert overlap(first, second) == pytest.approx((1.0 + 1.0) / (2.0 + 3.0))
    assert overlap(first, first) == agreement(first, first, 20) == 1
    assert agreement(np.array([30, 0], np.float32), np.array([0, 40], np.float32), 20) == pytest.approx(400 / 2000)


def stripes(period: int, down: bool, phase: int = 0) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    lit = ((rows if down else columns) + phase) // (period // 2) % 2 == 0
    return np.where(lit[None, ..., None], np.uint8(200), np.uint8(60)).repeat(FRAMES, 0).repeat(3, 3)


def test_the_pattern_is_known_by_direction_and_size_not_by_place(draw: Draw) -> None:
    truth = draw(stripes(8, True), upper=WORN)
    moved, turned, wide, none = (
        garment_low(case_of(draw(frames, upper=WORN), truth))
        for frames in (stripes(8, True, 3), stripes(8, False), stripes(16, True), plain(GREY))
    )
    assert moved > 0.9
    assert none < turned < wide < 0.8


@pytest.mark.parametrize("step", [1, 2])
def test_amplitude_is_the_shift_by_the_height(draw: Draw, step: int) -> None:
    assert amplitude(draw(moving(step), upper=WORN)) == pytest.approx(step / HEIGHT, rel=0.05)


def test_amplitude_ratio_of_twice_the_speed(draw: Draw) -> None:
    case = case_of(draw(moving(2), upper=WORN), draw(moving(1), upper=WORN))
    assert amplitude_ratio(case) == pytest.approx(2, rel=0.05)


def test_smoothness_of_one_odd_frame(draw: Draw) -> None:
    still, odd = texture(0), texture(1)
    shown = draw(np.stack([still, odd, still]), upper=WORN)
    error = np.abs(odd.astype(float) - still).mean()
    contrast = np.abs(odd - odd.mean((0, 1))).mean()
    assert smoothness(case_of(shown, shown)) == pytest.approx(max(0.0, 1 - error / contrast), abs=1e-4)


def test_what_moves_evenly_is_smooth(draw: Draw) -> None:
    even, still = draw(moving(1), upper=WORN), draw(moving(0), upper=WORN)
    assert smoothness(case_of(still, even)) == 1
    assert smoothness(case_of(even, even)) > 0.93


def test_psnr_of_a_known_error(draw: Draw) -> None:
    case = case_of(draw(plain((110, 110, 110)), upper=WORN), draw(plain((100, 100, 100)), upper=WORN))
    assert psnr(case) == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert psnr(case.showing(case.truth)) == 60


def points(*places: tuple[float, float], sure: int = 13) -> NDArray[np.float32]:
    """Keypoints [T,17,3]: in frame t all are moved by ``places[t]``; only the first ``sure`` are surely seen."""
    base = np.array([[(3 * k, 5 * k, float(k < sure)) for k in range(17)]], np.float32)
    return np.concatenate([base + np.array([*place, 0], np.float32) for place in places])


def test_pose_jump_is_in_body_heights_and_steps_are_what_it_is_held_against(draw: Draw) -> None:
    before = draw(plain(RED, 3), points((0, 0), (0, 1), (0, 2)), upper=WORN)
    after = draw(plain(GREEN, 2), points((3, 6), (9, 9)), upper=WORN)
    case = switch_of(before, after)
    assert pose_jump(case) == pytest.approx(5 / 100)
    assert pose_step(case) == pytest.approx(1 / 100)
    assert pose_ratio(case) == pytest.approx(5)


def test_without_sure_keypoints_nothing_is_said_of_poses(draw: Draw) -> None:
    before = draw(plain(RED, 2), points((0, 0), (0, 1)), upper=WORN)
    after = draw(plain(GREEN, 2), points((3, 6), (9, 9), sure=3), upper=WORN)
    assert np.isnan(pose_jump(switch_of(before, after)))


def test_frames_are_counted_until_the_colour_has_changed(draw: Draw) -> None:
    old, new = draw(plain(RED), upper=WORN), draw(plain(GREEN), upper=WORN)
    for late in range(4):
        case = switch_of(old, draw(np.concatenate([plain(RED, late), plain(GREEN, 3)]), upper=WORN), new)
        assert frames_to_change(case) == late + 1
    assert frames_to_change(switch_of(old, old, new)) == FRAMES + 1
    halfway = draw(plain((120, 110, 50)), upper=WORN)
    assert frames_to_change(switch_of(old, halfway, new)) == FRAMES + 1
    assert np.isnan(frames_to_change(switch_of(new, new, new)))  # no way to go


def test_success_is_about_the_first_chunk(draw: Draw) -> None:
    old, new = draw(plain(RED), upper=WORN), draw(plain(GREEN), upper=WORN)
    late = draw(np.concatenate([plain(RED, 2), plain(GREEN, 2)]), upper=WORN)
    assert success(switch_of(old, new, new)) == 1
    assert success(switch_of(old, late, new, first_chunk=2)) == 0
    assert success(switch_of(old, draw(plain(GREY), upper=WORN), new)) == 0
    assert colour_error_after(switch_of(old, late, new)) == pytest.approx(
        lab_difference(lab_of(RED), lab_of(GREEN)), abs=1e-2
    )


def test_flicker_and_background_by_hand(draw: Draw) -> None:
    shades = [(100, 100, 100), (110, 110, 110), (100, 100, 100)]
    after = draw(np.concatenate([plain(shade, 1) for shade in shades]), upper=WORN)
    before = draw(plain((150, 150, 150), 2), upper=WORN)
    step = np.linalg.norm(np.subtract(lab_of(shades[0]), lab_of(shades[1])))
    assert flicker(switch_of(before, after)) == pytest.approx(step, abs=1e-2)
    jump = np.linalg.norm(np.subtract(lab_of((150, 150, 150)), lab_of(shades[0])))
    assert background_jump(switch_of(before, after)) == pytest.approx(jump, abs=1e-2)


def test_a_lost_person_is_not_left_out(draw: Draw) -> None:
    truth, gone = draw(moving(1), upper=WORN, skin=slice(2, 18)), draw(moving(1))
    case = case_of(gone, truth)
    assert garment_colour(case) == NOTHING_WORN
    assert (garment_high(case), garment_low(case)) == (0, 0)
    assert (amplitude_ratio(case), sharpness(case)) == (0, 0)
    assert preserve(case) < 0.6  # the background is still there
    lost = switch_of(truth, gone, truth)
    assert (success(lost), colour_error_after(lost)) == (0, NOTHING_WORN)


def test_a_reference_without_a_head_says_nothing_of_identity(draw: Draw) -> None:
    truth = draw(moving(1), upper=WORN)
    assert np.isnan(identity(case_of(truth, truth)))


def test_distances_to_prompts_point_by_point() -> None:
    rng = np.random.default_rng(0)
    tracks = rng.uniform(0, 40, (3, 5, 17, 3)).astype(np.float32)
    tracks[..., 2] = rng.random((3, 5, 17)) < 0.7
    shown = (tracks[1] + rng.normal(size=(5, 17, 3))).astype(np.float32)
    shown[..., 2] = rng.random((5, 17))
    slow = []
    for track in tracks:
        width = max(1.0, float(np.linalg.norm(track[0, 5, :2] - track[0, 6, :2])))
        total = 0.0
        for t in range(1, 5):
            for k in range(13):
                seen, expected = shown[t, k, 2] > 0.5, track[t, k, 2] > 0.5
                if seen and expected:
                    total += min(FAR, float(np.linalg.norm(shown[t, k, :2] - track[t, k, :2])) / width)
                elif seen != expected:
                    total += UNSEEN
        slow.append(total / (4 * 13))
    np.testing.assert_allclose(distances(shown, tracks), slow, rtol=1e-4)


def test_obedience_is_the_rank_of_the_asked_prompt(draw: Draw) -> None:
    tracks = np.stack([points(*[(0, dy * t) for t in range(4)]) for dy in (0, 1, 2, 3)])
    shown = draw(plain(RED, 4), points(*[(0, 0.9 * t) for t in range(4)]), upper=WORN)
    case = replace(case_of(shown, shown), motion=Tracks(("a", "b", "c", "d"), tracks, asked=1))
    assert (prompt(case), prompt_first(case)) == (1, 1)
    second = replace(case, motion=Tracks(("a", "b", "c", "d"), tracks, asked=0))
    assert (prompt(second), prompt_first(second)) == (pytest.approx(2 / 3), 0)
    assert np.isnan(prompt(case_of(shown, shown)))


def test_half_is_as_far_from_one_as_double() -> None:
    assert distance_to_one(0.5) == pytest.approx(distance_to_one(2))
    assert distance_to_one(0) == float("inf")


def test_a_fact_about_a_shot_is_found_once_for_the_same_arguments(draw: Draw) -> None:
    calls: list[int] = []

    def frames_times(shot: Shot, factor: int) -> int:
        calls.append(factor)
        return factor * len(shot)

    shot = draw(plain(GREY))
    assert [shot.once(frames_times, factor) for factor in (2, 3, 2)] == [2 * FRAMES, 3 * FRAMES, 2 * FRAMES]
    assert draw(plain(GREY)).once(frames_times, 2) == 2 * FRAMES
    assert calls == [2, 3, 2]
