"""The class lists against the world, and the shape of a reading."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from quickchange.parsing.reading import (
    ATTRIBUTES,
    KEYPOINTS,
    LABELS,
    MIRRORED,
    PATTERNS,
    Reading,
    attribute_classes,
    overlay,
    upper_worn,
)
from quickchange.world import Label, sample_spec
from quickchange.world.keypoints import NAMES
from quickchange.world.spec import GarmentSpec
from quickchange.world.wardrobe import EASY_PATTERNS, FULL_PATTERNS
from world.helpers import first_spec


def named(garment: GarmentSpec) -> dict[str, str]:
    return {name: ATTRIBUTES[name][index] for name, index in attribute_classes(garment).items()}


def example(t: int = 3) -> Reading:
    attributes = {name: np.eye(len(c), dtype=np.float32)[[0] * (t - 1) + [1]] for name, c in ATTRIBUTES.items()}
    ids = np.zeros((t, 8, 16), np.uint8)
    ids[:, 2:5, 3:9] = LABELS.index("upper")
    points = np.full((t, 17, 3), [6.0, 4.0, 1.0], np.float32)
    return Reading(ids, np.ones(ids.shape, np.float32), points, attributes)


def test_lists_are_those_of_the_world() -> None:
    assert tuple(label.name.lower() for label in Label) == LABELS
    assert KEYPOINTS == NAMES
    other = {"left": "right", "right": "left"}
    swapped = ["_".join(other.get(word, word) for word in name.split("_")) for name in KEYPOINTS]
    assert [KEYPOINTS[i] for i in MIRRORED] == swapped


def test_every_fabric_has_a_class() -> None:
    garment = sample_spec(0).garment_a
    found = set()
    for name, _ in (*EASY_PATTERNS, *FULL_PATTERNS):
        pattern = dataclasses.replace(garment.pattern, name=name, accent="block")
        found.add(named(dataclasses.replace(garment, pattern=pattern))["pattern"])
    assert found == set(PATTERNS)


def test_classes_follow_the_cut() -> None:
    for seed in range(40):
        garment = sample_spec(seed, "easy").garment_a
        names = named(garment)
        assert names["kind"] == garment.kind
        assert names["sleeve"] == {"tee": "short", "long": "long", "tank": "none"}[garment.kind]
        assert names["neck"] == garment.neck
        assert names["length"] == ("waist" if garment.hem >= 0.02 else "hip")
        assert (names["print"] == "print") == (garment.pattern.print_name != "none")


def test_blocks_on_missing_sleeves_are_not_seen() -> None:
    garment = sample_spec(0).garment_a
    pattern = dataclasses.replace(garment.pattern, name="colour_block", accent="sleeves")
    with_sleeves = dataclasses.replace(garment, pattern=pattern, armhole=0.0)
    assert named(with_sleeves)["pattern"] == "blocks"
    assert named(dataclasses.replace(with_sleeves, armhole=0.3))["pattern"] == "solid"


def test_a_lower_target_leaves_the_upper_garment_on() -> None:
    spec = first_spec(lambda spec: spec.target == "lower")
    assert upper_worn(spec, spec.garment_a) == spec.upper
    with pytest.raises(ValueError, match="kind"):
        attribute_classes(spec.garment_a)
    dress = first_spec(lambda spec: spec.target == "onepiece")
    assert named(upper_worn(dress, dress.garment_b))["length"] in ("knee", "calf")


def test_a_part_of_a_reading_is_a_reading() -> None:
    reading = example()
    assert len(reading[1:]) == 2
    assert reading.summary()["kind"] == "tee"
    assert reading[2:].summary()["kind"] == "long"
    assert reading.mask("upper").sum() == 3 * 18


def test_ill_fitting_arrays_are_refused() -> None:
    good = example()
    with pytest.raises(ValueError, match="keypoints"):
        dataclasses.replace(good, keypoints=good.keypoints[:, :16])
    with pytest.raises(ValueError, match="sleeve"):
        dataclasses.replace(good, attributes={**good.attributes, "sleeve": good.attributes["kind"]})
    with pytest.raises(ValueError, match="attributes"):
        dataclasses.replace(good, attributes={})


def test_overlays_show_labels_and_visible_points() -> None:
    reading = example()
    picture = overlay(np.zeros((3, 8, 16, 3), np.uint8), reading, 2)
    assert picture.shape == (3, 16, 32, 3)
    assert tuple(picture[0, 8, 12]) == (0, 255, 0)  # the last drawn point is on the person's right
    assert (picture[0, 5, 7] > picture[0, 0, 0]).any()
    hidden = dataclasses.replace(reading, keypoints=reading.keypoints * np.array([1, 1, 0], np.float32))
    assert not (overlay(np.zeros((3, 8, 16, 3), np.uint8), hidden, 2) == [0, 255, 0]).all(-1).any()
