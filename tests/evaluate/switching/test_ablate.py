"""The ablation's measures on ground truth, where a perfect switch is perfect; and the files of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny
from quickchange.engine.switch import VARIANTS as KNOWN
from quickchange.evaluate.protocol import held_out_seeds, stream_switch
from quickchange.evaluate.switching import ablate as module
from quickchange.evaluate.switching.ablate import (
    Settings,
    SwitchResult,
    ablate,
    figures,
    in_b,
    measure,
    summary,
    worn_region,
)
from quickchange.evaluate.switching.attention import GROUPS, MOMENTS
from quickchange.world import Clip, Renderer, render_clip, sample_spec


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(Renderer(48, 64), sample_spec(held_out_seeds(1)[0], "easy"), frames=9, fps=24, both=True)


def test_a_perfect_switch_changes_the_clothes_and_nothing_else(clip: Clip) -> None:
    frames_b, _, _ = in_b(clip)
    result = measure(clip, "truth", clip.frames, frames_b, worn_region(clip), window=9)
    assert result.before_to_a == pytest.approx(0, abs=1e-3)
    assert result.after_to_b == pytest.approx(0, abs=1e-3)
    assert result.after_to_a > 20
    assert result.before_to_b > 20
    assert result.silhouette_step < result.silhouette_jump < 0.3


def test_no_switch_at_all_is_seen_as_none(clip: Clip) -> None:
    result = measure(clip, "none", clip.frames, clip.frames, worn_region(clip), window=9)
    assert not result.changed


def test_a_clip_in_one_garment_is_refused() -> None:
    single = render_clip(Renderer(48, 64), sample_spec(1, "easy"), frames=1, fps=24)
    with pytest.raises(ValueError, match="both=True"):
        worn_region(single)


def result(variant: str, to_a: float, to_b: float) -> SwitchResult:
    return SwitchResult(1, variant, 1.0, 50.0, to_a, to_b, 0.05, 0.02, 0.03)


def test_the_table_counts_changed_clothes_and_says_how_sure_it_is() -> None:
    results = [result("full", 40, 3), result("full", 5, 30), result("refresh", 2, 40)]
    found = figures(results, ("full", "refresh"))
    assert found["full"]["jump_over_true"] == pytest.approx([0.02] * 3)
    lines = summary(found).splitlines()
    assert lines[2].startswith("| full | 2 | 50% (9-91) | 22.5 (5.0-40.0) |")
    assert lines[3].startswith("| refresh | 1 | 0% (0-79) |")
    assert "true jump 0.030 (0.030-0.030)" in lines[5]
    with pytest.raises(ValueError, match="last_latent"):
        figures(results, ("full", "last_latent"))


def test_the_variants_are_those_of_the_paper_and_all_known() -> None:
    assert set(module.VARIANTS) <= set(KNOWN)
    assert {"random_reference", "last_latent", "full+sink"} < set(module.VARIANTS)


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"variants": ()}, {"attention_seeds": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(Settings(), **wrong)  # type: ignore[arg-type]


def test_a_run_writes_record_table_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        module, "render_pairs", lambda _: iter([(fitted(clip), np.ones((tiny.HEIGHT, tiny.WIDTH), bool))])
    )
    settings = Settings(seeds=1, variants=("full", "refresh"), attention_seeds=1)
    text = ablate(tiny.studio(), tmp_path, settings, {"commit": "abc", "model": "tiny"})
    assert "5/5" in capsys.readouterr().err  # the progress bar: two streams to measure, three to watch
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("ablation.jpg", "ablation.json", "ablation.md", "attention.png")
    ]
    assert (tmp_path / "ablation.md").read_text(encoding="utf-8") == text
    assert text.startswith("Protocol 1, commit abc, model tiny.\n")
    record = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))
    assert record["seeds"] == [clip.spec.seed]
    assert [row["variant"] for row in record["results"]] == ["full", "refresh"]
    looked = record["attention"]["full"]
    assert list(looked) == list(MOMENTS)
    assert looked["first after"]["seen"] == dict(zip(GROUPS, (1, 1, 0, 3), strict=True))
    assert (
        record["attention"]["refresh"]["first after"]["seen"]["history"] == 6
    )  # three chunks, less what the window of 11 cannot hold
    with Image.open(tmp_path / "ablation.jpg") as picture:
        assert picture.height >= 2 * tiny.HEIGHT


def fitted(clip: Clip) -> Clip:
    """The clip's pictures replaced by noise of the tiny model's size."""
    frames = np.stack([tiny.image(0)] * len(clip.frames))
    return replace(
        clip, frames=frames, frames_b=frames, reference=tiny.image(1), garment=tiny.image(2), garment_b=tiny.image(3)
    )


def test_until_the_switch_all_variants_are_one_stream(clip: Clip) -> None:
    studio, own = tiny.studio(), fitted(clip)
    streams = {variant: stream_switch(studio, own, variant) for variant in module.VARIANTS}
    for before, _ in streams.values():
        np.testing.assert_array_equal(before, streams["full"][0])
    # At the first switch of a stream the reference in force is the original one.
    np.testing.assert_array_equal(streams["original_reference"][1], streams["refresh+withdraw"][1])
    assert not np.array_equal(streams["full"][1], streams["refresh+withdraw"][1])
