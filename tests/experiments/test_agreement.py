"""Rank correlations with a known error, and intervals that resample whole clips."""

from __future__ import annotations

import json

import numpy as np
import pytest
from experiments.quality_reward.agreement import Scored, agreement, by_depth, follows, pooled, within_clips
from scipy.stats import spearmanr

RNG = np.random.default_rng(0)


def scored(noise: float, clips: int = 8, frames: int = 12) -> Scored:
    """Half of each clip's frames degraded, half generated; the score is minus the error plus noise."""
    clip = np.repeat(np.arange(clips), frames)
    error = RNG.uniform(0, 0.4, clips * frames)
    family = np.where(np.arange(clips * frames) % 2 == 0, "blur", "next chunk, 4 steps")
    return Scored(-error + noise * RNG.normal(size=len(error)), error, clip, family)


def test_following_is_spearman_of_minus_the_error() -> None:
    error = np.array([0.1, 0.2, 0.2, 0.3, 0.05])
    score = np.array([-1.0, -3.0, -2.5, -2.0, 0.0])
    assert follows(score, error) == pytest.approx(spearmanr(score, -error).statistic)
    assert follows(-(error**3), error) == pytest.approx(1)
    assert follows(error, error) == pytest.approx(-1)


def test_nothing_is_said_where_nothing_varies() -> None:
    assert np.isnan(follows(np.zeros(5), np.arange(5.0)))
    assert np.isnan(follows(np.arange(5.0), np.zeros(5)))
    assert np.isnan(follows(np.arange(2.0), np.arange(2.0)))
    still = Scored(np.arange(6.0), np.zeros(6), np.arange(6) // 3, np.full(6, "true"))
    assert np.isnan(pooled(still, draws=5)).all()
    assert np.isnan(within_clips(still)).all()


def test_intervals_hold_the_value_and_shrink_with_clips() -> None:
    few, many = (pooled(scored(0.2, clips=n), draws=200) for n in (4, 60))
    for value, low, high in (few, many):
        assert low <= value <= high
    assert many[2] - many[1] < few[2] - few[1]


def test_differences_between_clips_do_not_count_within_them() -> None:
    """Clips of different levels, in the wrong order inside: together it looks right, within each it is not."""
    error = np.concatenate([np.linspace(0, 0.05, 6) + level for level in (0.0, 0.2, 0.4)])
    clip = np.repeat(np.arange(3), 6)
    score = -(error.reshape(3, 6)[:, ::-1].ravel())
    degraded = Scored(score, error, clip, np.full(18, "blur"))
    assert pooled(degraded, draws=5)[0] > 0.7
    assert within_clips(degraded) == pytest.approx((-1, -1, -1))


def test_depth_averages_frames_then_clips() -> None:
    score = np.array([0.0, 2.0, 4.0, 1.0, 3.0, 6.0])  # two frames in the first chunk, one in the second; two clips
    found = by_depth(score, np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 0, 0, 1]))
    assert [x[0] for x in found] == [1.5, 5.0]


def test_the_report_is_json_and_tells_families_apart() -> None:
    degraded = scored(0.0)
    upset = np.where(degraded.family == "blur", 0.5, degraded.score)  # nothing of blur is told
    report = agreement(Scored(upset, degraded.error, degraded.clip, degraded.family), "next chunk", draws=20)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["families"]["blur"]["follows"]["value"] is None
    assert report["generated"]["value"] == report["generated_within_clips"]["value"] == 1
    assert report["overall"]["value"] < 0.9
    assert report["families"]["blur"]["frames"] == 48
