"""The ablation's measures on ground truth: a perfect switch scores as one."""

from __future__ import annotations

import pytest

from quickchange.bench.ablate import in_b, measure, worn_region
from quickchange.bench.protocol import held_out_seeds
from quickchange.world import Clip, Renderer, render_clip, sample_spec


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(Renderer(48, 64), sample_spec(held_out_seeds(1)[0], "easy"), frames=9, fps=24, both=True)


def test_a_perfect_switch_changes_the_clothes_and_nothing_else(clip: Clip) -> None:
    frames_b, _, _ = in_b(clip)
    result = measure(clip, "truth", clip.frames, frames_b, worn_region(clip))
    assert result.before_to_a == pytest.approx(0, abs=1e-3)
    assert result.after_to_b == pytest.approx(0, abs=1e-3)
    assert result.after_to_a > 20
    assert result.before_to_b > 20
    assert result.pose_step < result.pose_jump < 0.3


def test_no_switch_at_all_is_seen_as_none(clip: Clip) -> None:
    result = measure(clip, "none", clip.frames, clip.frames, worn_region(clip))
    assert result.after_to_a < result.after_to_b


def test_a_clip_in_one_garment_is_refused() -> None:
    single = render_clip(Renderer(48, 64), sample_spec(1, "easy"), frames=1, fps=24)
    with pytest.raises(ValueError, match="both=True"):
        worn_region(single)
