"""What every clip promises: determinism, the triplet rule, paired clips, labels and product shots."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from quickchange.world import ClipSpec, Label, Renderer, render_clip, sample_spec
from quickchange.world.colour import difference
from quickchange.world.wardrobe import APART


def dilate(mask: np.ndarray, pixels: int) -> np.ndarray:
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = np.logical_or.reduce([padded[1 + dy : 1 + dy + mask.shape[0], 1 + dx : 1 + dx + mask.shape[1]]
                                     for dy in (-1, 0, 1) for dx in (-1, 0, 1)])  # fmt: skip
    return mask


def without_shadows(spec: ClipSpec) -> ClipSpec:
    return dataclasses.replace(spec, light=dataclasses.replace(spec.light, shadow=0.0))


def test_same_seed_gives_the_same_bytes(renderer: Renderer) -> None:
    first, second = (render_clip(renderer, sample_spec(3), frames=2) for _ in range(2))
    for name in ("frames", "ids", "reference", "garment", "keypoints"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reference_differs_from_the_first_frame_only_in_the_target(renderer: Renderer, seed: int) -> None:
    clip = render_clip(renderer, without_shadows(sample_spec(seed)), frames=1)
    target = (clip.ids[0] == Label.UPPER) | (clip.reference_ids == Label.UPPER)
    changed = (clip.frames[0] != clip.reference).any(-1)
    assert changed[target].mean() > 0.5
    assert not (changed & ~dilate(target, 2)).any()


def test_shadows_of_the_target_stay_faint_elsewhere(renderer: Renderer) -> None:
    clip = render_clip(renderer, sample_spec(0), frames=1)
    target = dilate((clip.ids[0] == Label.UPPER) | (clip.reference_ids == Label.UPPER), 2)
    background = clip.ids[0] == Label.BACKGROUND
    changed = (clip.frames[0] != clip.reference).any(-1)
    assert not (changed & background & ~target).any()
    assert (changed & ~target).mean() < 0.02


def test_second_garment_moves_exactly_like_the_first(renderer: Renderer) -> None:
    spec = without_shadows(sample_spec(4))
    clip = render_clip(renderer, spec, frames=3, both=True)
    assert clip.frames_b is not None
    assert clip.ids_b is not None
    assert clip.garment_b is not None
    target = (clip.ids == Label.UPPER) | (clip.ids_b == Label.UPPER)
    outside = ~np.stack([dilate(mask, 2) for mask in target])
    assert np.array_equal(clip.frames[outside], clip.frames_b[outside])
    assert (clip.frames[target] != clip.frames_b[target]).mean() > 0.5

    switched = render_clip(renderer, spec, frames=3, switch_at=1)
    assert np.array_equal(switched.frames[:1], clip.frames[:1])
    assert np.array_equal(switched.frames[1:], clip.frames_b[1:])


def test_labels_show_a_dressed_person_in_front_of_a_wall(renderer: Renderer) -> None:
    clip = render_clip(renderer, sample_spec(5), frames=1)
    shares = {label: float((clip.ids == label).mean()) for label in Label}
    assert clip.ids.max() <= max(Label)
    assert shares[Label.BACKGROUND] > 0.3
    assert shares[Label.UPPER] > 0.1
    assert shares[Label.SKIN] > 0.02
    assert shares[Label.HAIR] > 0.005
    assert shares[Label.LOWER] + shares[Label.SKIRT] > 0.02
    wall = clip.frames[0][clip.ids[0] == Label.BACKGROUND]
    assert np.abs(wall.astype(int) - np.median(wall, 0)).mean() < 3


@pytest.mark.parametrize("size", [(48, 64), (36, 64), (64, 48)])
def test_product_shots_are_never_cropped(size: tuple[int, int]) -> None:
    renderer = Renderer(*size, supersampling=1.5)
    for seed in range(6):
        shot = render_clip(renderer, sample_spec(seed), frames=1).garment
        border = np.concatenate([shot[0], shot[-1], shot[:, 0], shot[:, -1]])
        assert (border == 255).all(), seed
        assert (shot < 250).any(-1).mean() > 0.05


def test_everyone_fills_the_frame_alike(renderer: Renderer) -> None:
    tops = []
    for seed in range(5):
        spec = sample_spec(seed)
        spec = dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, name="sway", sway=0.0))
        ids = render_clip(renderer, spec, frames=1).ids[0]
        tops.append(int(np.argmax(np.isin(ids, (Label.HAIR, Label.SKIN)).any(1))))
    assert max(tops) - min(tops) <= 3
    assert min(tops) >= 1


def test_keypoints_lie_on_the_person(renderer: Renderer) -> None:
    clip = render_clip(renderer, sample_spec(8), frames=1)
    points = clip.keypoints[0]
    assert points.shape == (17, 3)
    assert set(points[:, 2]) <= {0.0, 1.0, 2.0}
    left, right = points[5], points[6]
    assert left[0] > right[0], "the person's left is on the right of the picture"
    for x, y, visibility in points:
        if visibility == 2:
            assert clip.ids[0, int(y), int(x)] != Label.BACKGROUND


def test_rejects_impossible_requests(renderer: Renderer) -> None:
    with pytest.raises(ValueError, match="even sizes"):
        Renderer(47, 64)
    with pytest.raises(ValueError, match="frames >= 1"):
        render_clip(renderer, sample_spec(0), frames=0)
    with pytest.raises(ValueError, match="seed"):
        sample_spec(-1)


def test_garments_of_a_clip_differ_clearly() -> None:
    for seed in range(30):
        spec = sample_spec(seed)
        garments = (spec.garment_a, spec.garment_b, spec.garment_reference)
        main = [garment.pattern.colours[0] for garment in garments]
        assert min(difference(main[i], main[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > APART
