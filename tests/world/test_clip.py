"""What every clip promises: determinism, the triplet rule, paired clips, labels and product shots."""

from __future__ import annotations

import dataclasses
from typing import get_args, get_type_hints

import numpy as np
import pytest

from quickchange.world import Clip, GarmentSpec, Label, Renderer, render_clip, sample_spec
from quickchange.world.colour import difference
from quickchange.world.wardrobe import APART
from world.helpers import dilate, first_spec, without_shadows

PAIRS = ("easy 0", "easy 1", "full upper", "full lower", "full onepiece")
KINDS = get_args(get_type_hints(GarmentSpec)["kind"])


def worn(clip: Clip, ids: np.ndarray) -> np.ndarray:
    """Where the target garment is."""
    return np.isin(ids, (Label.LOWER, Label.SKIRT) if clip.spec.target == "lower" else (Label.UPPER,))


def test_same_seed_gives_the_same_bytes(renderer: Renderer, pairs: dict[str, Clip]) -> None:
    first, second = pairs["easy 0"], render_clip(renderer, without_shadows(sample_spec(0)), frames=2, fps=4, both=True)
    for name in ("frames", "ids", "reference", "reference_ids", "garment", "keypoints", "frames_b", "garment_b"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


@pytest.mark.parametrize("name", PAIRS)
def test_reference_differs_from_the_first_frame_only_in_the_target(pairs: dict[str, Clip], name: str) -> None:
    clip = pairs[name]
    target = worn(clip, clip.ids[0]) | worn(clip, clip.reference_ids)
    changed = (clip.frames[0] != clip.reference).any(-1)
    assert changed[target].mean() > 0.5
    assert not (changed & ~dilate(target, 2)).any()
    assert np.array_equal(clip.ids[0][~target], clip.reference_ids[~target])


def test_shadows_of_the_target_stay_on_the_person(renderer: Renderer) -> None:
    clip = render_clip(renderer, sample_spec(0), frames=1)
    target = dilate(worn(clip, clip.ids[0]) | worn(clip, clip.reference_ids), 2)
    changed = (clip.frames[0] != clip.reference).any(-1) & ~target
    assert not (changed & (clip.ids[0] == Label.BACKGROUND)).any()
    assert changed.mean() < 0.02


@pytest.mark.parametrize("name", PAIRS)
def test_second_garment_moves_exactly_like_the_first(pairs: dict[str, Clip], name: str) -> None:
    clip = pairs[name]
    assert clip.frames_b is not None
    assert clip.ids_b is not None
    target = worn(clip, clip.ids) | worn(clip, clip.ids_b)
    outside = ~np.stack([dilate(mask, 2) for mask in target])
    assert np.array_equal(clip.frames[outside], clip.frames_b[outside])
    assert (clip.frames[target] != clip.frames_b[target]).mean() > 0.5


def test_switched_clip_is_made_of_the_two_clips(renderer: Renderer, pairs: dict[str, Clip]) -> None:
    clip = pairs["easy 1"]
    assert clip.frames_b is not None
    switched = render_clip(renderer, clip.spec, frames=2, fps=4, switch_at=1)
    assert np.array_equal(switched.frames[:1], clip.frames[:1])
    assert np.array_equal(switched.frames[1:], clip.frames_b[1:])


@pytest.mark.parametrize("name", PAIRS[:2])
def test_labels_part_person_and_wall_to_the_pixel(pairs: dict[str, Clip], name: str) -> None:
    clip = pairs[name]
    for frame, ids in zip(clip.frames, clip.ids, strict=True):
        wall = frame[0, 0]
        person, differs = ids != Label.BACKGROUND, (frame != wall).any(-1)
        assert (differs & ~dilate(person, 1)).sum() == 0
        assert (person & ~differs).sum() == 0
    shares = {label: float((clip.ids == label).mean()) for label in Label}
    assert clip.ids.max() <= max(Label)
    assert shares[Label.BACKGROUND] > 0.3
    assert shares[Label.UPPER] > 0.1
    assert shares[Label.SKIN] > 0.02
    assert shares[Label.HAIR] > 0.005
    assert shares[Label.LOWER] + shares[Label.SKIRT] > 0.02


def check_product(shot: np.ndarray) -> None:
    border = np.concatenate([shot[0], shot[-1], shot[:, 0], shot[:, -1]])
    assert (border == 255).all()
    assert (shot < 250).any(-1).mean() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_worn_and_has_a_large_product_shot(renderer: Renderer, kind: str) -> None:
    spec = first_spec(lambda spec: spec.garment_a.kind == kind and spec.camera.framing != "upper")
    clip = render_clip(renderer, spec, frames=1)
    assert worn(clip, clip.ids[0]).mean() > 0.01
    check_product(clip.garment)
    rows, columns = np.nonzero((clip.garment < 250).any(-1))
    assert max(np.ptp(rows) / clip.garment.shape[0], np.ptp(columns) / clip.garment.shape[1]) > 0.6


def test_product_shots_are_never_cropped(renderer: Renderer, pairs: dict[str, Clip]) -> None:
    for clip in pairs.values():
        check_product(clip.garment)
    for seed in range(2, 5):
        check_product(render_clip(renderer, sample_spec(seed), frames=1).garment)
    wide = Renderer(64, 48, supersampling=1.0)
    for difficulty in ("easy", "full"):
        check_product(render_clip(wide, sample_spec(1, difficulty), frames=1).garment)  # type: ignore[arg-type]


def test_everyone_fills_the_frame_alike(renderer: Renderer) -> None:
    tops = []
    for seed in range(3):
        spec = sample_spec(seed)
        spec = dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, name="sway", sway=0.0))
        ids = render_clip(renderer, spec, frames=1).ids[0]
        tops.append(int(np.argmax(np.isin(ids, (Label.HAIR, Label.SKIN)).any(1))))
    assert max(tops) - min(tops) <= 3
    assert min(tops) >= 1


def test_rejects_impossible_requests(renderer: Renderer) -> None:
    with pytest.raises(ValueError, match="even sizes"):
        Renderer(47, 64)
    with pytest.raises(ValueError, match="frames >= 1"):
        render_clip(renderer, sample_spec(0), frames=0)
    with pytest.raises(ValueError, match="seed"):
        sample_spec(-1)


@pytest.mark.parametrize("difficulty", ["easy", "full"])
def test_garments_of_a_clip_differ_clearly(difficulty: str) -> None:
    for seed in range(15):
        spec = sample_spec(seed, difficulty)  # type: ignore[arg-type]
        garments = (spec.garment_a, spec.garment_b, spec.garment_reference)
        main = [garment.pattern.colours[0] for garment in garments]
        assert min(difference(main[i], main[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > APART
