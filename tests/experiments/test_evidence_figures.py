"""Figures of the evidence: truth is ideal, wrong clips are worse, and the tables name every run."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from experiments.evidence.figures import (
    CLIP_FIGURES,
    STREAM_FIGURES,
    as_markdown,
    clip_figures,
    columns_of,
    garment_region,
    psnr,
    stream_figures,
    summarise,
)

from quickchange.world import Clip, Renderer, render_clip, sample_spec

ENDS = (9, 21)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(Renderer(48, 64), sample_spec(100_001, "easy"), frames=ENDS[-1], fps=24)


def test_the_truth_is_ideal(clip: Clip) -> None:
    found = clip_figures(clip, clip.frames)
    assert found is not None
    assert found["garment"] == pytest.approx(0, abs=1e-6)
    assert (found["worn"], found["change"]) == (1, 1)
    assert min(found["pattern"], found["kept"]) > 70


def test_the_old_garment_is_not_the_new_one(clip: Clip) -> None:
    still = np.repeat(clip.reference[None], len(clip.frames), 0)
    found = clip_figures(clip, still)
    assert found is not None
    assert (found["worn"], found["change"]) == (0, 0)
    assert found["garment"] > 5
    assert found["kept"] > 30  # all but the garment is as it was


def test_a_stream_that_wears_out_is_seen_chunk_by_chunk(clip: Clip) -> None:
    worn = clip.frames.copy()
    late = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in worn[ENDS[0] :]]
    worn[ENDS[0] :] = np.clip(np.stack(late).astype(int) + 30, 0, 255)
    first, second = stream_figures(clip, worn, ENDS) or ({}, {})
    assert first["detail"] == 1
    assert (first["backdrop"], first["grain"]) == (0, 0)
    assert second["detail"] < 0.8
    assert second["backdrop"] > 5
    noisy = np.clip(clip.frames + np.random.default_rng(0).normal(0, 20, clip.frames.shape), 0, 255).astype(np.uint8)
    assert (stream_figures(clip, noisy, ENDS) or [{}])[0]["grain"] > 3


def test_a_garment_that_is_hardly_seen_is_not_judged(clip: Clip) -> None:
    assert garment_region(clip, slice(0, 9)).sum() >= 12
    away = np.zeros_like(clip.ids)
    hidden = Clip(**{**vars(clip), "ids": away})
    assert clip_figures(hidden, clip.frames) is None
    assert stream_figures(hidden, clip.frames, ENDS) is None
    columns = columns_of([None, {"garment": 2.0}])
    assert math.isnan(columns["garment"][0])
    with pytest.raises(ValueError, match="measure more seeds"):
        columns_of([None, None])


def test_psnr_by_hand() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0] = 10
    assert psnr(a, b, np.ones((2, 2), bool)) == pytest.approx(10 * math.log10(255**2 / 25))


def test_tables_tell_teachers_from_streams(clip: Clip) -> None:
    assert set(clip_figures(clip, clip.frames) or {}) == set(CLIP_FIGURES)
    assert set((stream_figures(clip, clip.frames, ENDS) or [{}])[0]) == set(STREAM_FIGURES)
    teacher = {name: [1.0, 2.0] for name in CLIP_FIGURES}
    stream = {f"chunk-{i}.{name}": [float(i)] for name in STREAM_FIGURES for i in (1, 3)}
    summary = summarise({"full": [teacher, teacher], "dmd": [stream | teacher]})
    assert summary["full"]["garment"] == {"mean": 1.5, "low": 1.0, "high": 2.0, "n": 2}
    text = as_markdown(summary, (1, 3))
    assert "| full | 2 | 1.5 (1 to 2) |" in text
    assert "| dmd | 1 | 1 (1 to 1) | 3 (3 to 3) |" in text
    assert text.count("| full |") == 1
    assert text.count("| dmd |") == len(STREAM_FIGURES)
