"""The quality stage: errors that forgive motion but not damage, degraded frames of a tiny model, and training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from experiments.quality_reward.degraded import (
    DEGRADATIONS,
    conditioned_rollout,
    degrade,
    in_batches,
    next_chunks,
    round_trips,
    streams,
    synthetic,
    true_frames,
)
from experiments.quality_reward.error import aligned_error, error_of
from experiments.quality_reward.stage import QualityStage, as_images, gather

import tiny
from quickchange.media.images import PlacedGarment
from quickchange.train.config import StageConfig
from quickchange.train.loop import step_generator
from quickchange.train.rewards.quality import QualityConfig, QualityScorer
from quickchange.world import Clip, Renderer, render_clip, sample_spec

FRAMES = 21  # six latents, two chunks


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    renderer = Renderer(tiny.WIDTH, tiny.HEIGHT)
    return [render_clip(renderer, sample_spec(seed, "easy"), frames=FRAMES, fps=24) for seed in (1, 2, 3)]


def picture(seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(rng.integers(0, 256, (48, 40, 3)).astype(np.float32), (0, 0), 2)
    return np.clip((blobs - 127) * 5 + 127, 0, 255).astype(np.uint8)


EVERYWHERE = np.ones((1, 48, 40), bool)


def test_errors_forgive_small_motion_within_reach() -> None:
    truth = picture()[None]
    assert aligned_error(truth, truth, EVERYWHERE)[0] == pytest.approx(0, abs=1e-5)
    moved = np.roll(truth, 2, 2)
    inside = EVERYWHERE & (np.arange(40) > 8) & (np.arange(40) < 32)  # not near what left at the right
    assert aligned_error(moved, truth, inside, reach=4)[0] == pytest.approx(0, abs=1e-4)
    assert aligned_error(moved, truth, inside, reach=0)[0] > 0.2


def test_errors_look_at_the_person_only() -> None:
    truth = picture()[None]
    degraded = truth.copy()
    degraded[:, :, 20:] = 255 - degraded[:, :, 20:]
    left = EVERYWHERE & (np.arange(40) < 8)
    assert aligned_error(degraded, truth, left)[0] < 0.01
    assert aligned_error(degraded, truth, EVERYWHERE & ~left)[0] > 0.2


def test_a_wrong_colour_counts_half_and_ssim_the_rest() -> None:
    grey, blue = np.full((1, 48, 40, 3), 128, np.uint8), np.full((1, 48, 40, 3), (60, 60, 255), np.uint8)
    # Flat pictures: lightness alone makes SSIM, distance beyond 25 counts fully.
    error = aligned_error(blue, grey, EVERYWHERE)[0]
    light = [float(cv2.cvtColor(p[0].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0, 0]) for p in (blue, grey)]
    ssim = (2 * light[0] * light[1] + 1) / (light[0] ** 2 + light[1] ** 2 + 1)
    assert error == pytest.approx((1 - ssim + 1) / 2, abs=1e-3)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_stronger_degradation_is_a_greater_error(kind: str) -> None:
    frame, ghost = picture(0), picture(1)
    degraded = np.stack([degrade(frame, kind, strength, ghost) for strength in (0.1, 0.5, 1.0)])
    errors = aligned_error(degraded, np.repeat(frame[None], 3, 0), EVERYWHERE.repeat(3, 0))
    assert 0 < errors[0] < errors[1] < errors[2]


def test_an_unknown_degradation_is_refused() -> None:
    with pytest.raises(ValueError, match="'rust'; expected one of blur"):
        degrade(picture(), "rust", 0.5, picture())


def test_true_frames_have_no_error_and_codec_frames_have_some(clips: list[Clip]) -> None:
    true, coded = true_frames(clips, (0, 5)), round_trips(clips, tiny.components(), (0, 5))
    assert error_of(true).max() < 1e-5
    assert error_of(coded).min() > 0.01
    np.testing.assert_array_equal(true.frames, coded.truth)
    assert coded.clip.tolist() == [0, 0, 1, 1, 2, 2]


def test_next_chunks_continue_the_true_past(clips: list[Clip]) -> None:
    """The second chunk is what a rollout makes after the first true latents, decoded behind them."""
    parts = tiny.components()
    made = next_chunks(clips, parts, steps=2, seed=5, stride=1)
    assert len(made) == 3 * FRAMES
    assert made.depth[:FRAMES].tolist() == [0] * 9 + [1] * 12
    np.testing.assert_array_equal(made.truth, np.concatenate([clip.frames for clip in clips]))
    video = as_images(np.concatenate([clip.frames for clip in clips])).unflatten(0, (3, FRAMES)).transpose(1, 2)
    with torch.inference_mode():
        latents = parts.codec.encode(video)
        rollout = conditioned_rollout(parts, clips)
        rollout.recache([latents[:, :, :3]])
        following = rollout.chunk(torch.Generator().manual_seed(6), steps=2)
        frames = parts.codec.decode(torch.cat([latents[:, :, :3], following], 2), parts.codec.new_state())
    seen = as_images(made.frames).unflatten(0, (3, FRAMES)).transpose(1, 2)
    torch.testing.assert_close(seen[:, :, 9:], frames[:, :, 9:].clamp(-1, 1), atol=0.01, rtol=0)


def test_streams_equal_a_session(clips: list[Clip]) -> None:
    parts = tiny.components()
    made = streams(clips[:1], parts, chunks=3, seed=4, stride=3)
    assert made.depth.tolist() == [0] * 3 + [1] * 4 + [2] * 4
    assert made.truth is None
    clip = clips[0]
    with tiny.studio().open(clip.reference, PlacedGarment(clip.garment), clip.prompt.dynamic, 4) as session:
        shown = np.concatenate([next(session).frames[2::3] for _ in range(3)])
    assert np.abs(made.frames.astype(int) - shown).max() <= 1
    with pytest.raises(ValueError, match="no truth"):
        error_of(made)


def test_batches_join_to_the_whole(clips: list[Clip]) -> None:
    parts = tiny.components()
    whole = round_trips(clips, parts, (0, 7))
    joined = in_batches(clips, lambda some, _: round_trips(some, parts, (0, 7)), batch=2)
    assert joined.clip.tolist() == whole.clip.tolist()
    assert joined.family == "codec"
    np.testing.assert_array_equal(joined.truth, whole.truth)


def test_the_stage_learns_to_tell_degraded_from_true(clips: list[Clip], tmp_path: Path) -> None:
    parts, times = tiny.components(), (0, 6, 12, 18)
    known = [true_frames(clips, times), *synthetic(clips, times, np.random.default_rng(0))]
    deep = streams(clips, parts, chunks=2, seed=0)
    references = np.stack([clip.reference for clip in clips])
    data = gather(references, known, deep, round_trips(clips, parts, (0,)).frames)
    assert len(data.frames) == 12 * (1 + len(DEGRADATIONS)) == len(data.error)
    torch.manual_seed(0)
    config = StageConfig(steps=60, batch=16, learning_rate=5e-3)
    stage = QualityStage(QualityScorer(QualityConfig(widths=(8, 16))), data, config, tmp_path / "out")
    first = [float(stage.losses(step, step_generator(0, step))["regression"].detach()) for step in range(10)]
    for step in range(60):
        stage.update(step, step_generator(0, step))
        stage.average.update(step)
    last = [float(stage.losses(step, step_generator(0, step))["regression"].detach()) for step in range(10)]
    assert np.mean(last) < 0.5 * np.mean(first)
    exact = QualityStage(stage.scorer, data, replace(config, precision="fp32"), tmp_path / "out")
    a, b = (float(s.losses(0, step_generator(0, 0))["loss"].detach()) for s in (exact, stage))
    assert a != b == pytest.approx(a, rel=0.1)
    stage.sample(tmp_path / "sheet.png")
    stage.finish()
    stored = QualityScorer.load(tmp_path / "out")
    frames, references_ = as_images(data.frames[:4]), as_images(references[data.clip[:4]])
    torch.testing.assert_close(stored(frames, references_), stage.scorer(frames, references_))
